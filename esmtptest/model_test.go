package esmtptest

import (
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-esmtp/esmtp"
	"pgregory.net/rapid"
)

// chaos returns, call after call, what a list says, whatever makes sense or not.
type chaos struct {
	esmtp.Default
	plan []int
	n    int
	set  []esmtp.Reply // for the recipients

	mechanisms []string
	ownAuth    bool
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
func (c *chaos) ETRN(*esmtp.Session, string) esmtp.Reply           { return c.do() }
func (c *chaos) QUIT(*esmtp.Session) esmtp.Reply                   { return c.do() }
func (c *chaos) UNKNOWN(_ *esmtp.Session, _, _ string) esmtp.Reply { return c.do() }

func (c *chaos) Closed(*esmtp.Session, error) {
	if c.do(); c.n%3 == 0 {
		panic(errChaos)
	}
}

func (c *chaos) Mechanisms(*esmtp.Session) []string { return c.mechanisms }

// Authenticate lets most in.
func (c *chaos) Authenticate(*esmtp.Session, esmtp.Credentials) esmtp.Reply {
	if r := c.do(); !r.IsZero() || (c.n+len(c.plan))%4 == 0 {
		return r
	}
	return esmtp.Say(235)
}

// AUTH asks on and on, whatever the client says, and accepts whom it likes.
func (c *chaos) AUTH(s *esmtp.Session, mechanism string, x *esmtp.Exchange) esmtp.Reply {
	if !c.ownAuth {
		return c.Default.AUTH(s, mechanism, x)
	}
	for range c.n % 3 {
		x.Challenge(make([]byte, 999*(c.n%2)))
	}
	if c.n%4 > 0 {
		x.Accept(esmtp.Credentials{User: "eve"})
	}
	if r := c.do(); !r.IsZero() || c.n%4 == 0 {
		return r
	}
	return esmtp.Say(235)
}

// STARTTLS says what it likes, or fetches a certificate.
func (c *chaos) STARTTLS(s *esmtp.Session) esmtp.Reply {
	if r := c.do(); !r.IsZero() || c.n%2 == 0 {
		return r
	}
	return c.Default.STARTTLS(s)
}

// tlsConfigs are none, one with a certificate, of which no handshake will ever come so far as to see that it is empty, and one without.
var tlsConfigs = []*tls.Config{nil, nil, {Certificates: make([]tls.Certificate, 1)},
	{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errChaos }}}

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
	if !r.IsZero() {
		return r
	}
	r = c.Default.EHLO(s, domain)
	if len(c.plan)%2 == 0 {
		r.Lines = append(r.Lines, "PRDR")
	}
	if c.n > len(c.plan) {
		return r
	}
	k := c.plan[c.n-1] % 16
	if k > 0 && k < len(r.Lines) {
		r.Lines = append(r.Lines[:k:k], r.Lines[k+1:]...)
	}
	switch k {
	case 10:
		r.Lines = append(r.Lines, "XOORG", "SIZE 90", "bad line!\r\n250 X", "-x", "LIMITS RCPTMAX=1 MAILMAX=2")
	case 11:
		r.Lines = append(r.Lines, "XOORG")
	case 12, 13, 14:
		r.Lines = append(r.Lines, "REQUIRETLS", "DELIVERBY 10", "FUTURERELEASE 90 2099-01-01T00:00:00Z", "MT-PRIORITY MIXER", "RRVS",
			"NO-SOLICITING net.example:ADV", "ETRN", "DELIVERBY x", "FUTURERELEASE")
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
		LMTP:     intn(4) == 0, TLSConfig: tlsConfigs[intn(4)], RequireTLS: intn(10) == 0, RequireAuth: intn(6) == 0,
		AllowInsecureAuth: intn(3) == 0, Strict: intn(3) == 0, AllowNoHELO: intn(3) == 0,
		TolerateParams: [][]string{nil, {"XLAX"}}[intn(2)],
		BareNewlines:   esmtp.BareNewlines(intn(4)), BadHeader: esmtp.BadHeader(intn(3)),
		Limits: esmtp.Limits{
			MessageBytes: int64(pick(0, 0, -1, 60, 200, 1)), HeaderBytes: pick(0, 0, 20, 40), HeaderFields: pick(0, 0, 1, 3),
			Recipients: pick(0, 0, 1, 2), Messages: pick(0, 0, 1, 2), Errors: pick(0, -1, -1, 2), Junk: pick(0, -1, 1, 3), AuthFailures: pick(0, -1, 1),
			CommandLine: pick(0, 0, 0, 100, -1, 3072),
		},
	}
	return func(s *esmtp.Server) {
		s.TolerateParams = srv.TolerateParams
		s.TLSConfig, s.RequireTLS = srv.TLSConfig, srv.RequireTLS
		s.LMTP, s.RequireAuth, s.AllowInsecureAuth, s.Timeouts = srv.LMTP, srv.RequireAuth, srv.AllowInsecureAuth, srv.Timeouts
		s.Strict, s.AllowNoHELO, s.BareNewlines, s.BadHeader, s.Limits = srv.Strict, srv.AllowNoHELO, srv.BareNewlines, srv.BadHeader, srv.Limits
	}
}

