package esmtptest

import (
	"crypto/tls"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/caddy-esmtp/esmtp"
)

// CheckSession runs sessions in which the client sends data, and checks that nothing goes wrong, whatever the
// handler does. The octets come whole, one by one, and in segments of odd sizes: a session of its own each, with a handler of its
// own, on the caller's goroutine. What is checked is what holds for any handler:
//
//   - The session ends. Closed is called once, and last.
//   - Every line that is written is a well-formed reply of 512 octets at most, without control characters.
//   - Every command gets exactly one reply, and one that it can have after what the handler returned, even after a panic.
//   - The session stays in step: nothing in a message is taken for a command, whatever became of the message.
//   - No method is called out of order: no RCPT without MAIL, no BODY after a verdict, no EOM without the whole message;
//     and none for a command that is wrong.
//   - The methods get the message octet for octet, and see the envelope that was accepted.
//
// The handler may do what a [esmtp.Handler] may. Options change the server before it starts, its limits and policies,
// for example. The error says what is wrong and after how many octets of data; the handler's own panics are no error: see
// [Panics] for those.
func CheckSession(data []byte, newHandler func(*esmtp.Session) esmtp.Handler, options ...func(*esmtp.Server)) error {
	h := fnv.New64a()
	h.Write(data)
	r := rand.New(rand.NewPCG(h.Sum64(), 0))
	runs := [][][]byte{{data}, Split(data, randomSize(r))}
	if len(data) < 4096 {
		runs = append(runs, Octets(data))
	}
	for _, segments := range runs {
		if _, err := CheckSegments(segments, newHandler, options...); err != nil {
			return err
		}
	}
	return nil
}

// CheckSegments is [CheckSession] for one session, in which the data comes in the given segments. It returns the calls of the
// handler too.
func CheckSegments(segments [][]byte, newHandler func(*esmtp.Session) esmtp.Handler, options ...func(*esmtp.Server)) ([]Call, error) {
	var rec *Recorder
	srv := quietServer(func(s *esmtp.Session) esmtp.Handler {
		h := newHandler(s)
		if h == nil {
			return nil
		}
		rec = Record(h)
		return rec
	})
	for _, option := range options {
		option(srv)
	}
	return run(srv, RulesOf(srv), segments, func() *Recorder { return rec })
}

func quietServer(newHandler func(*esmtp.Session) esmtp.Handler) *esmtp.Server {
	return &esmtp.Server{Hostname: "mx.example.org", Logger: slog.New(slog.DiscardHandler), NewHandler: newHandler,
		Timeouts: esmtp.Timeouts{ErrorDelay: -1}} // a fuzzer has no time for it
}

// inTLS is a script that counts as TLS.
type inTLS struct{ *ScriptConn }

// ConnectionState makes it so.
func (inTLS) ConnectionState() tls.ConnectionState {
	return tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true}
}

// run runs a session, and asks the model.
func run(srv *esmtp.Server, rules Rules, segments [][]byte, recorder func() *Recorder) ([]Call, error) {
	conn := NewScriptConn(segments...)
	if rules.Secure {
		srv.ServeConn(inTLS{conn})
	} else {
		srv.ServeConn(conn)
	}
	var data []byte
	for _, s := range segments {
		data = append(data, s...)
	}
	rec := recorder()
	if rec == nil {
		return nil, fmt.Errorf("esmtptest: the factory returned nil")
	}
	if !conn.Closed() {
		return rec.Calls, fmt.Errorf("esmtptest: connection not closed")
	}
	m := NewModel(rules)
	if err := m.Check(data, conn.Output(), rec.Calls); err != nil {
		output := conn.Output()
		return rec.Calls, fmt.Errorf("%w\nrules:  %+v\nstate:  %v\noutput: …%q", err, rules, m, output[max(0, len(output)-1000):])
	}
	return rec.Calls, nil
}

// Panics returns the calls that panicked. The engine answers a panic with 451 and goes on, but it is a bug all the same.
func Panics(calls []Call) (list []Call) {
	for _, c := range calls {
		if c.Panic != nil {
			list = append(list, c)
		}
	}
	return list
}

// Fuzz lets Go's fuzzing look for octets with which a handler of yours breaks a session, or panics. It is the whole of a
// fuzz target:
//
//	func FuzzMine(f *testing.F) {
//		esmtptest.Fuzz(f, func(*esmtp.Session) esmtp.Handler { return new(Mine) })
//	}
//
// Run it with go test -fuzz=FuzzMine. The corpus is dialogues as clients have them; add your own with f.Add, as []byte.
func Fuzz(f *testing.F, newHandler func(*esmtp.Session) esmtp.Handler, options ...func(*esmtp.Server)) {
	f.Helper()
	for _, seed := range Seeds() {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) { check(t, data, newHandler, options) })
}

// Check runs n random dialogues against a handler of yours, with [CheckSession], and fails the test at the first that goes wrong or
// in which the handler panics. They are the same every time; seed chooses others.
func Check(t testing.TB, n int, seed uint64, newHandler func(*esmtp.Session) esmtp.Handler, options ...func(*esmtp.Server)) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	srv := new(esmtp.Server)
	for _, option := range options {
		option(srv)
	}
	for range n {
		check(t, dialogueWith(r.IntN, srv), newHandler, options)
	}
}

func check(t testing.TB, data []byte, newHandler func(*esmtp.Session) esmtp.Handler, options []func(*esmtp.Server)) {
	t.Helper()
	if err := CheckSession(data, newHandler, options...); err != nil {
		t.Fatalf("%v\ninput:  %q", err, data)
	}
	calls, _ := CheckSegments([][]byte{data}, newHandler, options...)
	if bad := Panics(calls); len(bad) > 0 {
		t.Fatalf("panic in %s%q: %v\ninput:  %q", bad[0].Verb, bad[0].Args, bad[0].Panic, data)
	}
}
