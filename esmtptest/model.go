package esmtptest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/caddy-esmtp/esmtp"
)

// Model is the reference for what a session may do: the rules of the protocol, about ten lines each, slow and
// plainly right. It knows nothing of how the engine works. It looks at a session that is over, at what the client
// sent, what the server answered, and which methods of the handler were called with what result, and goes through it
// command by command: is there exactly one reply, is its code one that the rules allow after what the method returned,
// was the method called exactly when the rules say so, did a message arrive octet for octet, is the session over when
// it has to be. So it can judge a session with any handler; the handler only has to be under a [Recorder].
//
// [CheckSession] does all of that for a handler of yours.
type Model struct {
	rules Rules

	in      []byte      // what the client sent and was not looked at
	replies []WireReply // what the server answered and was not looked at
	calls   []Call      // what the engine called and was not looked at
	err     error       // the first thing that is wrong
	sent    int

	refused  bool // CONNECT said no
	helo     string
	esmtp    bool
	offers   map[string]string // what EHLO returned: keyword, in upper case, and parameters
	needsTLS bool              // REQUIRETLS was returned too, but can't be offered in the clear
	enhanced bool
	tx       *modelTx
	auth     string // the mechanism by which the client logged in
	user     string // who it is, if the model knows

	maxSize            int64
	maxRcpts, maxMails int
	mails              int
	errors, junk       int
	authFailures       int
	overshoot          int
	messages           int

	hooked bool // a method was called for this command
	quit   bool
	closed bool // the session is over
	alert  bool // a TLS alert is the last that was written
}

// Rules are the settings of the server that a session depends on. The zero Rules are those of the zero [esmtp.Server].
type Rules struct {
	Strict       bool
	LMTP         bool
	TLS          bool // there is a TLSConfig
	RequireTLS   bool
	Secure       bool // the connection is in TLS from the start: not a setting, and not in RulesOf
	RequireAuth  bool
	InsecureAuth bool // PLAIN in the clear
	AllowNoHELO  bool
	BareNewlines esmtp.BareNewlines
	BadHeader    esmtp.BadHeader
	Limits       esmtp.Limits

	// DefaultAuth says that no method AUTH is there but that of [esmtp.Default], and no mechanisms but PLAIN, LOGIN, ANONYMOUS and some that it doesn't know.
	DefaultAuth bool

	// NoDisconnect says that no method calls [esmtp.Session.Disconnect]: then only a reply ends the session.
	// Without it a session may end after any method was called.
	NoDisconnect bool

	TolerateParams []string
}

// RulesOf returns the rules of a server.
func RulesOf(srv *esmtp.Server) Rules {
	return Rules{
		Strict: srv.Strict, LMTP: srv.LMTP, TLS: srv.TLSConfig != nil, RequireTLS: srv.RequireTLS, RequireAuth: srv.RequireAuth,
		InsecureAuth: srv.AllowInsecureAuth, AllowNoHELO: srv.AllowNoHELO, BareNewlines: srv.BareNewlines,
		BadHeader: srv.BadHeader, Limits: srv.Limits, TolerateParams: srv.TolerateParams,
	}
}

// modelTx is a transaction.
type modelTx struct {
	sender  string
	binary  bool
	utf8    bool
	prdr    bool     // a reply for each recipient was asked for
	rcpts   []string // accepted
	refused int
	bdat    string // "", "open", "failed"
	content []byte // of the BDAT commands so far
	calls   []Call // of HEADER, EOH and BODY
	verdict *Call  // the one of them that said no, or yes
	resized bool   // one of them changed the size limit
}

// limit returns a limit as it counts: the default for 0, none (0) for a negative one.
func limit[T int | int64](n, standard T) T {
	if n == 0 {
		return standard
	}
	return max(n, 0)
}

func over[T int | int64](n, limit T) bool { return limit > 0 && n > limit }

// NewModel returns a model at the start of a session.
func NewModel(rules Rules) *Model {
	l := &rules.Limits
	l.CommandLine = limit(l.CommandLine, 512)
	if l.CommandLine == 0 {
		l.CommandLine = 32 << 10
	}
	l.HeaderBytes, l.HeaderFields = limit(l.HeaderBytes, 256<<10), limit(l.HeaderFields, 1000)
	l.Errors, l.Junk = limit(l.Errors, 20), limit(l.Junk, 100)
	l.AuthFailures = limit(l.AuthFailures, 3)
	return &Model{
		rules: rules, enhanced: true,
		maxSize: limit(l.MessageBytes, 50<<20), maxRcpts: limit(l.Recipients, 1000), maxMails: limit(l.Messages, 1000),
	}
}

// Check goes through a session that is over, and returns the first thing that is against the rules.
func (m *Model) Check(input, output []byte, calls []Call) error {
	output, m.alert = cutAlert(output)
	if m.replies, m.err = ParseReplies(output); m.err != nil {
		return m.err
	}
	m.in, m.sent, m.calls = input, len(input), calls
	m.greeting()
	for m.err == nil && !m.closed {
		m.hooked = false
		if !m.command() {
			break
		}
		m.mayHaveHungUp()
	}
	m.end()
	return m.err
}

// fail notes what is wrong, and where.
func (m *Model) fail(format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf("esmtptest: after %d octets of input: "+format, append([]any{m.sent - len(m.in)}, args...)...)
	}
}

