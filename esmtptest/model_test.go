package esmtptest

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"pgregory.net/rapid"
)

// chaos returns, call after call, what a list says, whatever makes sense or not.
type chaos struct {
	esmtp.Default
	plan []int
	n    int
	set  []esmtp.Reply // for the recipients
}

var errChaos = errors.New("chaos")

// results are what a method can do: mostly the usual.
var results = []esmtp.Reply{
	esmtp.OK("fine"), esmtp.OK(), esmtp.Deny(450, 4, 7, 1, "later"), esmtp.Deny(550, 5, 7, 1, "no", "never"), esmtp.Say(554),
	esmtp.Deny(421, 4, 3, 2, "bye"), esmtp.Deny(521, 5, 3, 2, "bye"), esmtp.Deny(250, 2, 0, 0, "bye").Hangup(), esmtp.Drop,
	esmtp.Say(99), esmtp.Say(354, "go"), esmtp.Say(600), esmtp.NoReply, esmtp.Say(-7), esmtp.Say(299, "x"), esmtp.Say(259, "a\r\nb\x00\n220 c"),
	{Lines: []string{"no code"}}, {Code: 550, Enh: esmtp.NoEnhanced, Lines: []string{"plain"}}, {Code: 553, Enh: esmtp.Enhanced{2, 9999, 1}},
	esmtp.Say(550, strings.Repeat("long ", 300)), esmtp.Say(235, strings.Repeat("é", 700)), esmtp.Say(251), esmtp.Say(100000),
}

func (c *chaos) do() esmtp.Reply {
	if c.n++; c.n > len(c.plan) {
		return esmtp.Reply{}
	}
	switch k := c.plan[c.n-1]; {
	case k < len(results):
		return results[k]
	case k == len(results):
		panic(errChaos)
	}
	return esmtp.Reply{}
}

// planSize is one more than the largest number in a plan: two thirds of all results are the usual.
var planSize = 3 * (len(results) + 1)

func (c *chaos) CONNECT(s *esmtp.Session) esmtp.Reply {
	if len(c.plan) > 0 && c.plan[0]%8 == 0 {
		return c.do()
	}
	c.n++
	return c.Default.CONNECT(s)
}
func (c *chaos) HELO(*esmtp.Session, string) esmtp.Reply           { return c.do() }
func (c *chaos) MAIL(*esmtp.Session, esmtp.Path) esmtp.Reply       { return c.do() }
func (c *chaos) RCPT(*esmtp.Session, esmtp.Path) esmtp.Reply       { return c.do() }
func (c *chaos) DATA(*esmtp.Session) esmtp.Reply                   { return c.do() }
func (c *chaos) HEADER(*esmtp.Session, string, string) esmtp.Reply { return c.do() }
func (c *chaos) EOH(*esmtp.Session, esmtp.HeaderEnd) esmtp.Reply   { return c.do() }
func (c *chaos) RSET(*esmtp.Session) esmtp.Reply                   { return c.do() }
func (c *chaos) VRFY(*esmtp.Session, string) esmtp.Reply           { return c.do() }
func (c *chaos) EXPN(*esmtp.Session, string) esmtp.Reply           { return c.do() }
func (c *chaos) HELP(*esmtp.Session, string) esmtp.Reply           { return c.do() }
func (c *chaos) NOOP(*esmtp.Session, string) esmtp.Reply           { return c.do() }
func (c *chaos) QUIT(*esmtp.Session) esmtp.Reply                   { return c.do() }
func (c *chaos) UNKNOWN(_ *esmtp.Session, _, _ string) esmtp.Reply { return c.do() }

func (c *chaos) Closed(*esmtp.Session, error) {
	if c.do(); c.n%3 == 0 {
		panic(errChaos)
	}
}

// EOM sets the replies of some recipients.
func (c *chaos) EOM(s *esmtp.Session) esmtp.Reply {
	r := c.do()
	tx := s.Transaction()
	c.set = make([]esmtp.Reply, len(tx.Recipients()))
	for i := range c.set {
		k := 0
		if n := c.n + i; n < len(c.plan) {
			k = c.plan[n]
		}
		switch c.set[i] = results[k/3%len(results)]; k % 3 {
		case 0:
			c.set[i] = esmtp.Reply{}
		case 1:
			tx.SetReply(i, c.set[i])
		case 2:
			tx.Defer(i)(c.set[i])
		}
	}
	return r
}

// Outcomes tells the Recorder what EOM has set.
func (c *chaos) Outcomes() []esmtp.Reply { return c.set }

// BODY does with its chunk what it likes: it must change nothing but the chunk.
func (c *chaos) BODY(_ *esmtp.Session, chunk []byte) esmtp.Reply {
	clear(chunk)
	_ = append(chunk, "\r\n.\r\nQUIT\r\n"...)
	return c.do()
}

