package esmtp_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// counting overrides two verbs of Default, and has a state.
type counting struct {
	esmtp.Default
	n int
}

func (c *counting) NOOP(*esmtp.Session, string) esmtp.Reply {
	c.n++
	return esmtp.OK(fmt.Sprint(c.n))
}

func (c *counting) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	if to.Local() == "nobody" {
		return esmtp.Deny(550, 5, 1, 1, "nobody")
	}
	return c.Default.RCPT(s, to)
}

func TestA01AnOverrideLeavesTheRestAlone(t *testing.T) {
	srv := &esmtp.Server{NewHandler: func(*esmtp.Session) esmtp.Handler { return new(counting) }}
	esmtptest.Run(t, srv, opening+`
		C: RCPT TO:<nobody@example.org>
		C: NOOP
		C: VRFY x
		C: DATA
		S: 550 5.1.1 nobody
		S: 250 2.0.0 1
		S: 252 *
		S: 354 *
		C: .
		S: 250 *`)
}

func TestA02AHandlerPerConnection(t *testing.T) {
	s := esmtptest.NewServer(t, &esmtp.Server{NewHandler: func(*esmtp.Session) esmtp.Handler { return new(counting) }})
	a, b := s.Dial(), s.Dial()
	a.Run(greeting + "C: NOOP\nC: NOOP\nS: 250 2.0.0 1\nS: 250 2.0.0 2")
	b.Run(greeting + "C: NOOP\nS: 250 2.0.0 1")
	a.Run("C: NOOP\nS: 250 2.0.0 3")
}

// reverse is a layer: what it does not override goes to the next.
type reverse struct{ esmtp.Handler }

func (r reverse) NOOP(s *esmtp.Session, arg string) esmtp.Reply {
	reply := r.Handler.NOOP(s, arg)
	reply.Lines = []string{"and " + reply.Lines[0]}
	return reply
}

