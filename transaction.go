package esmtp

import (
	"strconv"
	"sync/atomic"
	"time"
)

// Transaction is a mail transaction: the envelope so far, and how much of the message came (RFC 5321 §3.3). Each MAIL
// begins a new one, and it is replaced as a whole. A hook may keep it, and read it after its end.
type Transaction struct {
	session    *Session
	number     int
	from       Path
	recipients []Recipient
	refused    []Recipient
	octets     atomic.Int64
	begun      time.Duration // when the message began to come, if anybody wants to know
	cleanup    []func()
	outcomes   []*outcome // by recipient; nil: all as EOM says
	bdat       bdatState
	msg        *message // of the BDAT commands so far
	verdict    Verdict
	taken      bool   // somebody does what the verdict says
	cut        *Reply // why not all of the message was read
	logged     bool   // the message has its line
	first      [1]Recipient
}

// Recipient is a forward-path and the reply that it got.
type Recipient struct {
	Path  Path
	Reply Reply
}

// bdatState is how far the BDAT commands of a transaction are (RFC 3030).
type bdatState uint8

const (
	bdatNone   bdatState = iota
	bdatOpen             // chunks were taken, more are to come
	bdatFailed           // one was refused: so is all that follows, until LAST or RSET
)

func newTransaction(s *Session, from Path) *Transaction {
	t := &Transaction{session: s, number: s.transactions, from: from}
	t.recipients = t.first[:0]
	return t
}

// ID returns the name of the transaction in logs and in Received fields: the session's ID, a dot, and a count.
func (t *Transaction) ID() string { return t.session.ID() + "." + strconv.Itoa(t.number) }

// From returns the reverse-path, with the parameters of MAIL.
func (t *Transaction) From() Path { return t.from }

// Recipients returns the accepted recipients, in the order in which they came. The slice is the transaction's own: don't
// change it.
func (t *Transaction) Recipients() []Recipient { return t.recipients }

// Refused returns the refused recipients with the replies they got, as many as [Limits].Recipients at most.
func (t *Transaction) Refused() []Recipient { return t.refused }

// Octets returns how many octets of the message came so far, stuffed dots not counted.
func (t *Transaction) Octets() int64 { return t.octets.Load() }

// SMTPUTF8 reports whether the transaction is for internationalised mail (RFC 6531).
func (t *Transaction) SMTPUTF8() bool { return t.from.SMTPUTF8() }

// OnEnd calls f when the transaction ends, however it does: after the reply to the message is decided, and after RSET, EHLO,
// a refusal, a panic or a lost connection. It is called once, on the session's goroutine; the last one added is called
// first. It is the place to drop what HEADER and BODY put aside.
func (t *Transaction) OnEnd(f func()) { t.cleanup = append(t.cleanup, f) }

// end runs the clean-ups. A panic in one doesn't keep the others from running.
func (t *Transaction) end() {
	if t.msg != nil {
		t.msg.release()
		t.msg = nil
	}
	for len(t.cleanup) > 0 {
		f := t.cleanup[len(t.cleanup)-1]
		t.cleanup = t.cleanup[:len(t.cleanup)-1]
		t.session.guard("OnEnd", f)
	}
}