// EHLO leaves out an extension or adds one now and then.
func (c *chaos) EHLO(s *esmtp.Session, domain string) esmtp.Reply {
	r := c.do()
	if !r.IsZero() || c.n > len(c.plan) {
		return r
	}
	r = c.Default.EHLO(s, domain)
	k := c.plan[c.n-1] % 16
	if k > 0 && k < len(r.Lines) {
		r.Lines = append(r.Lines[:k:k], r.Lines[k+1:]...)
	}
	if k%2 == 0 {
		r.Lines = append(r.Lines, "PRDR")
	}
	switch k {
	case 10:
		r.Lines = append(r.Lines, "XOORG", "SIZE 90", "bad line!\r\n250 X", "-x", "LIMITS RCPTMAX=1 MAILMAX=2")
	case 11:
		r.Lines = append(r.Lines, "XOORG")
	}
	return r
}

// chooser is where a test takes its random numbers from.
type chooser func(n int) int

// settings returns a server of any kind.
func (intn chooser) settings() (options func(*esmtp.Server)) {
	pick := func(list ...int) int { return list[intn(len(list))] }
	srv := esmtp.Server{
		Timeouts: esmtp.Timeouts{ErrorDelay: -1}, // a model has no time for it
		LMTP:     intn(4) == 0, Strict: intn(3) == 0, AllowNoHELO: intn(3) == 0,
		BareNewlines: esmtp.BareNewlines(intn(4)), BadHeader: esmtp.BadHeader(intn(3)),
		Limits: esmtp.Limits{
			MessageBytes: int64(pick(0, 0, -1, 60, 200, 1)), HeaderBytes: pick(0, 0, 20, 40), HeaderFields: pick(0, 0, 1, 3),
			Recipients: pick(0, 0, 1, 2), Messages: pick(0, 0, 1, 2), Errors: pick(0, -1, -1, 2), Junk: pick(0, -1, 1, 3),
			CommandLine: pick(0, 0, 0, 100, -1, 3072),
		},
	}
	return func(s *esmtp.Server) {
		s.LMTP = srv.LMTP
		s.Strict, s.AllowNoHELO, s.BareNewlines, s.BadHeader, s.Limits = srv.Strict, srv.AllowNoHELO, srv.BareNewlines, srv.BadHeader, srv.Limits
	}
}

// agree runs a random session, and says whether engine and model agree.
func (intn chooser) agree() (data []byte, err error) {
	option := intn.settings()
	var srv esmtp.Server
	option(&srv)
	data = dialogueWith(intn, &srv)
	plan := make([]int, intn(40))
	for i := range plan {
		plan[i] = intn(planSize)
	}
	newHandler := func(*esmtp.Session) esmtp.Handler { return &chaos{plan: plan} }
	r := rand.New(rand.NewPCG(uint64(intn(1<<16)), 7))
	for _, segments := range [][][]byte{{data}, Octets(data), Split(data, randomSize(r)), Split(data, randomSize(r))} {
		if err := strictly(segments, newHandler, option); err != nil {
			return data, err
		}
	}
	return data, nil
}

// strictly is CheckSegments for handlers that never call Disconnect.
func strictly(segments [][]byte, newHandler func(*esmtp.Session) esmtp.Handler, option func(*esmtp.Server)) error {
	var rec *Recorder
	srv := quietServer(func(s *esmtp.Session) esmtp.Handler {
		rec = Record(newHandler(s))
		return rec
	})
	option(srv)
	rules := RulesOf(srv)
	rules.NoDisconnect = true
	_, err := run(srv, rules, segments, func() *Recorder { return rec })
	return err
}

// TestEngineAndModelAgree is the proof of the engine: random dialogues, random results of all methods, random settings
// and random segments.
func TestEngineAndModelAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data, err := chooser(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }).agree()
		if err != nil {
			t.Fatalf("%v\ninput:  %q", err, data)
		}
	})
}

// TestEngineAndModelAgreeOnMany does the same with cheaper numbers, and many more of them.
func TestEngineAndModelAgreeOnMany(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1500) {
		data, err := chooser(rand.New(rand.NewPCG(seed, 3)).IntN).agree()
		if err != nil {
			t.Fatalf("seed %d: %v\ninput:  %q", seed, err, data)
		}
	}
}

func FuzzEngineAndModelAgree(f *testing.F) {
	for seed := range uint64(10) {
		f.Add(seed, Dialogue(rand.New(rand.NewPCG(seed, 5)).IntN))
	}
	f.Fuzz(func(t *testing.T, seed uint64, data []byte) {
		intn := chooser(rand.New(rand.NewPCG(seed, 3)).IntN)
		plan := make([]int, intn(40))
		for i := range plan {
			plan[i] = intn(planSize)
		}
		option := intn.settings()
		r := rand.New(rand.NewPCG(seed, 7))
		for _, segments := range [][][]byte{{data}, Split(data, randomSize(r))} {
			if err := strictly(segments, func(*esmtp.Session) esmtp.Handler { return &chaos{plan: plan} }, option); err != nil {
				t.Fatal(err)
			}
		}
	})
}
