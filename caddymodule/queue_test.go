package caddymodule

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/spool"
)

// closedPort is an address that nothing listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// queueRig is a server with a queue, and one that the queue delivers to.
type queueRig struct {
	in, out, mail, spool string
}

func newQueueRig(t *testing.T) *queueRig {
	dir := tempDir(t)
	return &queueRig{in: socket(t), out: socket(t), mail: filepath.Join(dir, "mail"), spool: filepath.Join(dir, "spool")}
}

// block is the configuration; settings are more ones of the queue.
func (r *queueRig) block(hop, settings string) string {
	return fmt.Sprintf(`queue {
	spool %s
	hostname relay.example.org
	next_hop %s
	%s
}
unix/%s {
	hostname in.example.org
	queue
}
unix/%s {
	hostname out.example.org
	recipients *@example.net
	maildir %s/{rcpt.local}
}
`, r.spool, hop, settings, r.in, r.out, r.mail)
}

func (r *queueRig) hop() string { return "smtp+unix://" + r.out }

// send sends a message to the queue.
func (r *queueRig) send(t *testing.T, to string) {
	t.Helper()
	c := dial(t, r.in)
	c.Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: MAIL FROM:<ann@example.net>\nS: 250 *\nC: RCPT TO:<" + to + ">\nS: 250 *\nC: DATA\nS: 354 *\n" +
		"C: Subject: hi\nC:\nC: to " + to + "\nC: .\nS: 250 2.0.0 queued as *\nC: QUIT\nS: 221 *\nclose")
}

// delivered waits for mail in a maildir.
func (r *queueRig) delivered(t *testing.T, user, text string) {
	t.Helper()
	eventually(t, func() string {
		files, _ := filepath.Glob(filepath.Join(r.mail, user, "new", "*"))
		for _, file := range files {
			if body, _ := os.ReadFile(file); strings.Contains(string(body), text) {
				return ""
			}
		}
		return fmt.Sprintf("nothing with %q came for %s", text, user)
	})
}

func TestAQueueDeliversAndReports(t *testing.T) {
	r := newQueueRig(t)
	load(t, r.block(r.hop(), ""))
	r.send(t, "bob@example.net")
	r.delivered(t, "bob", "to bob@example.net")
	r.send(t, "stranger@example.org")
	r.delivered(t, "ann", "Action: failed")
}

// What an old config has queued the new one delivers, in its way; the spool is not closed in between.
func TestAQueueSurvivesAReload(t *testing.T) {
	r := newQueueRig(t)
	load(t, r.block(closedPort(t), "retry 1s"))
	session := dial(t, r.in)
	session.Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: MAIL FROM:<ann@example.net>\nS: 250 *\nC: RCPT TO:<late@example.net>\nS: 250 *")
	r.send(t, "bob@example.net")
	if err := tryLoad(t, r.block(r.hop(), "retry 1s")); err != nil {
		t.Fatal(err)
	}
	r.delivered(t, "bob", "to bob@example.net")
	session.Run("C: DATA\nS: 354 *\nC: Subject: late\nC: .\nS: 250 2.0.0 queued as *\nC: QUIT\nS: 221 *\nclose")
	r.delivered(t, "late", "Subject: late")
}

// A spool is the same one when the new config spells it in another way.
func TestAReloadMaySpellASpoolInAnotherWay(t *testing.T) {
	r := newQueueRig(t)
	block := r.block(r.hop(), "")
	load(t, block)
	for _, spelt := range []string{"sqlite://" + r.spool, r.spool + "/./"} {
		if err := tryLoad(t, strings.Replace(block, "spool "+r.spool, "spool "+spelt, 1)); err != nil {
			t.Fatal(err)
		}
	}
	r.send(t, "bob@example.net")
	r.delivered(t, "bob", "to bob@example.net")
}

// A reload with another spool leaves what is in the old one to nobody, and the log says so; one with the same spool doesn't.
func TestAReloadTellsWhatItLeavesBehind(t *testing.T) {
	r, other := newQueueRig(t), newQueueRig(t)
	logs := filepath.Join(tempDir(t), "log")
	reload := func(r *queueRig) {
		t.Helper()
		config, err := adapt("{\n" + private + "log {\noutput file " + logs + " {\nroll_disabled\n}\nformat json\n}\nesmtp {\n" + r.block(closedPort(t), "retry 1h") + "}\n}\n")
		if err != nil {
			t.Fatal(err)
		}
		if err := caddy.Load(config, true); err != nil {
			t.Fatal(err)
		}
		draining.all.Wait()
	}
	t.Cleanup(func() { stop(t) })
	said := func() string {
		text, err := os.ReadFile(logs)
		if err != nil {
			t.Error(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "no config has this spool any more") {
				return line
			}
		}
		return ""
	}
	reload(r)
	r.send(t, "bob@example.net")
	r.send(t, "eve@example.net")
	reload(r)
	if got := said(); got != "" {
		t.Errorf("said of a spool that is still there: %s", got)
	}
	reload(other)
	if got := said(); !strings.Contains(got, `"level":"warn"`) || !strings.Contains(got, `"queued":2,"spool":"`+r.spool+`"`) {
		t.Errorf("got %s", got)
	}
	if err := os.Truncate(logs, 0); err != nil {
		t.Fatal(err)
	}
	reload(r) // nothing is left in the other one
	if got := said(); got != "" {
		t.Errorf("said of an empty spool: %s", got)
	}
}

