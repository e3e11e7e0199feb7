package esmtp_test

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// forwarding is a hook that notes what XFORWARD said, when MAIL, NOOP and EOM are called, and refuses a sender "refused".
func forwarding(seen *[]esmtp.Forwarded) hook {
	return func(s *esmtp.Session, verb, arg string) esmtp.Reply {
		if verb == "MAIL" || verb == "NOOP" || verb == "EOM" {
			*seen = append(*seen, s.Forwarded())
		}
		if verb == "MAIL" && strings.HasPrefix(arg, "refused") {
			return esmtp.Deny(550, 5, 7, 1, "no")
		}
		return esmtp.Reply{}
	}
}

// XFORWARD_README: values come bit by bit, hold for one transaction, and are never those of the session.
func TestXFORWARD(t *testing.T) {
	var seen []esmtp.Forwarded
	var session []string
	note := looking(&session)
	srv, _ := newSpy(func(s *esmtp.Session, verb, arg string) esmtp.Reply {
		note(s, verb, arg)
		return forwarding(&seen)(s, verb, arg)
	})
	var out bytes.Buffer
	srv.Logger = slog.New(slog.NewTextHandler(&out, nil))
	trustClient(srv)
	served := esmtptest.NewServer(t, srv)
	c := served.Dial()
	c.Run(greeting + ehlo + `
		C: NOOP
		S: 250 *
		C: XFORWARD NAME=spike.example ADDR=198.51.100.7 PORT=1234 PROTO=ESMTP
		C: xforward helo=me+20(x) ident=4ABC source=remote
		C: XFORWARD SOURCE=LOCAL ADDR=x
		S: 250 2.0.0 OK
		S: 250 2.0.0 OK
		S: 501 5.5.4 *
		C: MAIL FROM:<refused@me.example>
		S: 550 *
		C: MAIL FROM:<a@me.example>
		S: 250 *
		C: XFORWARD NAME=late.example
		S: 503 5.5.1 *
		C: RCPT TO:<b@example.org>
		S: 250 *
		C: DATA
		S: 354 *
		C: .
		S: 250 *
		C: NOOP
		S: 250 *
		C: XFORWARD ADDR=IPV6:2001:db8::1 NAME=[unavailable] IDENT=[UNAVAILABLE]
		S: 250 *
		C: NOOP
		S: 250 *
		C: RSET
		S: 250 *
		C: NOOP
		S: 250 *
		C: QUIT
		S: 221 *
		close`)
	full := esmtp.Forwarded{
		Given: true, Name: "spike.example", Addr: netip.MustParseAddr("198.51.100.7"), Port: 1234, Proto: "ESMTP", HELO: "me??x?",
		Ident: "4ABC", Source: "REMOTE",
	}
	v6 := esmtp.Forwarded{Given: true, Addr: netip.MustParseAddr("2001:db8::1")}
	want := []esmtp.Forwarded{{}, full, full, full, {}, v6, {}}
	if len(seen) != len(want) {
		t.Fatalf("got %d, want %d", len(seen), len(want))
	}
	for i := range want {
		if seen[i] != want[i] {
			t.Errorf("%d: got %+v, want %+v", i, seen[i], want[i])
		}
	}
	const own = "192.0.2.1:49152>192.0.2.25:25 peer=192.0.2.1:49152 name=/0 helo=me.example user=/ ESMTP"
	if session[1] != "MAIL "+own || session[2] != "MAIL "+own {
		t.Errorf("the session changed: %q", session)
	}
	served.Close()
	served.Shutdown(t.Context())
	if log := out.String(); !strings.Contains(log, "remote=192.0.2.1:49152") || !strings.Contains(log, "forwarded.addr=198.51.100.7:1234") ||
		!strings.Contains(log, "forwarded.ident=4ABC") {
		t.Errorf("log: %s", log)
	}
}

// What a client said before HELO, EHLO or STARTTLS is forgotten with it.
func TestXFORWARDIsForgotten(t *testing.T) {
	var seen []esmtp.Forwarded
	tlsSrv, config := tlsServer(t)
	srv, _ := newSpy(forwarding(&seen))
	srv.TLSConfig = tlsSrv.TLSConfig
	trustClient(srv)
	c := esmtptest.Dial(t, srv)
	c.Run(greeting + ehlo)
	for _, by := range []string{"HELO me.example", "EHLO me.example", "STARTTLS", "XCLIENT NAME=a.example"} {
		c.Cmd("XFORWARD IDENT=x", "250 *")
		if by == "STARTTLS" {
			startTLS(t, c, config)
		} else {
			c.Cmd(by, "2*")
		}
		c.Cmd("NOOP", "250 *")
		if f := seen[len(seen)-1]; f.Given {
			t.Errorf("after %s: %+v", by, f)
		}
	}
}

func TestXFORWARDSyntax(t *testing.T) {
	srv, _ := newSpy(nil)
	srv.Limits.Errors = -1
	trustClient(srv)
	c := esmtptest.Dial(t, srv)
	c.Run(greeting + ehlo)
	long := strings.Repeat("x", 255)
	for _, attrs := range []string{
		"", "NAME", "NAME=", "LOGIN=x", "DESTADDR=192.0.2.1", "IDENT=a IDENT=b", "NAME=" + long + "x", "PROTO=" + long[:65], "SOURCE=x",
		"ADDR=2001:db8::1", "PORT=99999", "IDENT=a+0D+0AX-Evil:+20b", "HELO=+00", "NAME=+7F", "NAME=+FF",
	} {
		c.Cmd("XFORWARD "+attrs, "501 5.5.4 *")
	}
	for _, attrs := range []string{"NAME=" + long, "PROTO=" + long[:64], "SOURCE=[UNAVAILABLE]", "SOURCE=local", "PORT=[UNAVAILABLE]", "IDENT=a=b"} {
		c.Cmd("XFORWARD "+attrs, "250 2.0.0 OK")
	}
}

// Logs of a session whose client speaks for another show both addresses.
func TestXCLIENTInLogs(t *testing.T) {
	var out bytes.Buffer
	srv, _ := newSpy(nil)
	srv.Logger = slog.New(slog.NewTextHandler(&out, nil))
	trustClient(srv)
	served := esmtptest.NewServer(t, srv)
	c := served.Dial()
	c.Run(greeting + ehlo + "C: XCLIENT ADDR=198.51.100.7 LOGIN=ann\nS: 220 *\nC: QUIT\nS: 221 *\nclose")
	served.Close()
	served.Shutdown(t.Context())
	for line := range strings.Lines(out.String()) {
		if !strings.Contains(line, "remote=198.51.100.7:0 peer=192.0.2.1:49152") {
			t.Errorf("log: %s", line)
		}
	}
	if !strings.Contains(out.String(), "user=ann") {
		t.Errorf("log: %s", out.String())
	}
}
