package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/handler/proxy"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// script is a backend that answers each command with what stands there for its verb, or 250; "" hangs up.
func script(t *testing.T, answers map[string]string) *proxy.Proxy {
	return scriptFunc(t, func(line string) string {
		verb, _, _ := strings.Cut(line, " ")
		if answer, ok := answers[verb]; ok {
			return answer
		}
		return "250 ok\r\n"
	})
}

func scriptFunc(t *testing.T, answer func(line string) string) *proxy.Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() {
				defer conn.Close()
				fmt.Fprint(conn, "220 raw.example\r\n")
				for in := bufio.NewScanner(conn); in.Scan(); {
					text := answer(in.Text())
					if fmt.Fprint(conn, text); text == "" {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); sessions.Wait() })
	return &proxy.Proxy{Hops: []route.Hop{hop(t, l.Addr().String())}}
}

// Replies that are not by the book are made such that they are, and mean the same.
func TestReplies(t *testing.T) {
	for answer, want := range map[string]string{
		"550 no such user\r\n":                     "550 5.0.0 no such user", // EHLO has promised an enhanced status code
		"550-5.1.1 no\r\n550 such user\r\n":        "550-5.1.1 no\r\n550 5.1.1 such user",
		"571 5.7.1 refused\r\n":                    "550 5.7.1 refused",
		"250\r\n":                                  "250 2.0.0 ",
		"450 4.2.0 a\x00b\tc\r\n":                  "450 4.2.0 a b c",
		"550 5.1.1 b\xc3\xbc\xff\r\n":              "550 5.1.1 b??",
		"550 2.1.1 of another class\r\n":           "550 5.0.0 2.1.1 of another class",
		"354 what\r\n":                             "451 4.5.0 ",
		"250 2.1.5 ok\n":                           "250 2.1.5 ok",
		"hello\r\n":                                "451 4.5.0 ",
		"":                                         "451 4.4.2 ",
		"250 ok\r\n250 and again\r\n":              "250 2.0.0 ok",
		"550 " + strings.Repeat("x", 600) + "\r\n": "550-5.0.0 xxx",
		strings.Repeat("550-x\r\n", 10000):         "451 4.5.0 ",
	} {
		p := script(t, map[string]string{"EHLO": "250-raw.example\r\n250 8BITMIME\r\n", "RCPT": answer})
		out := say(t, front(t, p, nil), "EHLO c.example\r\nMAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.net>\r\nQUIT\r\n")
		_, got, _ := strings.Cut(out, "\r\n250 2.0.0 ok\r\n")
		if !strings.HasPrefix(got, want) {
			t.Errorf("%.80q: got %.200q, want %q", answer, got, want)
		}
	}
}

// A backend that knows no EHLO gets plain mail.
func TestABackendWithoutEHLO(t *testing.T) {
	p := script(t, map[string]string{"EHLO": "502 what?\r\n"})
	out := say(t, front(t, p, nil), "EHLO c.example\r\nMAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.net>\r\nQUIT\r\n")
	if strings.Contains(out, "8BITMIME") || strings.Count(out, "\r\n250 2.0.0 ok") != 2 {
		t.Errorf("got %q", out)
	}
}

// Who speaks for nobody has no priority, and vouches for nobody, even where we are logged in.
func TestOursIsNotTheClientsLogin(t *testing.T) {
	var mu sync.Mutex
	var mails []string
	p := scriptFunc(t, func(line string) string {
		switch verb, _, _ := strings.Cut(line, " "); verb {
		case "EHLO":
			return "250-raw.example\r\n250-MT-PRIORITY\r\n250 AUTH PLAIN\r\n"
		case "AUTH":
			return "235 2.7.0 hello\r\n"
		case "MAIL":
			mu.Lock()
			mails = append(mails, line)
			mu.Unlock()
		}
		return "250 2.1.0 ok\r\n"
	})
	p.Auth = &smtpclient.Auth{User: "front", Password: "secret", AllowInsecure: true}
	offering := func(s *esmtp.Session, next esmtp.Handler) esmtp.Handler { return &offer{Handler: next} }
	out := say(t, front(t, p, nil, offering), "EHLO c.example\r\nMAIL FROM:<ann@example.org> MT-PRIORITY=9\r\nQUIT\r\n")
	mu.Lock()
	defer mu.Unlock()
	if len(mails) != 1 || mails[0] != "MAIL FROM:<ann@example.org>" {
		t.Errorf("the backend got %q\n%s", mails, out)
	}
}

