package maildir_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/handler/maildir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server with a store below the returned folder, and layers above and below it.
func serve(t *testing.T, path string, layers ...esmtp.Layer) (*esmtptest.Server, string) {
	root := filepath.Join(t.TempDir(), "mail")
	store, err := maildir.New(root + path)
	if err != nil {
		t.Fatal(err)
	}
	stack := append([]esmtp.Layer{store.NewLayer}, layers...)
	return esmtptest.NewServer(t, &esmtp.Server{Hostname: "mx.example.org", NewHandler: esmtp.Stack(stack...)}), root
}

const byAddress = "/{rcpt.domain}/{rcpt.local}"

// begin says what comes before the recipients.
func begin(c *esmtptest.Client) {
	c.Expect("220 *")
	c.Cmd("EHLO client.example", "250 *")
	c.Cmd("MAIL FROM:<ann@client.example> SMTPUTF8 BODY=BINARYMIME", "250 *")
}

// deliver sends a message with BDAT, octet for octet, and expects a reply.
func deliver(c *esmtptest.Client, message, want string, to ...string) {
	begin(c)
	for _, rcpt := range to {
		c.Cmd("RCPT TO:<"+rcpt+">", "250 *")
	}
	c.SendRaw(fmt.Sprintf("BDAT %d LAST\r\n%s", len(message), message))
	c.Expect(want)
}

// files lists the files below a folder with their contents, by the folder they are in.
func files(t *testing.T, root string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		dir, _ := filepath.Rel(root, filepath.Dir(path))
		found[dir] = append(found[dir], string(text))
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return found
}

var trace = regexp.MustCompile(`^Return-Path: <ann@client\.example>\r\nDelivered-To: ([^\r\n]*)\r\n` +
	`Received: from client\.example \(.*\)\r\n\tby mx\.example\.org with UTF8SMTP id \S+\r\n\tfor <([^\r\n]*)>; [^\r\n]+\r\n`)

// letter takes the one file of a folder apart: whom it is for, and the message.
func letter(t *testing.T, found map[string][]string, dir string) (to, message string) {
	t.Helper()
	if len(found[dir]) != 1 {
		t.Fatalf("%s has %d files, want 1; there are %q", dir, len(found[dir]), found)
	}
	text := found[dir][0]
	m := trace.FindStringSubmatch(text)
	if m == nil || m[1] != m[2] {
		t.Fatalf("the fields on top are wrong: %q", text)
	}
	return m[1], text[len(m[0]):]
}

func TestMessageIsKeptOctetForOctet(t *testing.T) {
	for name, message := range map[string]string{
		"plain":       "Subject: x\r\n\r\nHello\r\n",
		"dots":        "Subject: x\r\n\r\n.\r\n..\r\n.a\r\n",
		"folded":      "Subject: x\r\n\ty\r\nTo:z\r\n\r\n\r\n\r\nbody",
		"lone CR, LF": "Subject: x\r\n\r\na\rb\nc\x00\xff\r\n",
		"no body":     "Subject: x\r\n\r\n",
		"no blank":    "Subject: x\r\n",
		"empty":       "",
		"large":       "Subject: x\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n", 20000),
	} {
		t.Run(name, func(t *testing.T) {
			srv, root := serve(t, byAddress)
			deliver(srv.Dial(), message, "250 2.0.0 *", "user@example.org")
			to, got := letter(t, files(t, root), "example.org/user/new")
			if to != "user@example.org" || got != message {
				t.Errorf("got %q for %s, want %q", got, to, message)
			}
		})
	}
}

func TestMalformedHeaderGetsItsBlankLine(t *testing.T) {
	srv, root := serve(t, byAddress)
	deliver(srv.Dial(), "Subject: x\r\nno field\r\n", "250 *", "user@example.org")
	if _, got := letter(t, files(t, root), "example.org/user/new"); got != "Subject: x\r\n\r\nno field\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestEveryRecipientGetsACopy(t *testing.T) {
	srv, root := serve(t, byAddress)
	message := "Subject: x\r\n\r\n" + strings.Repeat("x", 100000)
	deliver(srv.Dial(), message, "250 *", "b@example.org", "C@Example.net", "b@example.org", "postmaster", "böb@exämple.org", `"a b"@[192.0.2.1]`)
	found := files(t, root)
	for dir, want := range map[string]string{
		"example.org/b/new":             "b@example.org",
		"example.net/c/new":             "C@example.net",
		"mx.example.org/postmaster/new": "postmaster@mx.example.org",
		"xn--exmple-cua.org/böb/new":    "böb@xn--exmple-cua.org",
		"[192.0.2.1]/a b/new":           `"a b"@[192.0.2.1]`,
	} {
		if to, got := letter(t, found, dir); to != want || got != message {
			t.Errorf("%s: got %d octets for %q, want it for %q", dir, len(got), to, want)
		}
		delete(found, dir)
	}
	if len(found) > 0 {
		t.Errorf("and there is %q", found)
	}
}

