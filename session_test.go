package esmtp_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hook answers a call of a spy; the zero Reply leaves it to Default. arg is what the method got: an address, the rest of the line,
// "Name: value", a chunk, the reason of an end.
type hook func(s *esmtp.Session, verb, arg string) esmtp.Reply

// spy is a handler that writes down its calls. Consecutive chunks of a body become one call.
type spy struct {
	esmtp.Default
	log *calls
	on  hook
}

// calls are those of all spies of a server.
type calls struct {
	mu     sync.Mutex
	list   []string
	body   bool
	closed chan error // gets what each Closed got
}

// newSpy returns a server with spies, and the record of their calls.
func newSpy(on hook) (*esmtp.Server, *calls) {
	log := &calls{closed: make(chan error, 100)}
	srv := &esmtp.Server{Hostname: "mx.example.org", Timeouts: esmtp.Timeouts{ErrorDelay: -1}} // no test has time for it
	srv.NewHandler = func(s *esmtp.Session) esmtp.Handler {
		if s.RemoteAddr().String() == "none" {
			return esmtp.Default{} // the look that Vet takes
		}
		return &spy{log: log, on: on}
	}
	return srv, log
}

func (c *calls) add(verb, arg string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if verb == "BODY" && c.body {
		c.list[len(c.list)-1] += arg
		return
	}
	c.body = verb == "BODY"
	c.list = append(c.list, strings.TrimRight(verb+" "+arg, " "))
}

// String returns the calls so far, a line each, without CONNECT and Closed, CRLF and the like as escapes.
func (c *calls) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, call := range c.list {
		q := fmt.Sprintf("%q", call)
		b.WriteString(strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`) + "\n")
	}
	return b.String()
}

// end waits for the next Closed, and returns what it got.
func (c *calls) end(t testing.TB) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Hour)
	defer cancel()
	select {
	case err := <-c.closed:
		return err
	case <-ctx.Done():
		t.Fatal("Closed was not called")
		return nil
	}
}

func (h *spy) call(s *esmtp.Session, verb, arg string, usual esmtp.Reply) esmtp.Reply {
	if verb != "CONNECT" {
		h.log.add(verb, arg)
	}
	if h.on != nil {
		if r := h.on(s, verb, arg); !r.IsZero() {
			return r
		}
	}
	return usual
}

func (h *spy) CONNECT(s *esmtp.Session) esmtp.Reply {
	return h.call(s, "CONNECT", "", h.Default.CONNECT(s))
}

func (h *spy) HELO(s *esmtp.Session, domain string) esmtp.Reply {
	return h.call(s, "HELO", domain, h.Default.HELO(s, domain))
}

func (h *spy) EHLO(s *esmtp.Session, domain string) esmtp.Reply {
	return h.call(s, "EHLO", domain, h.Default.EHLO(s, domain))
}

func (h *spy) MAIL(s *esmtp.Session, from esmtp.Path) esmtp.Reply {
	return h.call(s, "MAIL", strings.TrimSpace(from.String()+" "+from.Params()), h.Default.MAIL(s, from))
}

func (h *spy) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	return h.call(s, "RCPT", strings.TrimSpace(to.String()+" "+to.Params()), h.Default.RCPT(s, to))
}

func (h *spy) DATA(s *esmtp.Session) esmtp.Reply { return h.call(s, "DATA", "", h.Default.DATA(s)) }

func (h *spy) HEADER(s *esmtp.Session, name, value string) esmtp.Reply {
	return h.call(s, "HEADER", name+": "+value, h.Default.HEADER(s, name, value))
}

func (h *spy) EOH(s *esmtp.Session, why esmtp.HeaderEnd) esmtp.Reply {
	return h.call(s, "EOH", why.String(), h.Default.EOH(s, why))
}

func (h *spy) BODY(s *esmtp.Session, chunk []byte) esmtp.Reply {
	return h.call(s, "BODY", string(chunk), esmtp.Reply{})
}

func (h *spy) EOM(s *esmtp.Session) esmtp.Reply  { return h.call(s, "EOM", "", h.Default.EOM(s)) }
func (h *spy) RSET(s *esmtp.Session) esmtp.Reply { return h.call(s, "RSET", "", h.Default.RSET(s)) }

func (h *spy) VRFY(s *esmtp.Session, arg string) esmtp.Reply {
	return h.call(s, "VRFY", arg, h.Default.VRFY(s, arg))
}

func (h *spy) EXPN(s *esmtp.Session, arg string) esmtp.Reply {
	return h.call(s, "EXPN", arg, h.Default.EXPN(s, arg))
}

func (h *spy) HELP(s *esmtp.Session, arg string) esmtp.Reply {
	return h.call(s, "HELP", arg, h.Default.HELP(s, arg))
}

func (h *spy) NOOP(s *esmtp.Session, arg string) esmtp.Reply {
	return h.call(s, "NOOP", arg, h.Default.NOOP(s, arg))
}

func (h *spy) QUIT(s *esmtp.Session) esmtp.Reply { return h.call(s, "QUIT", "", h.Default.QUIT(s)) }

func (h *spy) UNKNOWN(s *esmtp.Session, verb, arg string) esmtp.Reply {
	return h.call(s, "UNKNOWN", strings.TrimSpace(verb+" "+arg), h.Default.UNKNOWN(s, verb, arg))
}

func (h *spy) Closed(s *esmtp.Session, err error) {
	if h.on != nil {
		h.on(s, "Closed", fmt.Sprint(err))
	}
	h.log.closed <- err
}

// Pieces of dialogues.
const (
	greeting = "S: 220 *\n"
	ehlo     = "C: EHLO me.example\nS: 250-*\nS: ...\n"
	envelope = "C: MAIL FROM:<a@me.example>\nC: RCPT TO:<b@example.org>\nS: 250 2.1.0 *\nS: 250 2.1.5 *\n"
	opening  = greeting + ehlo + envelope // up to DATA
)

// row is a rule: what a client may say, what it is answered, and what the handler hears.
type row struct {
	name   string
	set    func(srv *esmtp.Server) // settings, nil for none
	on     hook
	script string
	calls  string // a line each; checked if not empty; "-" for none
}

func runRows(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			srv, log := newSpy(r.on)
			if r.set != nil {
				r.set(srv)
			}
			c := esmtptest.Dial(t, srv)
			c.Run(r.script)
			c.Conn.Close()
			log.end(t)
			if want := lines(r.calls); r.calls != "" && log.String() != want {
				c.Fatalf("got calls\n%swant\n%s", log, want)
			}
		})
	}
}

// lines brings expected calls to the form of calls.String.
func lines(s string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(s, "\n") {
		if line = strings.TrimSpace(line); line != "" && line != "-" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// answer is a hook that gives one verb one reply.
func answer(verb string, r esmtp.Reply) hook {
	return func(_ *esmtp.Session, v, _ string) esmtp.Reply {
		if v == verb {
			return r
		}
		return esmtp.Reply{}
	}
}

// do is a hook that does something in one verb, and leaves its reply to Default.
func do(verb string, f func(s *esmtp.Session)) hook {
	return func(s *esmtp.Session, v, _ string) esmtp.Reply {
		if v == verb {
			f(s)
		}
		return esmtp.Reply{}
	}
}
