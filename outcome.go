package esmtp

import (
	"slices"
	"strconv"
	"time"
)

// outcome is what became of a message for one recipient.
type outcome struct {
	reply Reply
	later chan Reply // gets it, if it was put off
}

// PerRecipient reports whether the client gets a reply for each recipient of this message: LMTP (RFC 2033), or SMTP with PRDR and more than one
// recipient. If it is false all recipients share one reply, so a handler that has failed for one of them should fail for all.
func (s *Session) PerRecipient() bool {
	return s.cfg.lmtp || s.tx != nil && s.tx.prdr() && len(s.tx.recipients) > 1
}

// prdr reports whether MAIL asked for per-recipient responses (draft-hall-prdr).
func (t *Transaction) prdr() bool {
	_, ok := t.from.Param("PRDR")
	return ok
}

// SetReply sets the reply for accepted recipient i, 0 being the first; without one it is that of EOM. It counts if EOM accepts the message.
// Where the client gets only one reply (see [Session.PerRecipient]) and the recipients' replies differ, that is 451, or, if all
// that failed have failed for good, the refusal of one of them, with a line that says whom it is about. After 451 the client will try again, and those who have the
// message get it twice, but nobody loses it.
func (t *Transaction) SetReply(i int, r Reply) {
	t.setOutcome(i, &outcome{reply: r})
}

// Defer puts off the reply for accepted recipient i, 0 being the first: it is the one that the returned function is called with, once,
// from any goroutine. After EOM the engine waits for it, no longer than [Timeouts].Deliver.
func (t *Transaction) Defer(i int) (finish func(Reply)) {
	o := &outcome{later: make(chan Reply, 1)}
	t.setOutcome(i, o)
	return func(r Reply) {
		select {
		case o.later <- r:
		default: // it is the second call
		}
	}
}

// Outcome returns what SetReply has set for accepted recipient i, and whether it has. It is for the handler that keeps the mail: where the client gets one
// reply, it can take over those for whom a layer above has failed for good, and report the failure by mail.
func (t *Transaction) Outcome(i int) (r Reply, set bool) {
	if t.outcomes == nil || t.outcomes[i] == nil || t.outcomes[i].later != nil {
		return Reply{}, false
	}
	return t.outcomes[i].reply, true
}

func (t *Transaction) setOutcome(i int, o *outcome) {
	if t.outcomes == nil {
		t.outcomes = make([]*outcome, len(t.recipients))
	}
	t.outcomes[i] = o
}

// outcomes returns the reply for each recipient of a message that EOM answered with r.
func (s *Session) outcomes(r Reply) []Reply {
	replies := slices.Repeat([]Reply{r}, len(s.tx.recipients))
	if r.Code/100 != 2 {
		return replies
	}
	var deadline <-chan time.Time
	if limit := s.cfg.timeouts.Deliver; limit > 0 && s.tx.outcomes != nil {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		deadline = timer.C
	}
	defer s.stopWatch()
	for i, o := range s.tx.outcomes {
		switch {
		case o == nil:
			continue
		case o.later != nil:
			o.reply = s.waitOutcome(o, deadline)
		}
		if !o.reply.IsZero() {
			replies[i] = s.checkReply("EOM", o.reply, isFinal)
		}
	}
	return replies
}

// waitOutcome waits for a reply that was put off.
func (s *Session) waitOutcome(o *outcome, deadline <-chan time.Time) Reply {
	select {
	case r := <-o.later:
		return r
	default:
	}
	select {
	case r := <-o.later:
		return r
	case <-deadline:
		return replyDeliverTime
	case <-s.Context().Done():
		return replyLocalError // nobody is there to read it
	}
}

// oneReply is the reply for all recipients together.
func (s *Session) oneReply(r Reply, replies []Reply) Reply {
	if s.tx.outcomes == nil || r.Code/100 != 2 {
		return r
	}
	good := 0
	for _, reply := range replies {
		if reply.Code/100 == 2 {
			good++
		}
	}
	switch good {
	case len(replies):
		return r
	case 0: // what is not for good counts: then one of them may get it yet
		return replies[max(0, slices.IndexFunc(replies, func(r Reply) bool { return r.Code/100 == 4 }))]
	}
	s.Logger().Error("recipients differ, but the client gets one reply", "transaction", s.tx.ID(), "delivered", good, "of", len(replies))
	return s.differ(replies)
}

// differ is the one reply for recipients of whom only some have the message. If to try again can help one of those who don't it is temporary. Otherwise it would only bring
// the others another copy at each try, for days: it is permanent, and says who it is about.
func (s *Session) differ(replies []Reply) Reply {
	failed, n := 0, 0
	for i, r := range replies {
		switch r.Code / 100 {
		case 2:
			continue
		case 5:
			if n++; n == 1 {
				failed = i
			}
		default:
			return replyDiffer
		}
	}
	who := "<" + s.tx.recipients[failed].Path.String() + ">"
	if n > 1 {
		who += " and " + strconv.Itoa(n-1) + " more"
	}
	r := replies[failed]
	r.Lines = append([]string{"Not delivered to " + who + ", delivered to the others:"}, r.Lines...)
	return r
}

// answerMessage writes what the client gets for a message: a reply for each recipient, or one.
func (s *Session) answerMessage(r Reply, replies []Reply, f replyFormat) {
	switch {
	case s.cfg.lmtp: // RFC 2033 §4.2
		s.answerEach(replies, f)
	case len(replies) > 1 && r.Code != 421 && r.Code != 0:
		s.write(replyPRDR, f)
		if s.answerEach(replies, f) {
			s.write(r, f)
		}
	default:
		s.write(r, f)
	}
}

// answerEach writes the replies for the recipients. It stops at a [Drop], and reports that: the client would take the reply
// after it for the one that is missing.
func (s *Session) answerEach(replies []Reply, f replyFormat) (all bool) {
	for _, reply := range replies {
		if s.write(reply, f); reply.Code == 0 {
			return false
		}
	}
	return true
}
