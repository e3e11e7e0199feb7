package dsn

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/internal/mailtext"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

func path(t testing.TB, address, params string) esmtp.Path {
	t.Helper()
	p, err := esmtp.NewPath(address, params)
	if err != nil {
		t.Fatalf("%q %q: %v", address, params, err)
	}
	return p
}

const original = "Received: from a.example by b.example; Fri, 2 Jan 2026 15:00:00 +0000\r\nFrom: alice@a.example\r\nSubject: hello\r\n\r\nBody.\r\n.dot\r\n"

func failed(t testing.TB, to, params string) Recipient {
	return Recipient{
		To: path(t, to, params), Reply: esmtp.Deny(550, 5, 1, 1, "no such user", "try another"), RemoteMTA: "mx.c.example", LastAttempt: now,
	}
}

func report(t testing.TB, fromParams string, rcpts ...Recipient) Report {
	return Report{Hostname: "b.example", From: path(t, "alice@a.example", fromParams), Arrived: now.Add(-time.Hour), Recipients: rcpts, Now: now}
}

var cases = map[string]func(t testing.TB) (Report, string){
	"failed": func(t testing.TB) (Report, string) {
		return report(t, "ENVID=QQ+3D314 RET=FULL", failed(t, "bob@c.example", "ORCPT=rfc822;Bob+2Bx@c.example"), failed(t, "carol@c.example", "")), original
	},
	"delayed": func(t testing.TB) (Report, string) {
		return report(t, "", Recipient{
			To: path(t, "bob@c.example", ""), Action: Delayed, Reply: esmtp.Deny(451, 4, 4, 1, "the connection was refused"), RetryUntil: now.Add(72 * time.Hour),
		}), original
	},
	"delayed-for-how-long": func(t testing.TB) (Report, string) {
		return report(t, "", Recipient{To: path(t, "bob@c.example", ""), Action: Delayed, Reply: esmtp.Deny(451, 4, 4, 1, "the connection was refused")}), original
	},
	"expired": func(t testing.TB) (Report, string) {
		rcpt := failed(t, "bob@c.example", "")
		rcpt.Reply, rcpt.Expired = esmtp.Deny(451, 4, 1, 1, "no such user for now"), true
		return report(t, "", rcpt), original
	},
	"delivered": func(t testing.TB) (Report, string) {
		return report(t, "RET=FULL",
			Recipient{To: path(t, "bob@c.example", "NOTIFY=SUCCESS"), Action: Delivered, Reply: esmtp.Say(250, "ok"), RemoteMTA: "192.0.2.1"},
			Recipient{To: path(t, "carol@c.example", "NOTIFY=SUCCESS,FAILURE"), Action: Relayed, Reply: esmtp.Say(250, "ok"), RemoteMTA: "mx.c.example"},
			Recipient{To: path(t, "dave@c.example", ""), Action: Delivered}), original
	},
	"requiretls": func(t testing.TB) (Report, string) {
		return report(t, "REQUIRETLS RET=FULL", failed(t, "bob@c.example", "")), original
	},
	"utf8": func(t testing.TB) (Report, string) {
		r := report(t, "SMTPUTF8 BODY=8BITMIME", failed(t, "jürgen@c.example", `ORCPT=utf-8;j\x{FC}rgen@c.example`))
		r.Recipients[0].Reply.Lines = []string{"ungültig"}
		return r, "Subject: Grüße\r\n\r\nÖ\r\n"
	},
	"utf8-sender": func(t testing.TB) (Report, string) {
		r := report(t, "", failed(t, "bob@c.example", ""))
		r.From = path(t, "jürgen@bücher.example", "SMTPUTF8 BODY=8BITMIME RET=HDRS")
		return r, "Subject: Grüße\r\n\r\nÖ\r\n"
	},
	"eightbit": func(t testing.TB) (Report, string) {
		return report(t, "BODY=8BITMIME", failed(t, "bob@c.example", `ORCPT=utf-8;j\x{FC}rgen@c.example`)), "Subject: x\r\n\r\nÖ\r\n"
	},
	"eightbit-header": func(t testing.TB) (Report, string) {
		return report(t, "RET=HDRS", failed(t, "bob@c.example", "")), "Subject: Gr\xfc\xdfe\r\n\r\nbody\r\n"
	},
	"hostile": func(t testing.TB) (Report, string) {
		rcpt := failed(t, "bob@c.example", "")
		rcpt.RemoteMTA = "evil\r\nBcc: x@y"
		rcpt.Reply.Lines = []string{"\r\n\r\n--boundary\r\nContent-Type: text/html\x00\x1b[31m", strings.Repeat("long ", 500), "\xff\xfe \u2028 ü"}
		return report(t, "", rcpt), "A: b\n\rc\r\nX: " + strings.Repeat("y", 3000) + "\r\n\r\nlone \n\r\n"
	},
}

