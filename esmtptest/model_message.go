package esmtptest

import (
	"regexp"
	"strconv"

	"github.com/caddy-esmtp/esmtp"
)

// noRecipients is RFC 5321 §3.3, and in LMTP RFC 2033 §4.2: what DATA and BDAT get without a recipient, 0 if there is one.
func (m *Model) noRecipients() int {
	switch {
	case m.tx == nil, len(m.tx.rcpts) == 0 && m.tx.refused == 0:
		return 503
	case len(m.tx.rcpts) == 0 && m.rules.LMTP:
		return 503
	case len(m.tx.rcpts) == 0:
		return 554
	}
	return 0
}

// data is RFC 5321 §4.1.1.4.
func (m *Model) data(arg string) {
	code := m.noRecipients()
	switch {
	case arg != "":
		code = 501
	case code == 0 && (m.tx.bdat != "" || m.tx.binary): // RFC 3030 §2, §3
		code = 503
	}
	if code != 0 {
		m.answer("DATA", wants(code))
		return
	}
	c, ok := m.call("DATA")
	if !ok || m.answer("DATA", wanted(c)) != 354 || m.closed || m.err != nil {
		return
	}
	if m.mayHaveHungUp(); m.closed {
		return
	}
	raw, rest, whole := endOfData(m.in)
	m.in = rest
	m.finish(unstuff(raw), whole)
}

var bdatArg = regexp.MustCompile(`^([0-9]{1,20})( (?i:LAST))?$`)

// bdat is RFC 3030 §2. Whatever the answer, the octets that it announces are never commands.
func (m *Model) bdat(arg string) {
	p := bdatArg.FindStringSubmatch(arg)
	size, err := int64(0), error(nil)
	if p != nil {
		size, err = strconv.ParseInt(p[1], 10, 64)
	}
	if p == nil || err != nil {
		m.answer("BDAT", wants(501).andClose())
		return
	}
	refusal := m.openBDAT()
	if refusal == nil && m.err == nil && m.tx.bdat == "" {
		m.tx.bdat = "open"
	}
	if m.err != nil {
		return
	}
	had, most := int64(0), m.reach()
	if refusal == nil {
		had = int64(len(m.tx.content))
	}
	if most > 0 && size > most-had || most == 0 && refusal != nil && size > 64<<20 {
		m.answer("BDAT", wants(552).andClose())
		return
	}
	n := min(size, int64(len(m.in)))
	chunk := m.in[:n]
	m.in = m.in[n:]
	m.chunk(chunk, n == size, size, p[2] != "", refusal)
}

// reach is how many octets of a refused message are read; 0: any number.
func (m *Model) reach() int64 {
	if m.maxSize == 0 || m.maxSize > 1<<62 {
		return m.maxSize
	}
	return max(m.maxSize+m.maxSize/2, 64<<10)
}

// openBDAT asks for leave to take a chunk; nil if it is given.
func (m *Model) openBDAT() *want {
	code := 0
	_, offered := m.offers["CHUNKING"]
	switch {
	case m.barred("BDAT") != 0:
		code = m.barred("BDAT")
	case !offered, m.tx != nil && m.tx.bdat == "failed":
		code = 503
	case m.tx != nil && m.tx.bdat == "open":
		return nil
	default:
		code = m.noRecipients()
	}
	if code != 0 {
		return &want{codes: []int{code}}
	}
	c, _ := m.call("DATA")
	w := wanted(c)
	if len(w.codes) == 1 && w.codes[0] == 354 {
		return nil // which isn't written
	}
	return &w
}

// chunk is what a chunk does, all of it having come or not.
func (m *Model) chunk(chunk []byte, whole bool, size int64, last bool, refusal *want) {
	if refusal != nil {
		if !whole {
			return
		}
		if m.tx != nil {
			m.tx.bdat = "failed"
		}
		replies := 1
		if last && m.tx != nil {
			if m.rules.LMTP { // RFC 2033 §4.3
				replies = max(1, len(m.tx.rcpts))
			}
			m.tx = nil
		}
		w := m.budget("BDAT", *refusal)
		for range replies {
			m.take(w)
		}
		return
	}
	m.tx.content = append(m.tx.content, chunk...)
	if last || !whole {
		m.finish(m.tx.content, last && whole)
		return
	}
	text := m.tx.content
	if n := len(text); n > 0 && text[n-1] == '\r' {
		text = text[:n-1] // half a CRLF, perhaps
	}
	m.hear(text, false, false)
	w, ok := m.verdict(text, false)
	switch {
	case ok && len(w.codes) == 0: // Drop
		m.take(w)
	case ok && w.codes[0] >= 400:
		m.tx.bdat = "failed"
		m.answer("BDAT", w)
	default:
		if size < 64 {
			m.junk++
		}
		m.answer("BDAT", wants(250))
	}
}

