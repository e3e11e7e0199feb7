package esmtp_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// endings gets why each session ended.
type endings struct {
	esmtp.Default
	why chan error
}

func (e *endings) Closed(s *esmtp.Session, err error) { e.why <- err }

func withEndings(srv *esmtp.Server) (*esmtp.Server, chan error) {
	why := make(chan error, 100)
	srv.Hostname = tlsHost
	srv.NewHandler = func(s *esmtp.Session) esmtp.Handler { return &endings{why: why} }
	return srv, why
}

// wantEnd checks why a session ended; the first end is that of the handler that was vetted.
func wantEnd(t *testing.T, why chan error, want error) {
	t.Helper()
	<-why
	if got := <-why; !errors.Is(got, want) {
		t.Errorf("Closed got %v, want %v", got, want)
	}
}

func TestEarlyTalkerIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, why := withEndings(&esmtp.Server{Timeouts: esmtp.Timeouts{Greeting: 6 * time.Second}, GreetingTeaser: "one\r\nmoment"})
		c := esmtptest.Dial(t, srv)
		c.Patience = 0
		if line, _ := c.ReadLine(); line != "220-mx.example.org one  moment" {
			t.Errorf("teaser: %q", line)
		}
		c.Send("EHLO spam.example")
		c.Expect("554 5.5.0 *")
		c.ExpectClose()
		wantEnd(t, why, esmtp.ErrEarlyTalker)
	})
}

func TestGreetingComesAfterItsDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, _ := withEndings(&esmtp.Server{Timeouts: esmtp.Timeouts{Greeting: 6 * time.Second}})
		begin := time.Now()
		c := esmtptest.Dial(t, srv)
		c.Patience = 0
		c.Expect("220 mx.example.org *")
		if d := time.Since(begin); d < 6*time.Second || d > 7*time.Second {
			t.Errorf("greeting after %v, want 6 seconds", d)
		}
		c.Cmd("NOOP", "250 *")
	})
}

// RFC 2920 §3.1: what may be in a group, and what must be its last command.
func TestForbidEarly(t *testing.T) {
	for _, test := range []struct {
		send string
		ok   bool
	}{
		{"NOOP\r\n", true},
		{"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<e@d.example>\r\nDATA\r\n", true},
		{"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nBDAT 3 LAST\r\nx\r\nQUIT\r\n", true},
		{"MAIL FROM:<a@b.example>\r\nRSET\r\nQUIT\r\n", true},
		{"NOOP\r\nMAIL FROM:<a@b.example>\r\n", false},
		{"VRFY a\r\nQUIT\r\n", false},
		{"EHLO again.example\r\nQUIT\r\n", false},
		{"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nSubject: x\r\n.\r\n", false},
	} {
		srv, why := withEndings(&esmtp.Server{ForbidEarly: true})
		c := esmtptest.Dial(t, srv)
		c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...")
		c.SendRaw(test.send)
		text := ""
		for !strings.Contains(text, "554 ") && !strings.Contains(text, "354") && !strings.Contains(text, "221") && text != "250 2.0.0 OK" {
			lines, err := c.ReadReply()
			if err != nil {
				t.Fatal(err)
			}
			text = strings.Join(lines, "\n")
		}
		if got := !strings.HasPrefix(text, "554"); got != test.ok {
			t.Errorf("%q: got %q, want ok %v", test.send, text, test.ok)
		}
		if !test.ok {
			wantEnd(t, why, esmtp.ErrEarlyTalker)
		}
	}
	srv, _ := withEndings(&esmtp.Server{ForbidEarly: true})
	c := esmtptest.Dial(t, srv)
	c.Expect("220 *")
	c.Cmd("HELO a", "250 *")
	c.Send("MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>") // PIPELINING was not offered
	c.Expect("554 5.5.0 *")
}

// ALPACA: a web client, or a TLS client, on a mail port is told so in one reply, and nothing it says is done.
func TestHTTPAndTLSOnAMailPort(t *testing.T) {
	for send, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: mx.example.org\r\n\r\n":          "421 4.7.0 *",
		"POST /x HTTP/1.1\r\nContent-Length: 4\r\n\r\nHELO a\r\n": "421 4.7.0 *",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                        "421 4.7.0 *",
		"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 hello \r\n": "500 5.5.2 *",
	} {
		srv, why := withEndings(new(esmtp.Server))
		c := esmtptest.Dial(t, srv)
		c.Expect("220 *")
		c.SendRaw(send)
		c.Expect(want)
		c.ExpectClose()
		wantEnd(t, why, esmtp.ErrNotSMTP)
	}
}

func TestErrorsAreAnsweredLaterAndLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, why := withEndings(&esmtp.Server{Limits: esmtp.Limits{Errors: 4}, Timeouts: esmtp.Timeouts{ErrorDelay: time.Second}})
		c := esmtptest.Dial(t, srv)
		c.Patience = 0
		c.Expect("220 *")
		for i, want := range []time.Duration{0, 0, 1, 2, 3} {
			begin := time.Now()
			c.Send("FOO")
			c.Expect(map[bool]string{true: "421 4.7.0 *", false: "500 5.5.1 *"}[i == 4])
			if d := time.Since(begin); d != want*time.Second {
				t.Errorf("error %d was answered after %v, want %v", i+1, d, want*time.Second)
			}
		}
		c.ExpectClose()
		wantEnd(t, why, esmtp.ErrTooManyErrors)
	})
}

func client(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 1} }

func TestRatesCountByClientAndMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, _ := withEndings(&esmtp.Server{Rates: esmtp.Rates{Connections: 2, Messages: 3, Recipients: 5}})
		s := esmtptest.NewServer(t, srv)
		dial := func(ip, greeting string) *esmtptest.Client {
			c := s.DialFrom(client(ip))
			c.Patience = 0
			c.Expect(greeting)
			return c
		}
		c := dial("192.0.2.7", "220 *")
		dial("192.0.2.7", "220 *")
		dial("192.0.2.7", "421 4.7.0 *")
		dial("192.0.2.8", "220 *")
		dial("2001:db8::1", "220 *")
		dial("2001:db8::2", "220 *")
		dial("2001:db8::3", "421 4.7.0 *") // the same /64
		dial("2001:db8:0:1::3", "220 *")
		c.Cmd("HELO a", "250 *")
		for i := range 4 {
			c.Cmd("MAIL FROM:<a@b.example>", map[bool]string{true: "450 4.7.1 *", false: "250 *"}[i == 3])
			if i < 2 {
				c.Cmd("RSET", "250 *")
			} else if i == 2 {
				for j := range 6 {
					c.Cmd(fmt.Sprintf("RCPT TO:<r%d@b.example>", j), map[bool]string{true: "450 4.7.1 *", false: "250 *"}[j == 5])
				}
				c.Cmd("RSET", "250 *")
			}
		}
		<-time.After(2 * time.Minute) // in the bubble
		c.Cmd("MAIL FROM:<a@b.example>", "250 *")
		c.Cmd("RCPT TO:<c@d.example>", "250 *")
		dial("192.0.2.7", "220 *")
	})
}

func TestAuthAndTLSRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, config := tlsServer(t)
		srv.Rates = esmtp.Rates{AuthFailures: 2, Handshakes: 1}
		srv.Limits.AuthFailures = -1
		srv.AllowInsecureAuth = true
		srv.NewHandler = func(*esmtp.Session) esmtp.Handler { return &users{mechanisms: []string{"PLAIN"}} }
		s := esmtptest.NewServer(t, srv)
		hello := func() *esmtptest.Client {
			c := s.Dial()
			c.Patience = 0
			c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...")
			return c
		}
		c := hello()
		for _, want := range []string{"535 *", "535 *", "535 *", "454 4.7.0 *"} {
			c.Cmd("AUTH PLAIN AGFubgBndWVzcw==", want)
		}
		c = hello() // another session of the same client
		c.Cmd("AUTH PLAIN AGFubgBzZWNyZXQ=", "454 4.7.0 *")
		startTLS(t, c, config)
		hello().Cmd("STARTTLS", "454 4.7.0 *")
	})
}

// Near the limit of connections clients that do nothing are sent away soon.
func TestStressShortensPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, _ := withEndings(&esmtp.Server{Limits: esmtp.Limits{Connections: 10}})
		s := esmtptest.NewServer(t, srv)
		idle := func() *esmtptest.Client {
			c := s.Dial()
			c.Patience = 0
			c.Expect("220 *")
			return c
		}
		first := idle()
		for range 8 {
			idle()
		}
		begin := time.Now()
		first.Cmd("NOOP", "250 *")
		first.Expect("421 4.4.2 *")
		if d := time.Since(begin); d > 12*time.Second {
			t.Errorf("an idle client had %v under stress, want 10 seconds", d)
		}
	})
}
