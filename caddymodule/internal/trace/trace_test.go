package trace

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A log of two sessions, of which the first sent two messages.
const log = `
{"level":"info","ts":1795279990,"logger":"esmtp","msg":"serving","server":"srv0"}
{"level":"info","ts":1795279995.1,"logger":"esmtp.access","msg":"message accepted","server":"srv0","route":"in","session":"s1","remote":"192.0.2.1:4000","helo":"one","transaction":"s1.1","from":"ann@a.example","to":["bob@b.example","cid@c.example"],"octets":18,"reply":"250 2.0.0 queued as m1"}
{"level":"info","ts":1795279995.2,"msg":"delayed","item":"i2","message":"m1","transaction":"s1.1","from":"ann@a.example","to":["cid@c.example"],"failed":0,"tls":"","reply":"451 busy","due":1795279998.25}
{"level":"info","ts":1795279995.3,"logger":"esmtp.access","msg":"message accepted","server":"srv0","route":"in","session":"s1","remote":"192.0.2.1:4000","helo":"one","transaction":"s1.2","from":"ann@a.example","to":["dan@d.example"],"reply":"250 2.0.0 queued as m2"}
{"level":"info","ts":1795279995.4,"logger":"esmtp.access","msg":"session ended","server":"srv0","route":"in","session":"s1","remote":"192.0.2.1:4000","helo":"one","tls":{"version":"TLS 1.3"},"user":"ann","why":"QUIT"}
not JSON

{"level":"info","ts":1795279996.1,"msg":"item moved by the administrator","move":"freeze","item":"i2"}
{"level":"info","ts":1795279996.2,"msg":"delivered","item":"m2","message":"m2","transaction":"s1.2","to":["dan@d.example"],"reply":"250 2.0.0 Ok: queued as 4XyZ"}
{"level":"info","ts":1795279997,"logger":"esmtp.access","msg":"session ended","session":"s2","remote":"[2001:db8::1]:25","helo":"two","user":"eve"}
{"ts":1795279997.5,"msg":"message accepted","session":"s5","transaction":"s5.1","forwarded":{"name":"mx","ident":"i2"}}
{"level":"warn","ts":1795279998,"msg":"lease was lost","item":"i9"}
{"level":"info","ts":1795279999,"logger":"esmtp","msg":"RCPT","session":"s3","to":"nobody@b.example"}
{"level":"info","ts":"odd","session":7,"transaction":"s4.1","msg":"odd"}`

func lines(text string) Lines {
	return func(yield func([]byte)) error { return readLines(strings.NewReader(text), yield) }
}

// find returns, of each story, the first word of each message.
func find(t *testing.T, what string) string {
	t.Helper()
	found, err := Find(lines(log), what)
	if err != nil || found.Entries != 12 && len(found.Stories) > 0 {
		t.Fatal(found.Entries, err)
	}
	var words []string
	for _, story := range found.Stories {
		words = append(words, story.Session+":")
		for _, line := range story.Lines {
			_, msg, _ := strings.Cut(string(line), `"msg":"`)
			words = append(words, msg[:strings.IndexAny(msg, ` "`)])
		}
	}
	return strings.Join(words, " ")
}

func TestFind(t *testing.T) {
	const first = "s1: message delayed session item"
	const second = "s1: message session delivered"
	const both = "s1: message delayed message session item delivered"
	for what, want := range map[string]string{
		"s1": both, "s1.1": first, "s1.2": second, "i2": first + " s5: message", "m1": first, "m2": second,
		"bob@b.example": first, "<BOB@b.example>": first, "dan@d.example": second, "ann@a.example": both,
		"@c.example": first, "@C.EXAMPLE": first, "@b.example": first + " s3: RCPT", "@.example": "", "@example": "",
		"ann": both, "eve": "s2: session", "192.0.2.1": both, "2001:db8::1": "s2: session", "192.0.2.1:4000": "",
		"4XyZ": second, "4xyz": second, "i9": "i9: lease", "nobody@b.example": "s3: RCPT", "s3": "s3: RCPT", "s4": "s4: odd",
		"": "", "<>": "", "bob": "", "s": "", "srv0": "",
	} {
		if got := find(t, what); got != want {
			t.Errorf("%q: got %q, want %q", what, got, want)
		}
	}
}

func TestFindHandsErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	if _, err := Find(func(func([]byte)) error { return broken }, "x"); err != broken {
		t.Error(err)
	}
}

func TestWriteTo(t *testing.T) {
	defer func(was *time.Location) { time.Local = was }(time.Local)
	time.Local = time.UTC
	found, err := Find(lines(log), "s1.1")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if n, err := found.Stories[0].WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatal(n, err)
	}
	const want = `s1 server=srv0 route=in remote=192.0.2.1:4000 helo=one tls.version="TLS 1.3" user=ann
  2026-11-21 16:53:15.100 message accepted transaction=s1.1 from=ann@a.example to=bob@b.example,cid@c.example octets=18 reply="250 2.0.0 queued as m1"
  2026-11-21 16:53:15.200 delayed item=i2 message=m1 transaction=s1.1 from=ann@a.example to=cid@c.example reply="451 busy" due="2026-11-21 16:53:18.250"
  2026-11-21 16:53:15.400 session ended why=QUIT
  2026-11-21 16:53:16.100 item moved by the administrator move=freeze item=i2
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}

func TestFilesAreReadOneAfterTheOther(t *testing.T) {
	dir := t.TempDir()
	old, young := filepath.Join(dir, "log-1.gz"), filepath.Join(dir, "log")
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte("one\ntwo"))
	z.Close()
	long := strings.Repeat("x", maxLine)
	for name, content := range map[string]string{old: b.String(), young: "three\n" + long + "\n" + long[1:] + "\n" + long + long + "\nfour\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	if err := Files(old, young)(func(line []byte) { got = append(got, strconv.Itoa(len(line))+string(line[:min(3, len(line))])) }); err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(got, " "); text != "4one 3two 6thr 1048576xxx 5fou 0" {
		t.Errorf("%q", text)
	}
}

// FuzzWriteTo checks that each line of a log is one line for people, which does nothing to a terminal.
func FuzzWriteTo(f *testing.F) {
	for _, line := range strings.Split(log, "\n") {
		f.Add(line, "s1")
	}
	f.Add(`{"session":"s\u001b[1m","helo":"\u009b","ts":"\n","level":"\r","msg":"\n","x\n":{"\u0007":["\u2028"]}}`, "s\x1b[1m")
	f.Fuzz(func(t *testing.T, line, of string) {
		found, err := Find(func(yield func([]byte)) error { yield([]byte(line)); return nil }, of)
		if err != nil {
			t.Fatal(err)
		}
		for _, story := range found.Stories {
			var b bytes.Buffer
			story.WriteTo(&b)
			if n := strings.Count(b.String(), "\n"); n != 2 || !strings.HasSuffix(b.String(), "\n") {
				t.Errorf("%d lines: %q", n, b.String())
			}
			if strings.ContainsFunc(b.String(), func(r rune) bool { return r != '\n' && !strconv.IsPrint(r) }) {
				t.Errorf("%q", b.String())
			}
		}
	})
}