// hear takes the calls of HEADER, EOH and BODY that are for the message so far, up to a verdict. At its end all of them must be.
func (m *Model) hear(text []byte, end, whole bool) (complete bool) {
	for m.err == nil && m.tx.verdict == nil && len(m.calls) > 0 {
		verb := m.calls[0].Verb
		if verb != "HEADER" && verb != "EOH" && verb != "BODY" {
			break
		}
		calls := append(m.tx.calls, m.calls[0])
		if !end {
			if _, err := m.delivered(calls, text, whole); err != nil {
				return false // it is for the next chunk
			}
		}
		m.tx.calls = calls
		limit := m.maxSize
		c, _ := m.call(verb)
		m.tx.resized = m.tx.resized || m.maxSize != limit
		if c.Panic != nil || !c.Reply.IsZero() {
			m.tx.verdict = &c
		}
	}
	complete, err := m.delivered(m.tx.calls, text, whole)
	if err != nil {
		m.fail("%w", err)
	}
	return complete
}

// verdict is the reply to a message that EOM is not asked about: because a method gave it, or for the rules that the engine holds,
// any of them if more than one is broken.
func (m *Model) verdict(text []byte, whole bool) (w want, ok bool) {
	if m.tx.verdict != nil {
		return wanted(*m.tx.verdict), true
	}
	tooBig := over(int64(len(text)), m.maxSize)
	if m.tx.resized { // whether it was in time, only the engine knows
		tooBig = len(m.replies) > 0 && m.replies[0].Code == 552
	}
	if tooBig { // RFC 1870 §6.3
		w.codes = append(w.codes, 552)
	}
	if !m.tx.binary && m.rules.BareNewlines == esmtp.RejectBare && hasBare(text) { // RFC 5321 §2.3.8
		w.codes = append(w.codes, 554)
	}
	if h := m.header(text, whole); h.ended && h.why == esmtp.HeaderMalformed && m.rules.BadHeader == esmtp.RejectBad && !m.heardEOH() {
		w.codes = append(w.codes, 550)
	}
	return w, len(w.codes) > 0
}

func (m *Model) heardEOH() bool {
	for _, c := range m.tx.calls {
		if c.Verb == "EOH" {
			return true
		}
	}
	return false
}

func (m *Model) repaired(text []byte) string {
	if m.tx.binary {
		return string(text)
	}
	return string(repair(text, m.rules.BareNewlines))
}

func (m *Model) header(text []byte, whole bool) header {
	return splitHeader(m.repaired(text), whole, m.rules.Limits.HeaderBytes, m.rules.Limits.HeaderFields)
}

// finish is the end of a message, or of the input.
func (m *Model) finish(text []byte, whole bool) {
	complete := m.hear(text, true, whole)
	w, judged := m.verdict(text, whole)
	if judged && len(w.codes) == 0 { // Drop
		m.take(w)
		return
	}
	far := m.reach()
	if far == 0 {
		far = 64 << 20
	}
	if judged && int64(len(text)) > far && len(m.replies) > 0 && m.replies[0].Code == 421 {
		m.take(wants(421).andClose()) // too far over the limit to be read to its end
		return
	}
	if !whole || m.err != nil {
		return
	}
	var set []esmtp.Reply
	if !judged {
		if !complete {
			m.fail("the handler didn't get the whole message: %v", m.tx.calls)
		}
		c, ok := m.call("EOM")
		if !ok {
			return
		}
		if c.Octets != int64(len(text)) {
			m.fail("message has %d octets, want %d", c.Octets, int64(len(text)))
		}
		w, set = wanted(c), c.Outcomes
	}
	m.outcome(w, m.outcomes(w, set))
}