// A password is for the server that it is meant for: neither MAIL shows it to another, nor EHLO, which asks what is offered.
func TestAPasswordIsNotForWhoeverAnswers(t *testing.T) {
	cert, trusting := esmtptest.Certificate(t, "localhost")
	withTLS := &tls.Config{Certificates: []tls.Certificate{cert}}
	for _, test := range []struct {
		name     string
		level    tlspolicy.Level
		host     string // what the next hop is called; the certificate is for localhost
		tls      *tls.Config
		insecure bool
		want     string
	}{
		{"proved its name", tlspolicy.Opportunistic, "localhost", withTLS, false, "PLAIN front secret"},
		{"another name", tlspolicy.Opportunistic, "127.0.0.1", withTLS, false, ""},
		{"no TLS", tlspolicy.Opportunistic, "localhost", nil, false, ""},
		{"required by the operator", tlspolicy.Required, "127.0.0.1", withTLS, false, "PLAIN front secret"},
		{"allowed by the operator", tlspolicy.Opportunistic, "127.0.0.1", withTLS, true, "PLAIN front secret"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := (&box{tls: test.tls, logins: []string{"PLAIN"}}).serve(t)
			p := to(t, b)
			p.Level, p.Hops[0].Host = test.level, test.host
			p.TLS = &tlspolicy.Policies{RootCAs: trusting.RootCAs, NoDANE: true}
			p.Auth = &smtpclient.Auth{User: "front", Password: "secret", Mechanisms: []string{"PLAIN"}, AllowInsecure: test.insecure}
			out := say(t, front(t, p, nil), "EHLO c.example\r\nMAIL FROM:<ann@example.org>\r\nQUIT\r\n")
			who, refused := b.loggedIn(), strings.Contains(out, "451 4.4.1")
			if refused != (test.want == "") || !strings.HasPrefix(who, test.want) || test.want == "" && who != "" || b.connections() == 0 {
				t.Errorf("%q got in, the client got %q", who, out)
			}
		})
	}
}

// Nobody is in between us and a socket, which has no name to prove.
func TestALoginOverASocket(t *testing.T) {
	b := (&box{logins: []string{"CRAM-MD5"}}).serve(t)
	p := to(t)
	p.Hops = []route.Hop{hop(t, "smtp+unix:///run/it.sock")}
	p.Auth = &smtpclient.Auth{User: "front", Password: "secret"}
	p.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", b.addr)
	}
	out := say(t, front(t, p, nil), "EHLO c.example\r\n"+one+"QUIT\r\n")
	if got := b.got(); len(got) != 1 || got[0].user != "front" {
		t.Errorf("got %+v, %q", got, out)
	}
}

// offer offers a priority to all.
type offer struct{ esmtp.Handler }

func (o *offer) EHLO(s *esmtp.Session, domain string) esmtp.Reply {
	r := o.Handler.EHLO(s, domain)
	r.Lines = append(r.Lines, "MT-PRIORITY")
	return r
}

// Many sessions share what is known of the next hop.
func TestManySessionsAtOnce(t *testing.T) {
	b := new(box).serve(t)
	srv := front(t, to(t, b), nil)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if out := say(t, srv, "EHLO c.example\r\n"+one+one+"QUIT\r\n"); strings.Count(out, "250 2.0.0 Message accepted") != 2 || !strings.Contains(out, "250-DSN") {
				t.Errorf("got %q", out)
			}
		})
	}
	all.Wait()
	if len(b.got()) != 100 || b.connections() != 51 {
		t.Errorf("%d messages over %d connections", len(b.got()), b.connections())
	}
}
