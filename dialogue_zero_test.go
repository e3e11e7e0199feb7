package esmtp_test

import (
	"context"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// zero returns the zero Reply wherever it can.
type zero struct{ esmtp.Default }

func (zero) CONNECT(s *esmtp.Session) esmtp.Reply {
	s.Handle("XZERO", func(*esmtp.Session, string) esmtp.Reply { return esmtp.Reply{} })
	return esmtp.Reply{}
}
func (zero) HELO(*esmtp.Session, string) esmtp.Reply            { return esmtp.Reply{} }
func (zero) EHLO(*esmtp.Session, string) esmtp.Reply            { return esmtp.Reply{} }
func (zero) MAIL(*esmtp.Session, esmtp.Path) esmtp.Reply        { return esmtp.Reply{} }
func (zero) RCPT(*esmtp.Session, esmtp.Path) esmtp.Reply        { return esmtp.Reply{} }
func (zero) DATA(*esmtp.Session) esmtp.Reply                    { return esmtp.Reply{} }
func (zero) EOM(*esmtp.Session) esmtp.Reply                     { return esmtp.Reply{} }
func (zero) RSET(*esmtp.Session) esmtp.Reply                    { return esmtp.Reply{} }
func (zero) VRFY(*esmtp.Session, string) esmtp.Reply            { return esmtp.Reply{} }
func (zero) EXPN(*esmtp.Session, string) esmtp.Reply            { return esmtp.Reply{} }
func (zero) HELP(*esmtp.Session, string) esmtp.Reply            { return esmtp.Reply{} }
func (zero) NOOP(*esmtp.Session, string) esmtp.Reply            { return esmtp.Reply{} }
func (zero) QUIT(*esmtp.Session) esmtp.Reply                    { return esmtp.Reply{} }
func (zero) UNKNOWN(*esmtp.Session, string, string) esmtp.Reply { return esmtp.Reply{} }

// A06: the zero Reply is the usual one, never a silence.
func TestA06ZeroReplyIsTheUsualOne(t *testing.T) {
	esmtptest.Run(t, &esmtp.Server{Hostname: "mx.example.org", NewHandler: func(*esmtp.Session) esmtp.Handler { return zero{} }}, `
		S: 220 mx.example.org ESMTP Mail Server
		C: HELO me
		S: 250 mx.example.org OK
		C: EHLO me
		S: 250-mx.example.org me, pleased to meet you
		S: 250-PIPELINING
		S: ...
		C: MAIL FROM:<a@me.example>
		C: RCPT TO:<b@example.org>
		C: DATA
		S: 250 2.1.0 a@me.example, sender ok
		S: 250 2.1.5 b@example.org, recipient ok
		S: 354 Enter mail, end with "." on a line by itself
		C: .
		S: 250 2.0.0 Message accepted for delivery
		C: RSET
		C: VRFY a
		C: EXPN a
		C: HELP
		C: NOOP
		C: XZERO
		C: FOO
		C: QUIT
		S: 250 2.0.0 OK
		S: 252 2.0.0 Cannot VRFY user; try RCPT to attempt delivery
		S: 502 5.5.1 Sorry we don't allow this operation
		S: 214-2.0.0 *
		S: ...
		S: 250 2.0.0 OK
		S: 250 2.0.0 OK
		S: 500 5.5.1 Command unrecognized: FOO
		S: 221 2.0.0 Closing connection
		close`)
}

// A server that drains takes nobody new, and lets those who are there come to their own end.
func TestDrain(t *testing.T) {
	s := esmtptest.NewServer(t, &esmtp.Server{})
	c := s.Dial()
	c.Run(opening)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Drain(ctx); err != context.Canceled { // it doesn't wait, but it drains
		t.Fatalf("got %v, want Canceled", err)
	}
	if _, err := s.Listener.Dial(nil); err == nil {
		t.Error("got a new connection, want none")
	}
	c.Run("C: DATA\nS: 354 *\nC: .\nS: 250 *\n" + envelope + "C: QUIT\nS: 221 *\nclose")
	if err := s.Drain(t.Context()); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}
