package esmtptest

import (
	"slices"

	"github.com/caddy-esmtp/esmtp"
)

// outcomes returns what each recipient's reply is (RFC 2033 §4.2): that of the whole message, unless it was accepted and the handler
// set another. What it set is not always known: then it may be any failure.
func (m *Model) outcomes(w want, set []esmtp.Reply) []want {
	each := make([]want, len(m.tx.rcpts))
	for i := range each {
		each[i] = w
		switch {
		case !w.success(): // it counts for nobody
		case set == nil:
			each[i] = w.orFails()
		case !set[i].IsZero():
			each[i] = wanted(Call{Verb: "EOM", Reply: set[i]})
		}
	}
	return each
}

// outcome takes the replies to a message: one for each recipient in LMTP, with PRDR those between 353 and that of the message, else one.
// If somebody has the message, the counts start again.
func (m *Model) outcome(w want, each []want) {
	accepted := false
	prdr := m.tx.prdr && len(each) > 1 && len(w.codes) > 0 && w.codes[0] != 421 // a Drop is without a word
	m.tx = nil
	switch {
	case m.rules.LMTP:
		accepted, _ = m.takeEach(each)
	case prdr:
		m.take(wants(353))
		some, all := m.takeEach(each)
		accepted = some || w.success()
		if all {
			m.take(w)
		}
	default:
		accepted = m.take(together(w, each))/100 == 2
	}
	if accepted {
		m.messages++
		m.errors, m.junk = 0, 0
	} else {
		m.errors++
	}
}

// takeEach takes the replies for the recipients. One that hangs up without a word is the last: the one after it would be taken for its own.
func (m *Model) takeEach(each []want) (accepted, all bool) {
	for _, w := range each {
		if accepted = m.take(w)/100 == 2 || accepted; len(w.codes) == 0 {
			return accepted, false
		}
	}
	return accepted, true
}

// together is the one reply for all recipients: if they differ, 451, so that nobody loses the message, but if all that failed have failed for good, the first of
// those.
func together(w want, each []want) want {
	good := 0
	for _, e := range each {
		if e.success() {
			good++
		}
	}
	switch {
	case good == len(each) && good > 0 && each[0].either:
		return w.orFails()
	case !w.success() || good == len(each):
		return w
	case good == 0:
		return each[max(0, slices.IndexFunc(each, func(e want) bool { return e.class() == 4 }))]
	case !slices.ContainsFunc(each, func(e want) bool { return e.class() != 2 && e.class() != 5 }):
		return each[slices.IndexFunc(each, func(e want) bool { return e.class() == 5 })]
	}
	return want{codes: []int{451}, enh: esmtp.Enhanced{4, 3, 0}}
}

// class is the first digit of the code, 0 for a connection that is closed without a word.
func (w want) class() int {
	if len(w.codes) == 0 {
		return 0
	}
	return w.codes[0] / 100
}

func (w want) success() bool { return len(w.codes) > 0 && w.codes[0]/100 == 2 }

// orFails is w, or any failure.
func (w want) orFails() want {
	w.codes, w.either = w.codes[:1:1], true
	for code := 400; code < 560; code++ {
		w.codes = append(w.codes, code)
	}
	return w
}
