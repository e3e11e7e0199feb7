package esmtp_test

import (
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// greedy notes the largest read that the engine asked for.
type greedy struct {
	*esmtptest.ScriptConn
	largest int
}

func (c *greedy) Read(p []byte) (int, error) {
	c.largest = max(c.largest, len(p))
	return c.ScriptConn.Read(p)
}

// restless says now yes, now no, and panics now and then, as its numbers say.
type restless struct {
	esmtp.Default
	r      *rand.Rand
	octets int
	closed int
}

func (h *restless) some() esmtp.Reply {
	switch h.r.IntN(12) {
	case 0:
		return esmtp.Deny(550, 5, 7, 1, "no\r\nno")
	case 1:
		return esmtp.Say(451)
	case 2:
		panic("restless")
	case 3:
		return esmtp.Say(h.r.IntN(1000), "any")
	}
	return esmtp.Reply{}
}

func (h *restless) EHLO(s *esmtp.Session, domain string) esmtp.Reply {
	s.SetChunkSize(1 + h.r.IntN(100))
	s.SetMaxSize(h.r.Int64N(1000))
	return h.Default.EHLO(s, domain)
}
func (h *restless) MAIL(*esmtp.Session, esmtp.Path) esmtp.Reply       { return h.some() }
func (h *restless) RCPT(*esmtp.Session, esmtp.Path) esmtp.Reply       { return h.some() }
func (h *restless) DATA(*esmtp.Session) esmtp.Reply                   { return h.some() }
func (h *restless) HEADER(*esmtp.Session, string, string) esmtp.Reply { return h.some() }
func (h *restless) EOM(*esmtp.Session) esmtp.Reply                    { return h.some() }
func (h *restless) Closed(*esmtp.Session, error)                      { h.closed++ }

func (h *restless) EOH(s *esmtp.Session, _ esmtp.HeaderEnd) esmtp.Reply {
	s.SetChunkMode(h.r.IntN(2) == 0)
	return h.some()
}

func (h *restless) BODY(s *esmtp.Session, chunk []byte) esmtp.Reply {
	h.octets += len(chunk)
	if h.r.IntN(20) == 0 {
		s.Disconnect(true)
	}
	return h.some()
}

// FuzzSession: whatever octets come, in whatever segments, the session ends, nothing panics but the handler, every line written is
// a reply, the handler gets no more than was sent and hears of the end once, and no read asks for more than 64 KiB.
func FuzzSession(f *testing.F) {
	for i, seed := range esmtptest.Seeds() {
		f.Add([]byte(seed), uint64(i))
		f.Add([]byte(seed), uint64(100+i))
	}
	for i := range uint64(20) {
		f.Add(esmtptest.Dialogue(rand.New(rand.NewPCG(i, 2)).IntN), i)
	}
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		var h *restless
		srv := &esmtp.Server{
			Timeouts: esmtp.Timeouts{ErrorDelay: -1},
			Hostname: "mx.example.org", Logger: slog.New(slog.DiscardHandler),
			Strict: seed&1 != 0, AllowNoHELO: seed&2 != 0, BareNewlines: esmtp.BareNewlines(seed >> 2 & 3), BadHeader: esmtp.BadHeader(seed >> 4 % 3),
			NewHandler: func(*esmtp.Session) esmtp.Handler {
				h = &restless{r: rand.New(rand.NewPCG(seed, 2))}
				return h
			},
		}
		segments := esmtptest.Split(data, func() int { return 1 + r.IntN(1+r.IntN(200)) })
		conn := &greedy{ScriptConn: esmtptest.NewScriptConn(segments...)}
		srv.ServeConn(conn)
		if _, err := esmtptest.ParseReplies(conn.Output()); err != nil {
			t.Fatal(err)
		}
		if !conn.Closed() || h.closed != 1 || conn.largest > 64<<10 || h.octets > 2*len(data) {
			t.Fatalf("closed %v, Closed called %d times, read of %d octets, body of %d of %d", conn.Closed(), h.closed, conn.largest, h.octets, len(data))
		}
	})
}

// FuzzDialogue: with any octets, each run of the session agrees with the reference model, however they are torn apart.
func FuzzDialogue(f *testing.F) {
	esmtptest.Fuzz(f, func(s *esmtp.Session) esmtp.Handler { return esmtp.Default{} })
}

// TestSplitsDontMatter: the same octets get the same replies, wherever they are torn apart.
func TestSplitsDontMatter(t *testing.T) {
	for i := range uint64(60) {
		data := esmtptest.Dialogue(rand.New(rand.NewPCG(i, 9)).IntN)
		data = data[:min(len(data), 1500)]
		srv := &esmtp.Server{Hostname: "mx.example.org", Logger: slog.New(slog.DiscardHandler), BareNewlines: esmtp.BareNewlines(i % 4),
			Timeouts: esmtp.Timeouts{ErrorDelay: -1}}
		var want string
		for cut := 0; cut < len(data); cut += 1 + len(data)/200 {
			conn := esmtptest.NewScriptConn(data[:cut], data[cut:])
			srv.ServeConn(conn)
			if got := string(conn.Output()); cut == 0 {
				want = got
			} else if got != want {
				t.Fatalf("%q cut at %d:\ngot  %q\nwant %q", data, cut, got, want)
			}
		}
	}
}
