package esmtp

import (
	"slices"
	"time"
)

// Disposition is what is to become of a message that is not refused.
type Disposition uint8

// The dispositions. Keep is the usual: the handler that keeps mail does so, each in its way.
const (
	Keep       Disposition = iota
	Sent                   // to the envelopes of the verdict instead of the transaction's own
	Held                   // in the spool, frozen, until somebody lets it go
	Quarantine             // in the spool, for inspection
	Discarded              // nowhere; the client is not told
	Consumed               // by a handler above, which has answered it; nowhere else
)

// String names the disposition: "keep", "send", "hold", "quarantine", "discard", "consume".
func (d Disposition) String() string {
	return [...]string{"keep", "send", "hold", "quarantine", "discard", "consume"}[d]
}

// Envelope is where a message is to go, if not to where its transaction says.
type Envelope struct {
	From Path
	To   []Path

	// NextHops are tried in this order, each an address as [github.com/caddy-esmtp/esmtp/relay] has them, such as "mx.example.org:25".
	// None: the mail exchangers of each recipient's domain.
	NextHops []string

	// Retry is how long to wait after each failed attempt; after the last the message is frozen. None: as the queue is set.
	Retry []time.Duration
}

// Verdict is what the layers of a handler have decided about a message, beside refusing it.
type Verdict struct {
	Disposition Disposition
	Envelopes   []Envelope // of Sent and Quarantine; none: the transaction's own
	Reason      string     // for those who look after the spool, never for the client
	Reply       Reply      // to the client, once the message is kept; zero: the keeping handler's
}

// Send, Hold, Quarantine, Discard and Consume set the verdict on the message, from MAIL to EOM; the last one set counts. They are for layers
// above the handler that keeps the mail, which obeys when EOM comes to it: so a layer calls one and hands EOM on. To refuse a
// message return a reply instead.
//
// If no handler below can do what Send, Hold or Quarantine ask for, the client gets 451: nothing is lost by a stack that is
// put together wrong.

// Send sends the message to these envelopes instead of its own. All of them are in the spool before the client gets 250, or none.
func (t *Transaction) Send(envelopes ...Envelope) {
	t.verdict = Verdict{Disposition: Sent, Envelopes: slices.Clone(envelopes)}
}

// Hold keeps the message, frozen, until somebody lets it go; see [Transaction.Send].
func (t *Transaction) Hold(reason string) { t.verdict = Verdict{Disposition: Held, Reason: reason} }

// Quarantine keeps the message for inspection, with the envelopes that a release sends it to, if not its own; see [Transaction.Send]. The
// client gets r, which can be a refusal too: the zero Reply is the usual 250.
func (t *Transaction) Quarantine(reason string, r Reply, envelopes ...Envelope) {
	t.verdict = Verdict{Disposition: Quarantine, Reason: reason, Reply: r, Envelopes: slices.Clone(envelopes)}
}

// Discard throws the message away, though the client gets 250; see [Transaction.Send].
func (t *Transaction) Discard(reason string) {
	t.verdict = Verdict{Disposition: Discarded, Reason: reason}
}

// Consume says that this handler has done with the message what is to be done, and that nobody below must keep it; see [Transaction.Send].
// The client gets r; the zero Reply is the usual 250.
func (t *Transaction) Consume(r Reply) { t.verdict = Verdict{Disposition: Consumed, Reply: r} }

// Verdict returns the verdict so far.
func (t *Transaction) Verdict() Verdict { return t.verdict }

// TakeVerdict returns the verdict to the handler that keeps the mail, which calls it in EOM and then does what it says: the engine takes it
// as done if EOM succeeds. A handler that can't do it calls only [Transaction.Verdict], and keeps nothing unless that is [Keep].
func (t *Transaction) TakeVerdict() Verdict {
	t.taken = true
	return t.verdict
}

// Outcome says in a word what became of a message that was answered with r: "accepted", "refused_temporarily", "refused_permanently", or, after the
// disposition, "sent", "held", "quarantined", "discarded", "consumed". A quarantine can refuse too, and so can who consumed the message.
func (v Verdict) Outcome(r Reply) string {
	switch {
	case v.Disposition != Keep && (r.Code/100 == 2 || r.Code == v.Reply.Code):
		return [...]string{"accepted", "sent", "held", "quarantined", "discarded", "consumed"}[v.Disposition]
	case r.Code/100 == 2:
		return "accepted"
	case r.Code/100 == 5:
		return "refused_permanently"
	}
	return "refused_temporarily"
}

// applyVerdict is the reply to a message for which EOM said r.
func (s *Session) applyVerdict(r Reply) Reply {
	t := s.tx
	if r.Code/100 != 2 || t.verdict.Disposition == Keep {
		return r
	}
	switch t.verdict.Disposition {
	case Sent, Held, Quarantine:
		if !t.taken {
			s.Logger().Error("no handler could do with a message what a layer asked for", "transaction", t.ID(), "asked", t.verdict.Disposition.String())
			return replyLocalError
		}
	}
	if v := t.verdict.Reply; !v.IsZero() {
		return s.checkReply("EOM", v, isFinal)
	}
	return r
}