// After a stop the spool is free, and has what was not delivered.
func TestAQueueIsClosedAtTheEnd(t *testing.T) {
	r := newQueueRig(t)
	load(t, r.block(closedPort(t), "retry 1h"))
	r.send(t, "bob@example.net")
	stop(t)
	s, err := spool.Open(context.Background(), r.spool, &spool.Options{Logger: esmtptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	items, _, err := s.List(context.Background(), spool.Filter{})
	if err != nil || len(items) != 1 || items[0].State != spool.Queued || items[0].Recipients[0].Address != "bob@example.net" {
		t.Errorf("got %v, %v", items, err)
	}
}

// A config that fails to start gives its spool back.
func TestAFailedStartLeavesNoSpoolOpen(t *testing.T) {
	r := newQueueRig(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := tryLoad(t, r.block(r.hop(), "")+"tcp/"+taken.Addr().String()+" {\nrespond CONNECT 554 5.7.1 no\n}"); err == nil {
		t.Skip("this system lets two listen on one port")
	}
	s, err := spool.Open(context.Background(), r.spool, &spool.Options{Logger: esmtptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestQuarantineKeepsMail(t *testing.T) {
	r := newQueueRig(t)
	load(t, fmt.Sprintf("queue {\nspool %s\n}\nunix/%s {\nhostname in.example.org\nquarantine \"not now\"\n}\n", r.spool, r.in))
	r.send(t, "bob@example.net")
	stop(t)
	s, err := spool.Open(context.Background(), r.spool, &spool.Options{Logger: esmtptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	items, _, err := s.List(context.Background(), spool.Filter{})
	if err != nil || len(items) != 1 || items[0].State != spool.Quarantined || items[0].Reason != "not now" {
		t.Errorf("got %v, %v", items, err)
	}
}

// What stands at line 4 is wrong, and the error says so.
func TestMistakesInAQueueBlockAreFoundWithTheirLine(t *testing.T) {
	for line, want := range map[string]string{
		"spol /x":                       `queue: unrecognized setting "spol"; did you mean spool?`,
		"spool":                         "spool takes one argument",
		"next_hop":                      "next_hop takes next hops, such as mx.example.org:25",
		"next_hop http://x":             "the scheme is none of",
		"next_hop a:b@host":             "a password must not stand in an address",
		"route":                         "route takes a domain and next hops",
		"route example.org x {\ndns\n}": `route: unrecognized setting "dns"; there is tls`,
		"route a..b x":                  "route: bad rule",
		"login host secret":             "has no user: want user@host",
		"login user@host":               "login takes a next hop with its user, and a password",
		"tls strong":                    `tls is one of none, opportunistic, required, verified, not "strong"`,
		"dns localhost":                 `dns: "localhost" is no IP address`,
		"concurrency 0":                 `concurrency is a number above 0, not "0"`,
		"retry":                         "retry takes durations, such as 1m 10m 1h",
		"retry 1m soon":                 `not "soon"`,
		"expire off":                    "expire can't be off",
		"hostname a_b..c":               "neither a domain name nor an address literal",
	} {
		_, err := adapt("{\nesmtp {\nqueue {\n" + line + "\n}\n}\n}\n")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Caddyfile:") {
			t.Errorf("%q: got %v, want %q with the line", line, err, want)
		}
	}
	for block, want := range map[string]string{
		"queue a b {\n}": `queue takes one name, not "b" too`,
		"queue {\nlogin ann@host a\nlogin smtp://ann@HOST:25 b\n}": "there are two logins for smtp://ann@host:25, at Caddyfile:5",
		"queue {\nroute Example.org a\n\nroute example.org b\n}":   "there is a route for example.org already, at Caddyfile:6",
		"queue {\nroute .example.org a\nroute *.example.org b\n}":  `route: bad rule for "*.example.org": there are two, at Caddyfile:6`,
		"queue {\nnext_hop ann@host\nlogin ann@other x\n}":         "next hop smtp://ann@host:25 has a user and no password: want login smtp://ann@host:25 <password> in the queue, at Caddyfile:6",
		"queue {\nroute example.org ann@host\n}":                   "route example.org: next hop smtp://ann@host:25 has a user and no password: want login smtp://ann@host:25 <password> in the queue, at Caddyfile:5",
		"queue {\n}\nqueue {\n}":                                   "there is a queue default already",
		":2525 {\nqueue http://x\n}":                               "the scheme is none of",
		":2525 {\nqueue {\nqueu x\n}\n}":                           `queue: unrecognized option "queu"; did you mean queue?`,
		":2525 {\nwebhook\n}":                                      "webhook takes a URL, such as https://app.example.org/mail",
		":2525 {\nwebhook app.example.org\n}":                      `webhook: "app.example.org" is no URL`,
		":2525 {\nwebhook http://a:b@c/\n}":                        "a password must not stand in a URL",
		":2525 {\nwebhook http://c/ {\nheader a\n}\n}":             "header takes a name and a value",
		":2525 {\nwebhook http://c/ {\nheader a:b c\n}\n}":         `"a:b" is no header field`,
		":2525 {\nwebhook http://c/ {\nheaders a b\n}\n}":          `webhook: unrecognized option "headers"; did you mean header?`,
		":2525 {\nquarantine a b\n}":                               `quarantine takes one reason, in quotes if it has spaces; "b" is another`,
		":2525 {\nquarantine {\nreason x\n}\n}":                    `quarantine: unrecognized option "reason"`,
	} {
		if _, err := adapt("{\nesmtp {\n" + block + "\n}\n}\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", block, err, want)
		}
	}
}

// What can only be seen when all is there is found when the config is provisioned.
func TestMistakesInQueuesAreFoundByValidate(t *testing.T) {
	for block, want := range map[string]string{
		":2525 {\nqueue {\nqueue inbund\n}\n}\nqueue inbound {\n}":       `there is no queue "inbund"; did you mean inbound?`,
		":2525 {\nqueue ann@host\n}":                                     "has a user and no password: want login",
		"queue a {\nspool /x/y\n}\nqueue b {\nspool /x//y/\n}":           "queue b: queue a has the spool /x/y already: give each its own, or have one queue",
		"queue a {\nspool /x/y\n}\nqueue b {\nspool sqlite:///x/y\n}":    "queue b: queue a has the spool /x/y already",
		"queue a {\nspool ./x/../y\n}\nqueue b {\nspool y\n}":            "queue b: queue a has the spool /",
		"queue {\nlogin ann@other secret\n}\n:2525 {\nqueue ann@host\n}": "has a user and no password: want login",
	} {
		config, err := adapt("{\n" + private + "esmtp {\n" + block + "\n}\n}\n")
		if err != nil {
			t.Fatal(err)
		}
		if err := tryValidate(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", block, err, want)
		}
	}
}

// A message is in the queue before 250, and is posted until the program takes it.
func TestAWebhookIsPostedUntilItIsTaken(t *testing.T) {
	var calls atomic.Int32
	got := make(chan string, 1)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		file, _, err := r.FormFile("message")
		if err != nil {
			t.Error(err)
			return
		}
		body, _ := io.ReadAll(file)
		got <- r.Header.Get("X-Token") + " " + r.Header.Get("X-Esmtp-Signature")[:2] + " " + r.FormValue("envelope") + " " + string(body)
	}))
	defer app.Close()
	t.Setenv("ESMTP_TEST_TOKEN", "token")
	r := newQueueRig(t)
	load(t, fmt.Sprintf("queue {\nspool %s\n}\nunix/%s {\nhostname in.example.org\nwebhook %s/mail {\nheader X-Token {env.ESMTP_TEST_TOKEN}\nsecret s\nretry 1s 1s\n}\n}\n", r.spool, r.in, app.URL))
	r.send(t, "bob@example.net")
	select {
	case text := <-got:
		for _, want := range []string{"token t= ", `"address":"bob@example.net"`, `"helo":"client.example"`, "\r\nto bob@example.net\r\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q lacks %q", text, want)
			}
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was posted")
	}
}

func TestWebhooksOfOneURLMustNotDiffer(t *testing.T) {
	config, err := adapt("{\n" + private + "esmtp {\n:2525 {\nwebhook http://c/ {\nsecret a\n}\n}\n:2526 {\nwebhook http://c/ {\nsecret b\n}\n}\n}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := tryValidate(config); err == nil || !strings.Contains(err.Error(), "there are two for http://c/") {
		t.Errorf("got %v", err)
	}
}
