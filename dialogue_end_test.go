package esmtp_test

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// Every end of a session calls Closed exactly once, with the reason. Rows A46, G41.
func TestClosedOnceWithReason(t *testing.T) {
	for _, test := range []struct {
		name   string
		set    func(*esmtp.Server)
		on     hook
		script string
		end    func(c *esmtptest.Client, srv *esmtp.Server)
		want   error
	}{
		{name: "QUIT", script: greeting + "C: QUIT\nS: 221 *\nclose"},
		{name: "QUIT that panics", on: do("QUIT", func(*esmtp.Session) { panic("QUIT") }), script: greeting + "C: QUIT\nS: 451 *\nclose"},
		{name: "leaves", script: greeting + "leave", want: io.EOF},
		{name: "leaves in a message", script: opening + "C: DATA\nS: 354 *\nC: half\nleave", want: io.EOF},
		{name: "leaves in BDAT", script: opening + "C: BDAT 9\nC: half\nleave", want: io.EOF},
		{name: "reset", script: opening, end: func(c *esmtptest.Client, _ *esmtp.Server) { c.Conn.(*esmtptest.Conn).Reset() },
			want: syscall.ECONNRESET},
		{name: "refused", on: answer("CONNECT", esmtp.Say(554)), script: "S: 554 *\nleave", want: io.EOF},
		{name: "refused and told to go", on: answer("CONNECT", esmtp.Say(421)), script: "S: 421 *\nclose", want: esmtp.ErrRefused},
		{name: "dropped", on: answer("CONNECT", esmtp.Drop), script: "close", want: esmtp.ErrRefused},
		{name: "disconnected", on: do("CONNECT", func(s *esmtp.Session) { s.Disconnect(true) }), script: "S: 220 *\nclose", want: esmtp.ErrHangup},
		{name: "hung up", on: answer("MAIL", esmtp.Deny(550, 5, 7, 1, "go").Hangup()),
			script: greeting + ehlo + "C: MAIL FROM:<a@me.example>\nS: 550 5.7.1 go\nclose", want: esmtp.ErrHangup},
		{name: "421", on: answer("RCPT", esmtp.Say(421, "go")),
			script: greeting + ehlo + "C: MAIL FROM:<a@me.example>\nC: RCPT TO:<b@me.example>\nS: 250 *\nS: 421 4.0.0 go\nclose", want: esmtp.ErrHangup},
		{name: "dropped in a message", on: answer("EOH", esmtp.Drop), script: opening + "C: DATA\nS: 354 *\nC|\\r\\nb\nclose", want: esmtp.ErrHangup},
		{name: "too many errors", set: func(srv *esmtp.Server) { srv.Limits.Errors = 1 },
			script: greeting + "C: X\nC: X\nS: 500 *\nS: 421 4.7.0 *\nclose", want: esmtp.ErrTooManyErrors},
		{name: "unreadable BDAT", script: opening + "C: BDAT x\nS: 501 *\nclose", want: esmtp.ErrProtocol},
		{name: "goexit", on: do("NOOP", func(*esmtp.Session) { runtime.Goexit() }), script: greeting + "C: NOOP\nclose", want: esmtp.ErrHangup},
		{name: "server closed", script: opening, end: func(_ *esmtptest.Client, srv *esmtp.Server) { srv.Close() }, want: esmtp.ErrServerClosed},
		{name: "server closed in a message", script: opening + "C: DATA\nS: 354 *",
			end: func(_ *esmtptest.Client, srv *esmtp.Server) { srv.Close() }, want: esmtp.ErrServerClosed},
		{name: "server closed by a hook", on: do("NOOP", func(s *esmtp.Session) { s.Server().Close() }),
			script: greeting + "C: NOOP\nclose", want: esmtp.ErrServerClosed},
		{name: "hijacked", on: do("NOOP", func(s *esmtp.Session) {
			conn, _, _ := s.Hijack()
			conn.Close()
		}), script: greeting + "C: NOOP\nclose", want: esmtp.ErrHijacked},
	} {
		t.Run(test.name, func(t *testing.T) {
			srv, log := newSpy(test.on)
			if test.set != nil {
				test.set(srv)
			}
			s := esmtptest.NewServer(t, srv)
			c := s.Dial()
			c.Run(test.script)
			if test.end != nil {
				test.end(c, srv)
			}
			if strings.HasSuffix(test.script, "close") {
				c.Conn.Close() // the server listens on for a while
			}
			if got := log.end(t); !errors.Is(got, test.want) || got != nil && test.want == nil {
				c.Fatalf("got reason %v, want %v", got, test.want)
			}
			if s.Close(); len(log.closed) != 0 {
				t.Errorf("Closed was called again, with %v", <-log.closed)
			}
		})
	}
}
