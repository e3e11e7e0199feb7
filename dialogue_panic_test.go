package esmtp_test

import (
	"errors"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// A panic in a hook is 451, and only that: the session goes on, in step.
func TestPanicInAHookIs451(t *testing.T) {
	for verb, script := range map[string]string{
		"HELO":    greeting + "C: HELO me\nC: NOOP\nS: 451 *\nS: 250 *",
		"EHLO":    greeting + "C: EHLO me\nC: NOOP\nS: 451 *\nS: 250 *",
		"MAIL":    greeting + ehlo + "C: MAIL FROM:<>\nC: RCPT TO:<b@me.example>\nS: 451 4.3.0 *\nS: 503 5.5.1 *",
		"RCPT":    greeting + ehlo + "C: MAIL FROM:<>\nC: RCPT TO:<b@me.example>\nC: DATA\nS: 250 *\nS: 451 4.3.0 *\nS: 554 5.5.1 *",
		"DATA":    opening + "C: DATA\nC: NOOP\nS: 451 4.3.0 *\nS: 250 *",
		"RSET":    opening + "C: RSET\nC: DATA\nS: 451 4.3.0 *\nS: 503 5.5.1 *",
		"VRFY":    greeting + "C: VRFY x\nC: NOOP\nS: 451 4.3.0 *\nS: 250 *",
		"EXPN":    greeting + "C: EXPN x\nC: NOOP\nS: 451 4.3.0 *\nS: 250 *",
		"HELP":    greeting + "C: HELP\nC: NOOP\nS: 451 4.3.0 *\nS: 250 *",
		"NOOP":    greeting + "C: NOOP\nC: RSET\nS: 451 4.3.0 *\nS: 250 *",
		"UNKNOWN": greeting + "C: X\nC: NOOP\nS: 451 4.3.0 *\nS: 250 *",
		"QUIT":    greeting + "C: QUIT\nS: 451 4.3.0 *\nclose",
		"CONNECT": "S: 451 *\nC: NOOP\nC: QUIT\nS: 503 *\nS: 221 *\nclose",
		"Closed":  greeting + "C: QUIT\nS: 221 *\nclose",
	} {
		t.Run(verb, func(t *testing.T) {
			srv, _ := newSpy(do(verb, func(*esmtp.Session) { panic(errors.New(verb)) }))
			esmtptest.Run(t, srv, script)
		})
	}
}

func TestPanicInAnAddedVerbIs451(t *testing.T) {
	srv, _ := newSpy(do("CONNECT", func(s *esmtp.Session) {
		s.Handle("BOOM", func(*esmtp.Session, string) esmtp.Reply { panic("boom") })
	}))
	esmtptest.Run(t, srv, greeting+"C: BOOM\nC: NOOP\nS: 451 4.3.0 *\nS: 250 *")
}

func TestPanicInNewHandlerIs421(t *testing.T) {
	first := true // the look that Vet takes
	srv := &esmtp.Server{NewHandler: func(*esmtp.Session) esmtp.Handler {
		if first {
			first = false
			return esmtp.Default{}
		}
		panic("NewHandler")
	}}
	esmtptest.Run(t, srv, "S: 421 *\nclose")
}

func TestNilHandlerIs421(t *testing.T) {
	first := true
	srv := &esmtp.Server{NewHandler: func(*esmtp.Session) esmtp.Handler {
		if first {
			first = false
			return esmtp.Default{}
		}
		return nil
	}}
	esmtptest.Run(t, srv, "S: 421 *\nclose")
}

// A panic in a clean-up keeps neither the others from running nor the session from going on.
func TestPanicInOnEnd(t *testing.T) {
	var ran []string
	srv, log := newSpy(do("MAIL", func(s *esmtp.Session) {
		s.Transaction().OnEnd(func() { ran = append(ran, "first") })
		s.Transaction().OnEnd(func() { panic("second") })
		s.Transaction().OnEnd(func() { ran = append(ran, "third") })
	}))
	esmtptest.Run(t, srv, opening+"C: RSET\nC: QUIT\nS: 250 *\nS: 221 *\nclose")
	log.end(t)
	if len(ran) != 2 || ran[0] != "third" || ran[1] != "first" {
		t.Errorf("got clean-ups %v, want third, first", ran)
	}
}

// Panics in one session are none of another's.
func TestPanicLeavesOtherSessionsAlone(t *testing.T) {
	srv, _ := newSpy(func(_ *esmtp.Session, verb, arg string) esmtp.Reply {
		if verb == "NOOP" && arg == "boom" {
			panic(arg)
		}
		return esmtp.Reply{}
	})
	s := esmtptest.NewServer(t, srv)
	a, b := s.Dial(), s.Dial()
	a.Run(opening + "C: DATA\nS: 354 *\nC: half")
	b.Run(greeting + "C: NOOP boom\nC: NOOP\nS: 451 *\nS: 250 *")
	a.Run("C: .\nS: 250 *")
}