func TestReportsAreWhatTheyWere(t *testing.T) {
	for name, make := range cases {
		t.Run(name, func(t *testing.T) {
			r, content := make(t)
			m, err := compose(r, strings.NewReader(content), "UNIQUE")
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if n, err := m.WriteTo(&b); err != nil || n != int64(m.Len()) {
				t.Fatal(n, err)
			}
			got := "MAIL FROM:<" + m.From.String() + "> " + m.From.Params() + "\r\nRCPT TO:<" + m.To.String() + "> " + m.To.Params() + "\r\n\r\n" + b.String()
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || got != string(want) {
				t.Errorf("%v, got\n%s", err, got)
			}
			parseBack(t, b.Bytes())
		})
	}
}

func TestStatusSaysWhatTheQueueKnows(t *testing.T) {
	r, content := cases["failed"](t)
	m, err := New(r, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	p := parseBack(t, m.content.Bytes())
	if string(p.parts[2]) != original {
		t.Errorf("the original: %q", p.parts[2])
	}
	if len(p.status) != 3 {
		t.Fatalf("%d blocks", len(p.status))
	}
	for field, want := range map[string]string{
		"Original-Envelope-Id": "QQ=314", "Reporting-Mta": "dns; b.example", "Arrival-Date": "Fri, 2 Jan 2026 14:04:05 +0000",
	} {
		if got := p.status[0].Get(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	for field, want := range map[string]string{
		"Original-Recipient": "rfc822; Bob+x@c.example", "Final-Recipient": "rfc822; bob@c.example", "Action": "failed", "Status": "5.1.1",
		"Remote-Mta": "dns; mx.c.example", "Diagnostic-Code": "smtp; 550-5.1.1 no such user 550 5.1.1 try another", "Last-Attempt-Date": "Fri, 2 Jan 2026 15:04:05 +0000",
	} {
		if got := p.status[1].Get(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	if p.header.Get("Auto-Submitted") != "auto-replied" || p.header.Get("From") != "Mail Delivery System <MAILER-DAEMON@b.example>" {
		t.Error(p.header)
	}
	if !m.From.IsNull() || m.To.String() != "alice@a.example" || m.To.Notify() != esmtp.NotifyNever {
		t.Error(m.From, m.To)
	}
}

// A report is the last word, so it needs nothing of servers but what the address of the sender needs: an original that needs more is encoded, and whole.
func TestAReportNeedsNoMoreThanItsAddress(t *testing.T) {
	utf8 := failed(t, "jürgen@c.example", "")
	utf8.Reply.Lines = []string{"ungültig"}
	for _, c := range []struct {
		name, sender, params string
		rcpt                 Recipient
		original             string
		needs, third         string
	}{
		{"7 bits", "alice@a.example", "", failed(t, "bob@c.example", ""), original, "", "message/rfc822"},
		{"8 bits that nobody declared", "alice@a.example", "", failed(t, "bob@c.example", ""), "A: b\r\n\r\n\xfc\r\n", "", "message/global"},
		{"8BITMIME", "alice@a.example", "BODY=8BITMIME", failed(t, "bob@c.example", ""), "A: b\r\n\r\nÖ = ö \r\n.\r\n\tend", "", "message/global"},
		{"SMTPUTF8", "alice@a.example", "SMTPUTF8 BODY=8BITMIME", utf8, "Subject: Grüße\r\n\r\nÖ\r\n", "", "message/global"},
		{"SMTPUTF8 for nothing", "alice@a.example", "SMTPUTF8", failed(t, "bob@c.example", ""), original, "", "message/rfc822"},
		{"SMTPUTF8, header only", "alice@a.example", "SMTPUTF8 RET=HDRS", utf8, "Subject: Grüße\r\n", "", "message/global-headers"},
		{"a domain in UTF-8", "alice@bücher.example", "SMTPUTF8", utf8, original, "", "message/rfc822"},
		{"a local part in UTF-8", "jürgen@a.example", "SMTPUTF8", utf8, original, "BODY=8BITMIME SMTPUTF8", "message/rfc822"},
		{"REQUIRETLS", "alice@a.example", "REQUIRETLS RET=FULL", utf8, "Subject: Grüße\r\n", "REQUIRETLS", "text/rfc822-headers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := report(t, "", c.rcpt)
			r.From = path(t, c.sender, c.params)
			m, err := New(r, strings.NewReader(c.original))
			if err != nil {
				t.Fatal(err)
			}
			content := m.content.Bytes()
			p := parseBack(t, content)
			if got := m.From.Params(); got != c.needs || mailtext.IsASCII(content) != (c.needs != "BODY=8BITMIME SMTPUTF8") {
				t.Errorf("needs %q, want %q:\n%s", got, c.needs, content)
			}
			if p.types[2] != c.third || string(p.parts[2]) != c.original {
				t.Errorf("%s %q, want %s %q", p.types[2], p.parts[2], c.third, c.original)
			}
		})
	}
}

func TestNobodyGetsAReportHeDoesNotWant(t *testing.T) {
	for _, c := range []struct {
		from, notify string
		action       Action
		want         bool
	}{
		{"alice@a.example", "", Failed, true},
		{"alice@a.example", "", Delayed, true},
		{"alice@a.example", "", Delivered, false},
		{"alice@a.example", "", Relayed, false},
		{"", "", Failed, false}, // RFC 5321 §4.5.5
		{"", "NOTIFY=FAILURE", Failed, false},
		{"alice@a.example", "NOTIFY=NEVER", Failed, false},
		{"alice@a.example", "NOTIFY=NEVER", Delayed, false},
		{"alice@a.example", "NOTIFY=SUCCESS", Failed, false},
		{"alice@a.example", "NOTIFY=SUCCESS", Delivered, true},
		{"alice@a.example", "NOTIFY=SUCCESS", Expanded, true},
		{"alice@a.example", "NOTIFY=SUCCESS", Relayed, true},
		{"alice@a.example", "NOTIFY=FAILURE", Delayed, false},
		{"alice@a.example", "NOTIFY=FAILURE,DELAY", Delayed, true},
	} {
		rcpt := failed(t, "bob@c.example", c.notify)
		rcpt.Action = c.action
		r := report(t, "", rcpt)
		r.From = path(t, c.from, "")
		if _, err := New(r, nil); errors.Is(err, ErrNobody) == c.want {
			t.Errorf("%q %q %s: %v", c.from, c.notify, c.action, err)
		}
	}
}

func TestWhatIsReturnedIsBounded(t *testing.T) {
	long := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("y", 70)+"\r\n", 1000)
	for _, c := range []struct {
		name, params, content string
		max                   int
		want                  string
		body                  int
	}{
		{"short", "", original, 0, "message/rfc822", len(original)},
		{"long", "", long, 0, "text/rfc822-headers", len("Subject: x\r\n")},
		{"long, allowed", "", long, len(long), "message/rfc822", len(long)},
		{"one octet over", "", long, len(long) - 1, "text/rfc822-headers", len("Subject: x\r\n")},
		{"never whole", "", original, -1, "text/rfc822-headers", strings.Index(original, "\r\n\r\n") + 2},
		{"RET=HDRS", "RET=HDRS", original, 0, "text/rfc822-headers", strings.Index(original, "\r\n\r\n") + 2},
		{"REQUIRETLS", "RET=FULL REQUIRETLS", original, 0, "text/rfc822-headers", strings.Index(original, "\r\n\r\n") + 2},
		{"long header", "", strings.Repeat("A: b\r\n", 100), 20, "text/rfc822-headers", 18},
		{"lone LF", "", "A: b\r\n\r\nx\ny\r\n", 0, "text/rfc822-headers", 6},
		{"lone CR", "", "A: b\r\n\r\nx\ry\r\n", 0, "text/rfc822-headers", 6},
		{"NUL", "", "A: b\r\n\r\nx\x00\r\n", 0, "text/rfc822-headers", 6},
		{"long line", "", "A: b\r\n\r\n" + strings.Repeat("x", 999) + "\r\n", 0, "text/rfc822-headers", 6},
		{"CR at the end", "", "A: b\r\n\r\nx\r", 0, "text/rfc822-headers", 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := report(t, c.params, failed(t, "bob@c.example", ""))
			r.MaxOriginal = c.max
			m, err := New(r, strings.NewReader(c.content))
			if err != nil {
				t.Fatal(err)
			}
			p := parseBack(t, m.content.Bytes())
			if p.types[2] != c.want || len(p.parts[2]) != c.body {
				t.Errorf("%s of %d octets, want %s of %d", p.types[2], len(p.parts[2]), c.want, c.body)
			}
		})
	}
}

func TestStatusHasAClassThatTheActionCanHave(t *testing.T) {
	for _, c := range []struct {
		action  Action
		expired bool
		reply   esmtp.Reply
		want    string
	}{
		{Failed, false, esmtp.Reply{}, "5.0.0"},
		{Failed, false, esmtp.Deny(550, 5, 1, 1), "5.1.1"},
		{Failed, false, esmtp.Deny(451, 4, 4, 1), "4.4.1"},
		{Failed, false, esmtp.Say(451), "4.0.0"},
		{Failed, false, esmtp.Say(550), "5.0.0"},
		{Failed, false, esmtp.Say(354), "5.0.0"},
		{Failed, false, esmtp.Reply{Code: 550, Enh: esmtp.NoEnhanced}, "5.0.0"},
		{Failed, true, esmtp.Deny(451, 4, 1, 1), "4.1.1"},
		{Failed, true, esmtp.Deny(451, 5, 1, 1), "4.1.1"},
		{Failed, true, esmtp.Say(451), "5.4.7"},
		{Failed, true, esmtp.Deny(451, 4, 0, 0), "5.4.7"},
		{Failed, true, esmtp.Reply{Code: 451, Enh: esmtp.NoEnhanced}, "5.4.7"},
		{Delayed, false, esmtp.Deny(451, 4, 4, 1), "4.4.1"},
		{Delayed, false, esmtp.Deny(550, 5, 4, 1), "4.0.0"},
		{Delivered, false, esmtp.Deny(250, 2, 1, 5), "2.1.5"},
		{Delivered, false, esmtp.Deny(550, 5, 4, 1), "2.0.0"},
		{Delivered, false, esmtp.Reply{}, "2.0.0"},
	} {
		if got := statusOf(Recipient{Action: c.action, Expired: c.expired, Reply: c.reply}).String(); got != c.want {
			t.Errorf("%s %v %v: %s, want %s", c.action, c.expired, c.reply, got, c.want)
		}
	}
}

func TestALongReplyDoesNotMakeALongReport(t *testing.T) {
	for _, lines := range [][]string{{strings.Repeat("x", 1<<20)}, {strings.Repeat("x\n", 1<<20)}, strings.Split(strings.Repeat("x y,", 1<<18), ",")} {
		rcpt := failed(t, "bob@c.example", "")
		rcpt.Reply.Lines = lines
		m, err := New(report(t, "", rcpt), strings.NewReader(original))
		if err != nil {
			t.Fatal(err)
		}
		if m.Len() > 10_000 {
			t.Errorf("%d octets", m.Len())
		}
		parseBack(t, m.content.Bytes())
	}
}

func TestALongNameDoesNotMakeALongLine(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for name, change := range map[string]func(*Report){
		"host":            func(r *Report) { r.Hostname = long },
		"remote host":     func(r *Report) { r.Recipients[0].RemoteMTA = long },
		"envelope":        func(r *Report) { r.From = path(t, "alice@a.example", "ENVID="+long) },
		"type of address": func(r *Report) { r.Recipients[0].To = path(t, "bob@c.example", "ORCPT="+long+";"+long) },
		"address":         func(r *Report) { r.Recipients[0].To = path(t, "bob@c.example", "ORCPT=rfc822;"+long) },
		"address in UTF-8": func(r *Report) {
			r.Recipients[0].To = path(t, "bob@c.example", "ORCPT=utf-8;"+strings.Repeat("ü", 1000))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := report(t, "", failed(t, "bob@c.example", ""))
			change(&r)
			m, err := New(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			parseBack(t, m.content.Bytes())
		})
	}
}

func TestAnErrorOfTheOriginalIsReported(t *testing.T) {
	broken := errors.New("broken")
	_, err := New(report(t, "", failed(t, "bob@c.example", "")), io.MultiReader(strings.NewReader("A: b"), errReader{broken}))
	if !errors.Is(err, broken) {
		t.Error(err)
	}
}

type errReader struct{ error }

func (r errReader) Read([]byte) (int, error) { return 0, r.error }
