package esmtptest

import (
	"bytes"

	"github.com/caddy-esmtp/esmtp"
)

// Call is a call of a [esmtp.Handler] method, with what the session looked like at that moment.
type Call struct {
	Verb  string          // the method
	Args  []string        // its arguments; a path as its Raw and Params
	Chunk []byte          // of BODY, or the octets of the field of HEADER
	Why   esmtp.HeaderEnd // of EOH
	Err   error           // of Closed
	Reply esmtp.Reply     // what it returned
	Panic any             // what it panicked with instead

	// Outcomes are the replies that EOM set with [esmtp.Transaction.SetReply], one for each recipient, zero where it set none. The Recorder knows them
	// if the handler right below it has a method Outcomes() []esmtp.Reply; else it is nil.
	Outcomes []esmtp.Reply

	HELO        string // the session, when the method was called
	ESMTP       bool
	User        string
	Mechanism   string
	Secure      bool
	Transaction bool
	Sender      string
	Recipients  []string
	Octets      int64

	MaxSize int64 // the session, when the method returned
}

// Recorder is a layer that writes down every call that the engine makes, and hands it on. Mechanisms is left out: it is asked at any time.
type Recorder struct {
	esmtp.Handler
	Calls []Call
}

// Record returns a Recorder above next.
func Record(next esmtp.Handler) *Recorder { return &Recorder{Handler: next} }

// begin writes down a call; the function that it returns, deferred, writes down how it ended.
func (r *Recorder) begin(s *esmtp.Session, reply *esmtp.Reply, verb string, args ...string) func() {
	c := Call{Verb: verb, Args: args, HELO: s.HELO(), ESMTP: s.ESMTP(), User: s.User(), Mechanism: s.AuthMechanism(), Secure: s.TLS() != nil}
	if tx := s.Transaction(); tx != nil {
		c.Transaction, c.Sender, c.Octets = true, tx.From().Raw(), tx.Octets()
		for _, rcpt := range tx.Recipients() {
			c.Recipients = append(c.Recipients, rcpt.Path.Raw())
		}
	}
	r.Calls = append(r.Calls, c)
	i := len(r.Calls) - 1
	return func() {
		p := recover()
		r.Calls[i].Panic, r.Calls[i].MaxSize = p, s.MaxSize()
		if reply != nil {
			r.Calls[i].Reply = *reply
		}
		if p != nil {
			panic(p)
		}
	}
}

// CONNECT writes down the call.
func (r *Recorder) CONNECT(s *esmtp.Session) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "CONNECT")()
	return r.Handler.CONNECT(s)
}

// HELO writes down the call.
func (r *Recorder) HELO(s *esmtp.Session, domain string) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "HELO", domain)()
	return r.Handler.HELO(s, domain)
}

// EHLO writes down the call.
func (r *Recorder) EHLO(s *esmtp.Session, domain string) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "EHLO", domain)()
	return r.Handler.EHLO(s, domain)
}

// MAIL writes down the call.
func (r *Recorder) MAIL(s *esmtp.Session, from esmtp.Path) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "MAIL", from.Raw(), from.Params())()
	return r.Handler.MAIL(s, from)
}

// RCPT writes down the call.
func (r *Recorder) RCPT(s *esmtp.Session, to esmtp.Path) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "RCPT", to.Raw(), to.Params())()
	return r.Handler.RCPT(s, to)
}

// DATA writes down the call.
func (r *Recorder) DATA(s *esmtp.Session) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "DATA")()
	return r.Handler.DATA(s)
}

// HEADER writes down the call.
func (r *Recorder) HEADER(s *esmtp.Session, name, value string) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "HEADER", name, value)()
	r.Calls[len(r.Calls)-1].Chunk = bytes.Clone(s.Field(name, value))
	return r.Handler.HEADER(s, name, value)
}

// EOH writes down the call.
func (r *Recorder) EOH(s *esmtp.Session, why esmtp.HeaderEnd) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "EOH", s.Separator())()
	r.Calls[len(r.Calls)-1].Why = why
	return r.Handler.EOH(s, why)
}

// BODY writes down the call.
func (r *Recorder) BODY(s *esmtp.Session, chunk []byte) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "BODY")()
	r.Calls[len(r.Calls)-1].Chunk = bytes.Clone(chunk)
	return r.Handler.BODY(s, chunk)
}

// EOM writes down the call.
func (r *Recorder) EOM(s *esmtp.Session) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "EOM")()
	i := len(r.Calls) - 1
	reply = r.Handler.EOM(s)
	if h, ok := r.Handler.(interface{ Outcomes() []esmtp.Reply }); ok {
		r.Calls[i].Outcomes = h.Outcomes()
	}
	return reply
}

// RSET writes down the call.
func (r *Recorder) RSET(s *esmtp.Session) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "RSET")()
	return r.Handler.RSET(s)
}

// VRFY writes down the call.
func (r *Recorder) VRFY(s *esmtp.Session, arg string) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "VRFY", arg)()
	return r.Handler.VRFY(s, arg)
}

// EXPN writes down the call.
func (r *Recorder) EXPN(s *esmtp.Session, arg string) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "EXPN", arg)()
	return r.Handler.EXPN(s, arg)
}

// HELP writes down the call.
func (r *Recorder) HELP(s *esmtp.Session, arg string) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "HELP", arg)()
	return r.Handler.HELP(s, arg)
}

// NOOP writes down the call.
func (r *Recorder) NOOP(s *esmtp.Session, arg string) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "NOOP", arg)()
	return r.Handler.NOOP(s, arg)
}

// ETRN writes down the call.
func (r *Recorder) ETRN(s *esmtp.Session, arg string) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "ETRN", arg)()
	return r.Handler.ETRN(s, arg)
}

// QUIT writes down the call.
func (r *Recorder) QUIT(s *esmtp.Session) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "QUIT")()
	return r.Handler.QUIT(s)
}

// UNKNOWN writes down the call.
func (r *Recorder) UNKNOWN(s *esmtp.Session, verb, arg string) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "UNKNOWN", verb, arg)()
	return r.Handler.UNKNOWN(s, verb, arg)
}

// Closed writes down the call.
func (r *Recorder) Closed(s *esmtp.Session, err error) {
	defer r.begin(s, nil, "Closed")()
	r.Calls[len(r.Calls)-1].Err = err
	r.Handler.Closed(s, err)
}
