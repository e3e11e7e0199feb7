package esmtp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// hearer notes what was posted, and what went wrong.
type hearer struct {
	esmtp.Default
	heard  *heard
	answer func(message any) esmtp.Reply
	decide esmtp.Decision
}

type heard struct {
	sync.Mutex
	list []string
}

func (h *heard) add(text string) {
	h.Lock()
	defer h.Unlock()
	h.list = append(h.list, text)
}

func (h *heard) String() string {
	h.Lock()
	defer h.Unlock()
	return fmt.Sprint(h.list)
}

func (h *hearer) Posted(s *esmtp.Session, message any) esmtp.Reply {
	h.heard.add(fmt.Sprintf("%v", message))
	if h.answer != nil {
		return h.answer(message)
	}
	return esmtp.Reply{}
}

func (h *hearer) Failed(s *esmtp.Session, e esmtp.SessionError) esmtp.Decision {
	h.heard.add(fmt.Sprintf("%v %s", e.Class, e.Verb))
	return h.decide
}

func (h *hearer) Closed(s *esmtp.Session, err error) {
	if s.RemoteAddr().Network() != "none" { // Vet looks at one without a connection
		h.heard.add(fmt.Sprintf("closed: %v", err))
	}
}

// posting runs a dialogue, posts to the session while it waits, and goes on.
func posting(t *testing.T, h hearer, before string, post func(*esmtp.Session), after string) string {
	t.Helper()
	h.heard = new(heard)
	synctest.Test(t, func(t *testing.T) {
		srv := &esmtp.Server{Hostname: "mx.example.org", NewHandler: func(*esmtp.Session) esmtp.Handler { copied := h; return &copied }}
		c := esmtptest.NewServer(t, srv).Dial()
		c.Patience = 0
		c.Run(before)
		synctest.Wait()
		post(srv.Session(srv.Sessions()[0].ID))
		synctest.Wait()
		c.Run(after)
		c.Conn.Close()
		synctest.Wait()
	})
	return h.heard.String()
}

func post(messages ...any) func(*esmtp.Session) {
	return func(s *esmtp.Session) {
		for _, m := range messages {
			if err := s.Post(m); err != nil {
				panic(err)
			}
		}
	}
}

