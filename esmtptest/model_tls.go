package esmtptest

import "regexp"

// startTLS is RFC 3207 §4. What a script says next is no handshake, or nothing: the session ends without a word in the clear (§4.1).
func (m *Model) startTLS(arg string) {
	_, offered := m.offers["STARTTLS"]
	injected := len(m.in) > 0 && (len(m.calls) == 0 || m.calls[0].Verb != "STARTTLS")
	switch {
	case arg != "":
		m.answer("STARTTLS", wants(501))
	case m.rules.Secure:
		m.answer("STARTTLS", wants(503))
	case !m.rules.TLS, m.esmtp && !offered:
		m.answer("STARTTLS", wants(502))
	case !m.esmtp:
		m.answer("STARTTLS", wants(503))
	case injected: // §4.2: had it come already, it must not be heard
		m.answer("STARTTLS", wants(554).andClose())
	default:
		m.handshake()
	}
}

// handshake asks for leave. 454 is for a certificate that isn't there (RFC 3207 §4).
func (m *Model) handshake() {
	c, ok := m.call("STARTTLS")
	if !ok {
		return
	}
	w := wanted(c)
	if c.Panic == nil && c.Reply.IsZero() {
		w = m.narrow(wants(220, 454))
	}
	if m.answer("STARTTLS", w) == 220 {
		m.closed, m.alert = true, false
	}
}

var alertRecord = regexp.MustCompile(`(?s)(^|\n)\x15\x03[\x00-\x04]\x00\x02..$`)

// cutAlert takes the alert off the end (RFC 8446 §6), with which a handshake can fail.
func cutAlert(output []byte) (replies []byte, alert bool) {
	if !alertRecord.Match(output) {
		return output, false
	}
	return output[:len(output)-7], true
}