func TestOneFolderForAll(t *testing.T) {
	srv, root := serve(t, "")
	deliver(srv.Dial(), "Subject: x\r\n", "250 *", "b@example.org", "c@example.org")
	if found := files(t, root); len(found["new"]) != 2 || len(found) != 1 {
		t.Errorf("got %q, want two files in new", found)
	}
}

func TestModesAreAsConfigured(t *testing.T) {
	root := filepath.Join(t.TempDir(), "deep", "mail")
	store, err := maildir.New(root + "/{rcpt.local}")
	if err != nil {
		t.Fatal(err)
	}
	store.FileMode, store.DirMode = 0o666, 0o770
	c := esmtptest.Dial(t, &esmtp.Server{NewHandler: esmtp.Stack(store.NewLayer)})
	deliver(c, "Subject: x\r\n", "250 *", "user@example.org")
	filepath.WalkDir(filepath.Dir(root), func(path string, d fs.DirEntry, _ error) error {
		info, err := d.Info()
		if want := map[bool]fs.FileMode{true: 0o770, false: 0o666}[d.IsDir()]; err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v, want %v", path, info.Mode(), err, want)
		}
		return nil
	})
}

func TestSessionsAtTheSameTimeGetNamesOfTheirOwn(t *testing.T) {
	srv, root := serve(t, byAddress)
	const sessions, messages = 8, 20
	var all sync.WaitGroup
	for range sessions {
		c := srv.Dial()
		all.Go(func() {
			deliver(c, "Subject: 0\r\n", "250 *", "user@example.org")
			for range messages - 1 {
				c.Send("MAIL FROM:<>", "RCPT TO:<user@example.org>", "DATA")
				c.Expect("250 *", "250 *", "354 *")
				c.Send("Subject: x", ".")
				c.Expect("250 *")
			}
		})
	}
	all.Wait()
	entries, err := os.ReadDir(filepath.Join(root, "example.org/user/new"))
	if err != nil || len(entries) != sessions*messages {
		t.Fatalf("got %d files, %v, want %d", len(entries), err, sessions*messages)
	}
	name := regexp.MustCompile(`^\d+\.M\d{6}P\d+Q\d+R[0-9a-f]{8}\.[^/:]+$`)
	for _, e := range entries {
		if !name.MatchString(e.Name()) {
			t.Errorf("name %q", e.Name())
		}
	}
}

func TestNoAddressLeadsOutOfTheFolder(t *testing.T) {
	srv, root := serve(t, byAddress)
	c := srv.Dial()
	begin(c)
	long := strings.Repeat("ü", 32) // 64 octets, the longest local part
	for _, test := range []struct{ rcpt, want string }{
		{`<../../x@example.org>`, "553 5.1.3 *"},
		{`<a/b@example.org>`, "553 5.1.3 *"},
		{`<"../x"@example.org>`, "553 5.1.3 *"},
		{`<"a\/b"@example.org>`, "553 5.1.3 *"},
		{`<"a\\b"@example.org>`, "553 5.1.3 *"},
		{`<".."@example.org>`, "553 5.1.3 *"},
		{`<"."@example.org>`, "553 5.1.3 *"},
		{`<..@example.org>`, "553 5.1.3 *"},
		{`<.@example.org>`, "553 5.1.3 *"},
		{`<.x@example.org>`, "553 5.1.3 *"},
		{`</@example.org>`, "553 5.1.3 *"},
		{`</etc/passwd@example.org>`, "553 5.1.3 *"},
		{`<user@[x:../../etc]>`, "553 5.1.3 *"},
		{`<""@example.org>`, "501 *"},
		{`<user@..>`, "501 *"},
		{`<user@../x>`, "501 *"},
		{`<{rcpt.domain}@example.org>`, "250 *"},
		{`<` + long + `@example.org>`, "250 *"},
		{`<user@[IPv6:2001:db8::1]>`, "250 *"},
		{`<~root@example.org>`, "250 *"},
		{`<-rf@example.org>`, "250 *"},
		{`<"a b*?$(x)|;"@example.org>`, "250 *"},
	} {
		c.Cmd("RCPT TO:"+test.rcpt, test.want)
		if strings.HasPrefix(test.want, "5") {
			c.Cmd("RSET", "250 *") // errors count
			c.Cmd("MAIL FROM:<ann@client.example> SMTPUTF8", "250 *")
			c.Send("RCPT TO:<user@example.org>", "DATA")
			c.Expect("250 *", "354 *")
			c.Cmd(".", "250 *")
			c.Cmd("MAIL FROM:<ann@client.example> SMTPUTF8", "250 *")
		}
	}
	c.Send("DATA")
	c.Expect("354 *")
	c.Cmd("Subject: x\r\n.", "250 *")
	found := files(t, root)
	for _, dir := range []string{"example.org/{rcpt.domain}/new", "example.org/" + long + "/new", "[ipv6:2001:db8::1]/user/new",
		"example.org/~root/new", "example.org/-rf/new", "example.org/a b*?$(x)|;/new"} {
		if len(found[dir]) != 1 {
			t.Errorf("nothing in %s", dir)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(root)); err != nil || len(entries) != 1 {
		t.Errorf("there is something beside the root: %v, %v", entries, err)
	}
}