// G38: a message from outside comes to the handler between two commands, in order, and only there.
func TestPostedBetweenTwoCommands(t *testing.T) {
	kick := func(s *esmtp.Session) { s.Kick(esmtp.Deny(421, 4, 3, 2, "be gone")) }
	for _, test := range []struct {
		name   string
		h      hearer
		before string
		post   func(*esmtp.Session)
		after  string
		want   string
	}{
		{"waiting", hearer{}, opening, post("a", "b"), "C: NOOP\nS: 250 *\nC: QUIT\nS: 221 *\nclose", "[a b closed: <nil>]"},
		{"half a command", hearer{}, opening + "C| NO", post("a"), "C| OP\\r\\n\nS: 250 *\nC: QUIT\nS: 221 *\nclose", "[a closed: <nil>]"},
		{"in DATA it waits", hearer{}, opening + "C: DATA\nS: 354 *\nC: half", post("a"), "C: .\nS: 250 *\nC: QUIT\nS: 221 *\nclose", "[a closed: <nil>]"},
		{"between two BDATs it waits", hearer{}, opening + "C: BDAT 4\nC| half\nS: 250 *", post("a"), "C: BDAT 0 LAST\nS: 250 *\nC: QUIT\nS: 221 *\nclose", "[a closed: <nil>]"},
		{"dozing", hearer{}, opening, func(s *esmtp.Session) { time.Sleep(time.Minute); post("a")(s) }, "C: NOOP\nS: 250 *\nC: QUIT\nS: 221 *\nclose", "[a closed: <nil>]"},
		{"a 421 is the last word", hearer{answer: func(any) esmtp.Reply { return esmtp.Say(421, "go") }}, opening, post("a", "b"), "S: 421 4.0.0 go\nclose",
			"[a closed: esmtp: handler hung up]"},
		{"any other reply was not asked for", hearer{answer: func(any) esmtp.Reply { return esmtp.OK() }}, opening, post("a"), "S: 421 4.3.0 *\nclose",
			"[a closed: esmtp: handler hung up]"},
		{"without a word", hearer{answer: func(any) esmtp.Reply { return esmtp.Drop }}, opening, post("a"), "close", "[a closed: esmtp: handler hung up]"},
		{"a panic", hearer{answer: func(any) esmtp.Reply { panic("oh") }}, opening, post("a"), "C: QUIT\nS: 221 *\nclose", "[a closed: <nil>]"},
		{"kick", hearer{}, opening, kick, "S: 421 4.3.2 be gone\nclose", "[closed: esmtp: handler hung up]"},
		{"kick in DATA", hearer{}, opening + "C: DATA\nS: 354 *", kick, "C: .\nS: 250 *\nS: 421 4.3.2 be gone\nclose", "[closed: esmtp: handler hung up]"},
		{"outlived", hearer{}, opening, func(s *esmtp.Session) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if s.Outlived() {
				panic("too early")
			}
			s.Server().Drain(ctx)
			s.Server().Drain(ctx)
			if !s.Outlived() || !s.Info().Outlived {
				panic("too late")
			}
		}, "C: QUIT\nS: 221 *\nclose", "[{} closed: <nil>]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := posting(t, test.h, test.before, test.post, test.after); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// An exchange of AUTH is one command.
func TestPostedNotWithinAUTH(t *testing.T) {
	var h heard
	srv := &esmtp.Server{AllowInsecureAuth: true, NewHandler: func(*esmtp.Session) esmtp.Handler {
		return &authHearer{users: users{mechanisms: []string{"LOGIN"}}, heard: &h}
	}}
	synctest.Test(t, func(t *testing.T) {
		c := esmtptest.NewServer(t, srv).Dial()
		c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: AUTH LOGIN\nS: 334 *")
		synctest.Wait()
		srv.Session(srv.Sessions()[0].ID).Post("a")
		synctest.Wait()
		if got := h.String(); got != "[]" {
			t.Errorf("got %s within AUTH, want nothing", got)
		}
		c.Run("C: YW5u\nS: 334 *\nC: c2VjcmV0\nS: 235 *")
		synctest.Wait()
		if got := h.String(); got != "[a]" {
			t.Errorf("got %s after AUTH, want the message", got)
		}
		c.Run("C: QUIT\nS: 221 *\nclose")
	})
}

type authHearer struct {
	users
	heard *heard
}

func (h *authHearer) Posted(s *esmtp.Session, message any) esmtp.Reply {
	h.heard.add(fmt.Sprint(message))
	return esmtp.Reply{}
}

// That a session has outlived its configuration is told even if others have filled its mailbox.
func TestOutlivedComesThoughTheMailboxIsFull(t *testing.T) {
	fill := func(s *esmtp.Session) {
		for s.Post("x") == nil {
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Server().Drain(ctx)
		if err := s.Post("x"); !errors.Is(err, esmtp.ErrMailboxFull) {
			panic(err)
		}
	}
	got := posting(t, hearer{}, opening+"C: DATA\nS: 354 *", fill, "C: .\nS: 250 *\nC: QUIT\nS: 221 *\nclose")
	if want := "[" + strings.Repeat("x ", 64) + "{} closed: <nil>]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A session can be ended however much was posted to it, and whatever waits besides; of two kicks the first one counts.
func TestKickComesThoughTheMailboxIsFull(t *testing.T) {
	kick := func(s *esmtp.Session) {
		for s.Post("x") == nil {
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Server().Drain(ctx)
		for _, text := range []string{"be gone", "too late"} {
			if err := s.Kick(esmtp.Deny(421, 4, 3, 2, text)); err != nil {
				panic(err)
			}
		}
	}
	got := posting(t, hearer{}, opening+"C: DATA\nS: 354 *", kick, "C: .\nS: 250 *\nS: 421 4.3.2 be gone\nclose")
	if want := "[" + strings.Repeat("x ", 64) + "{} closed: esmtp: handler hung up]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPostIsBounded(t *testing.T) {
	srv := new(esmtp.Server)
	var session *esmtp.Session
	synctest.Test(t, func(t *testing.T) {
		c := esmtptest.NewServer(t, srv).Dial()
		c.Run(opening + "C: DATA\nS: 354 *")
		synctest.Wait()
		session = srv.Session(srv.Sessions()[0].ID)
		for range 64 {
			if err := session.Post("x"); err != nil {
				t.Fatal(err)
			}
		}
		if err := session.Post("x"); !errors.Is(err, esmtp.ErrMailboxFull) {
			t.Errorf("got %v, want ErrMailboxFull", err)
		}
		c.Run("C: .\nS: 250 *\nC: QUIT\nS: 221 *\nclose")
	})
	if err := session.Post("x"); !errors.Is(err, esmtp.ErrSessionOver) {
		t.Errorf("got %v, want ErrSessionOver", err)
	}
}

// G40: every class of error is told, and the handler decides whether the session goes on where it can.
func TestFailedTellsAndDecides(t *testing.T) {
	for _, test := range []struct {
		name, script string
		decide       esmtp.Decision
		want         string
	}{
		{"gone", "S: 220 *\nC: NOOP\nS: 250 *\nleave", esmtp.GoOn, "[closed  closed: EOF]"},
		{"gone in a message", opening + "C: DATA\nS: 354 *\nC: half\nleave", esmtp.GoOn, "[closed DATA closed: EOF]"},
		{"order", "S: 220 *\nC: RCPT TO:<a@b>\nS: 503 *\nC: QUIT\nS: 221 *\nclose", esmtp.GoOn, "[out_of_order RCPT closed: <nil>]"},
		{"nested MAIL", opening + "C: MAIL FROM:<a@b>\nS: 503 *\nC: QUIT\nS: 221 *\nclose", esmtp.GoOn, "[out_of_order MAIL closed: <nil>]"},
		{"order, and the handler has enough", "S: 220 *\nC: RCPT TO:<a@b>\nS: 503 *\nclose", esmtp.HangUp, "[out_of_order RCPT closed: esmtp: handler hung up]"},
		{"bare newline", opening + "C: DATA\nS: 354 *\n" + `C| a\nb\r\n` + "\nC: .\nS: 554 *\nC: QUIT\nS: 221 *\nclose", esmtp.GoOn, "[data DATA closed: <nil>]"},
		{"too big", opening + "C: BDAT 2000 LAST\nC| " + string(make2000()) + "\nS: 552 *\nclose", esmtp.HangUp, "[data BDAT closed: esmtp: handler hung up]"},
		{"silence", "S: 220 *\nS: 421 4.4.2 *\nclose", esmtp.GoOn, "[timeout  closed: esmtp: client took too long]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var h heard
			synctest.Test(t, func(t *testing.T) {
				srv := &esmtp.Server{Limits: esmtp.Limits{MessageBytes: 1999}, NewHandler: func(*esmtp.Session) esmtp.Handler {
					return &hearer{heard: &h, decide: test.decide}
				}}
				c := esmtptest.NewServer(t, srv).Dial()
				c.Patience = 0
				c.Run(test.script)
				c.Conn.Close()
				synctest.Wait()
			})
			if got := h.String(); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func make2000() []byte {
	p := make([]byte, 2000)
	for i := range p {
		p[i] = 'x'
	}
	return p
}