func TestA01LayersStack(t *testing.T) {
	srv := &esmtp.Server{NewHandler: esmtp.Stack(
		func(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler { return reverse{next} },
		func(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler { return &reverse{next} },
	)}
	esmtptest.Run(t, srv, greeting+"C: NOOP\nC: RSET\nS: 250 2.0.0 and and OK\nS: 250 2.0.0 OK")
}

// A04, A06: HEADER, EOH and BODY answer nothing, and nobody else can answer nothing.
func TestA04HooksOfAMessageAnswerNothing(t *testing.T) {
	srv, _ := newSpy(nil)
	c := esmtptest.Dial(t, srv)
	c.Run(message(`A: b\r\n\r\nc\r\n.\r\nNOOP\r\n`) + "S: 250 2.0.0 Message *\nS: 250 2.0.0 OK")
}

func TestA42LineMode(t *testing.T) {
	runRows(t, []row{{
		name:   "A42 HEADER may switch to chunks early",
		on:     do("HEADER", func(s *esmtp.Session) { s.SetChunkMode(true) }),
		script: message(`A: 1\r\nB: 2\r\n\r\nc\r\n.\r\n`) + "S: 250 *",
		calls:  said + "HEADER A: 1\nEOH switched\nBODY B: 2\\r\\n\\r\\nc\\r\\n\nEOM",
	}, {
		name:   "A42 DATA may: then there is no header at all",
		on:     do("DATA", func(s *esmtp.Session) { s.SetChunkMode(true) }),
		script: message(`A: 1\r\n\r\nc\r\n.\r\n`) + "S: 250 *",
		calls:  said + "EOH switched\nBODY A: 1\\r\\n\\r\\nc\\r\\n\nEOM",
	}})
	bodies := func(size int, lines bool, script string) (got []string) {
		srv, _ := newSpy(func(s *esmtp.Session, verb, arg string) esmtp.Reply {
			switch verb {
			case "EOH":
				s.SetChunkSize(size)
				s.SetChunkMode(!lines)
			case "BODY":
				got = append(got, arg)
			}
			return esmtp.Reply{}
		})
		esmtptest.Run(t, srv, script+"S: 250 *")
		return got
	}
	for _, test := range []struct {
		name   string
		size   int
		lines  bool
		script string
		want   []string
	}{
		{"A42 lines", 1000, true, message(`\r\na\r\n\r\nbc\r\n.\r\n`), []string{"a\r\n", "\r\n", "bc\r\n"}},
		{"A42 a line longer than a chunk", 4, true, message(`\r\nabcdef\r\ng\r\n.\r\n`), []string{"abcd", "ef\r\n", "g\r\n"}},
		{"A42 whose CRLF stays whole", 4, true, message(`\r\nabc\r\ndef\r\n.\r\n`), []string{"abc", "\r\n", "def", "\r\n"}},
		{"A42 a last line without CRLF", 9, true, opening + `C|BDAT 6 LAST\r\n\r\na\r\nb` + "\n", []string{"a\r\n", "b"}},
		{"A43 chunks", 4, false, message(`\r\nabcdef\r\ng\r\n.\r\n`), []string{"abcd", "ef\r\n", "g\r\n"}},
		{"A43 of an octet", 1, false, message(`\r\na\r\n.\r\n`), []string{"a", "\r", "\n"}},
		{"A43 of less than one", -5, false, message(`\r\na\r\n.\r\n`), []string{"a", "\r", "\n"}},
	} {
		if got := bodies(test.size, test.lines, test.script); strings.Join(got, "|") != strings.Join(test.want, "|") {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestA43ChunksAreNeverEmptyNorTooLarge(t *testing.T) {
	srv, _ := newSpy(func(_ *esmtp.Session, verb, arg string) esmtp.Reply {
		if verb == "BODY" && (len(arg) == 0 || len(arg) > 64<<10) {
			t.Errorf("got a chunk of %d octets", len(arg))
		}
		return esmtp.Reply{}
	})
	c := esmtptest.Dial(t, srv)
	c.Run(opening + "C: DATA\nS: 354 *\nC: ")
	for range 10 {
		c.SendRaw(strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1000))
	}
	c.Cmd(".", "250 *")
}

// A45: verbs can be added, replaced and taken away while the session runs; those of Handler can't be touched.
func TestA45Handle(t *testing.T) {
	pong := func(text string) func(*esmtp.Session, string) esmtp.Reply {
		return func(_ *esmtp.Session, arg string) esmtp.Reply { return esmtp.OK(text + " " + arg) }
	}
	srv, _ := newSpy(func(s *esmtp.Session, verb, arg string) esmtp.Reply {
		switch {
		case verb == "CONNECT":
			for _, name := range []string{"NOOP", "bdat", "", "A B", "Ä", "-X"} {
				if s.Handle(name, pong("no")) {
					t.Errorf("Handle(%q): got true, want false", name)
				}
			}
			if !s.Handle("xPing", pong("one")) {
				t.Error("Handle(xPing): got false, want true")
			}
		case arg == "two":
			s.Handle("XPING", pong("two"))
		case arg == "none":
			s.Handle("XPING", nil)
		}
		return esmtp.Reply{}
	})
	esmtptest.Run(t, srv, greeting+`
		C: xping a b
		C: NOOP two
		C: XPING
		C: HELP
		S: 250 2.0.0 one a b
		S: 250 *
		S: 250 2.0.0 two *
		S: 214-*
		S: 214 *QUIT XPING
		C: NOOP none
		C: XPING
		S: 250 *
		S: 500 5.5.1 *`)
}

func TestA47TimeoutsAre421(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := esmtptest.Dial(t, new(esmtp.Server))
		c.Patience = 0
		c.Run(opening + "C: DATA\nS: 354 *\nS: 421 4.4.2 *\nclose")
	})
}

// A48: a line for each transaction and each session, with ids and addresses as fields.
func TestA48Log(t *testing.T) {
	var b bytes.Buffer
	srv, log := newSpy(nil)
	srv.Logger = slog.New(slog.NewTextHandler(&b, nil))
	esmtptest.NewServer(t, srv).Dial().Run(message(`A: b\r\n\r\nc\r\n.\r\n`) + "S: 250 *\nC: QUIT\nS: 221 *\nclose")
	log.end(t)
	shutdown(t, srv)
	for _, want := range []string{"message accepted", "session=", "remote=192.0.2.1:49152", "transaction=", "from=a@me.example",
		"to=[b@example.org]", "octets=11", "session ended", "why=QUIT"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("got log\n%s\nwant %q in it", b.String(), want)
		}
	}
}

// A46 is TestClosedOnceWithReason, A44 TestA44Hijack, A49 TestA49SeveralServersAndListeners; A50 is Caddy's.

// G40, A47: the context ends when the peer goes away while a hook is at work.
func TestContextEndsWithThePeer(t *testing.T) {
	for name, end := range map[string]struct {
		how  func(c *esmtptest.Client, srv *esmtp.Server)
		want error
	}{
		"peer leaves":   {func(c *esmtptest.Client, _ *esmtp.Server) { c.Conn.Close() }, io.EOF},
		"server closes": {func(_ *esmtptest.Client, srv *esmtp.Server) { srv.Close() }, esmtp.ErrServerClosed},
	} {
		t.Run(name, func(t *testing.T) {
			at, cause := make(chan struct{}), make(chan error, 1)
			srv, log := newSpy(do("NOOP", func(s *esmtp.Session) {
				ctx := s.Context()
				close(at)
				<-ctx.Done()
				cause <- context.Cause(ctx)
			}))
			c := esmtptest.Dial(t, srv)
			c.Run(greeting + "C: NOOP\nsend")
			<-at
			end.how(c, srv)
			if got := <-cause; got != end.want {
				t.Errorf("got cause %v, want %v", got, end.want)
			}
			log.end(t)
		})
	}
}