// greeting is RFC 5321 §3.1: 220, or a refusal, after which only QUIT is left.
func (m *Model) greeting() {
	c, ok := m.call("CONNECT")
	if !ok {
		return
	}
	w := wanted(c)
	w.plain = true
	m.refused = len(w.codes) == 0 || w.codes[0] != 220
	m.take(w)
	m.mayHaveHungUp()
}

// call takes the next call, which has to be of that method with those arguments.
func (m *Model) call(verb string, args ...string) (c Call, ok bool) {
	switch {
	case m.err != nil:
		return c, false
	case len(m.calls) == 0 || m.calls[0].Verb != verb:
		m.fail("%s was not called; next is %v", verb, m.next())
		return c, false
	}
	c = m.calls[0]
	if len(args) > 0 && !slices.Equal(c.Args, args) {
		m.fail("%s got %q, want %q", verb, c.Args, args)
		return c, false
	}
	m.calls = m.calls[1:]
	m.hooked = true
	m.checkState(c)
	m.maxSize = c.MaxSize
	return c, m.err == nil
}

// next names the next call.
func (m *Model) next() string {
	if len(m.calls) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%s%q", m.calls[0].Verb, m.calls[0].Args)
}

// checkState compares what a method could see of the session.
func (m *Model) checkState(c Call) {
	switch {
	case c.HELO != m.helo || c.ESMTP != m.esmtp:
		m.fail("%s sees HELO %q (%v), want %q (%v)", c.Verb, c.HELO, c.ESMTP, m.helo, m.esmtp)
	case c.Secure != m.rules.Secure:
		m.fail("%s sees TLS: %v, want %v", c.Verb, c.Secure, m.rules.Secure)
	case c.Mechanism != m.auth || m.user != "" && c.User != m.user:
		m.fail("%s sees %q logged in by %q, want %q by %q", c.Verb, c.User, c.Mechanism, m.user, m.auth)
	case c.Transaction != (m.tx != nil):
		m.fail("%s sees a transaction: %v, want %v", c.Verb, c.Transaction, m.tx != nil)
	case m.tx != nil && (c.Sender != m.tx.sender || !slices.Equal(c.Recipients, m.tx.rcpts)):
		m.fail("%s sees the envelope %q %q, want %q %q", c.Verb, c.Sender, c.Recipients, m.tx.sender, m.tx.rcpts)
	}
}

// answer takes the reply to a command. A command over the budget is answered with 421 instead.
func (m *Model) answer(verb string, w want) (code int) { return m.take(m.budget(verb, w)) }

// budget counts a command, and returns what it is answered with.
func (m *Model) budget(verb string, w want) want {
	switch {
	case len(w.codes) > 0 && w.codes[0] >= 400:
		m.errors++
	case slices.Contains([]string{"HELO", "EHLO", "LHLO", "RSET", "VRFY", "EXPN", "HELP", "NOOP", "ETRN"}, verb):
		m.junk++
	}
	spent := over(m.errors, m.rules.Limits.Errors) || over(m.junk, m.rules.Limits.Junk)
	if spent && verb != "QUIT" && (len(w.codes) == 0 || w.codes[0] != 421) {
		w = want{codes: []int{421}, enh: esmtp.Enhanced{4, 7, 0}, close: true, plain: w.plain, either: w.either}
	}
	return w
}

// take takes the next reply, and compares it with what is wanted.
func (m *Model) take(w want) (code int) {
	m.closed = m.closed || w.close
	if len(w.codes) == 0 || m.err != nil {
		return 0
	}
	if len(m.replies) == 0 {
		m.fail("no reply, want %v", w.codes)
		return 0
	}
	r := m.replies[0]
	m.replies = m.replies[1:]
	if !slices.Contains(w.codes, r.Code) {
		m.fail("reply %v, want %v", r, w.codes)
	} else if err := m.checkEnhanced(r, w); err != nil {
		m.fail("%v", err)
	}
	return r.Code
}

// mayHaveHungUp looks whether the session ended because a method said so with Disconnect or Hijack.
func (m *Model) mayHaveHungUp() {
	if m.rules.NoDisconnect || !m.hooked || len(m.replies) > 0 || len(m.calls) != 1 {
		return
	}
	if err := m.calls[0].Err; errors.Is(err, esmtp.ErrHangup) || errors.Is(err, esmtp.ErrHijacked) {
		m.closed = true
	}
}

// end is the end of the session: no more replies, and Closed is the only call that is left.
func (m *Model) end() {
	switch {
	case m.err != nil:
		return
	case m.alert:
		m.fail("a TLS alert outside a handshake")
	case len(m.replies) > 0:
		m.fail("reply to nothing: %v", m.replies[0])
	case len(m.calls) != 1:
		m.fail("%d calls at the end, want Closed alone; next is %v", len(m.calls), m.next())
	}
	m.tx = nil
	c, ok := m.call("Closed")
	switch {
	case !ok:
	case m.quit && c.Err != nil:
		m.fail("Closed got %v after QUIT", c.Err)
	case !m.quit && c.Err == nil:
		m.fail("Closed got nil without QUIT")
	case !m.closed && !errors.Is(c.Err, io.EOF):
		m.fail("Closed got %v, want io.EOF", c.Err)
	}
}

// String says where in the session the model is.
func (m *Model) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "HELO %q, %d messages, %d errors, %d junk", m.helo, m.messages, m.errors, m.junk)
	if m.tx != nil {
		fmt.Fprintf(&b, ", from %q to %q, BDAT %q", m.tx.sender, m.tx.rcpts, m.tx.bdat)
	}
	return b.String()
}