// trial is a random session.
type trial struct {
	data       []byte
	segments   [][][]byte // in which it comes, each a session of its own
	option     func(*esmtp.Server)
	ownAuth    bool
	secure     bool
	newHandler func(*esmtp.Session) esmtp.Handler
}

// trial makes up a session; data is nil for random data.
func (intn chooser) trial(data []byte) trial {
	tr := trial{data: data, option: intn.settings(), ownAuth: intn(3) == 0, secure: intn(6) == 0}
	srv := new(esmtp.Server)
	if tr.option(srv); data == nil {
		tr.data = dialogueWith(intn, srv)
	}
	plan := make([]int, intn(40))
	for i := range plan {
		plan[i] = intn(planSize)
	}
	var mechanisms []string
	if srv.AllowInsecureAuth || intn(4) == 0 {
		mechanisms = []string{"plain", "LOGIN", "ANONYMOUS", "X-OWN"}
	}
	tr.newHandler = func(*esmtp.Session) esmtp.Handler {
		return &chaos{plan: plan, mechanisms: mechanisms, ownAuth: tr.ownAuth}
	}
	r := rand.New(rand.NewPCG(uint64(intn(1<<16)), 7))
	tr.segments = [][][]byte{{tr.data}, Octets(tr.data), Split(tr.data, randomSize(r)), Split(tr.data, randomSize(r))}
	return tr
}

// agree says whether engine and model agree. Waiting costs no time.
func (tr trial) agree(t *testing.T) (err error) {
	synctest.Test(t, func(*testing.T) {
		for _, segments := range tr.segments {
			if err == nil {
				err = tr.strictly(segments)
			}
		}
	})
	return err
}

// strictly is CheckSegments for handlers of which the model knows what they don't do.
func (tr trial) strictly(segments [][]byte) error {
	var rec *Recorder
	srv := quietServer(func(s *esmtp.Session) esmtp.Handler {
		rec = Record(tr.newHandler(s))
		return rec
	})
	tr.option(srv)
	rules := RulesOf(srv)
	rules.NoDisconnect, rules.DefaultAuth, rules.Secure = true, !tr.ownAuth, tr.secure
	_, err := run(srv, rules, segments, func() *Recorder { return rec })
	return err
}

// TestEngineAndModelAgree is the proof of the engine: random dialogues, random results of all methods, random settings
// and random segments.
func TestEngineAndModelAgree(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		tr := chooser(func(n int) int { return rapid.IntRange(0, n-1).Draw(r, "n") }).trial(nil)
		if err := tr.agree(t); err != nil {
			r.Fatalf("%v\ninput:  %q", err, tr.data)
		}
	})
}

// TestEngineAndModelAgreeOnMany does the same with cheaper numbers, and many more of them.
func TestEngineAndModelAgreeOnMany(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1500) {
		tr := chooser(rand.New(rand.NewPCG(seed, 3)).IntN).trial(nil)
		if err := tr.agree(t); err != nil {
			t.Fatalf("seed %d: %v\ninput:  %q", seed, err, tr.data)
		}
	}
}

func FuzzEngineAndModelAgree(f *testing.F) {
	for seed := range uint64(10) {
		f.Add(seed, Dialogue(rand.New(rand.NewPCG(seed, 5)).IntN))
	}
	f.Fuzz(func(t *testing.T, seed uint64, data []byte) {
		if err := chooser(rand.New(rand.NewPCG(seed, 3)).IntN).trial(append([]byte{}, data...)).agree(t); err != nil {
			t.Fatal(err)
		}
	})
}
