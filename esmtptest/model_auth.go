package esmtptest

import (
	"encoding/base64"
	"slices"
	"strings"
)

// maxSASL is the longest line of an AUTH exchange (RFC 4954 §4.3).
const maxSASL = 12288

// inClear are the mechanisms that show a secret to everybody who listens (RFC 8314).
var inClear = []string{"PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"}

// authenticate is RFC 4954 §4.
func (m *Model) authenticate(arg string) {
	name, initial, has := strings.Cut(arg, " ")
	mechanism := strings.ToUpper(name)
	list, offered := m.offers["AUTH"]
	switch {
	case !m.esmtp, m.auth != "", m.tx != nil:
		m.answer("AUTH", wants(503))
	case mechanism == "":
		m.answer("AUTH", wants(501))
	case !slices.Contains(strings.Fields(strings.ToUpper(list)), mechanism):
		w := wants(503)
		if offered {
			w = wants(504)
		}
		if slices.Contains(inClear, mechanism) && !m.rules.InsecureAuth && !m.rules.Secure {
			w.codes = append(w.codes, 538) // if the handler has it
		}
		m.answer("AUTH", w)
	case has && initial != "=" && !isBase64(initial):
		m.answer("AUTH", wants(501))
	default:
		m.exchange(mechanism, initial, has)
	}
}

// exchange is what follows AUTH: challenges and responses until the method has made up its mind. Its calls of Authenticate and Secret
// were made meanwhile.
func (m *Model) exchange(mechanism, initial string, has bool) {
	c, ok := m.call("AUTH", mechanism)
	if !ok {
		return
	}
	responses, bad := []string{}, 0
	if has {
		responses = append(responses, strings.TrimPrefix(initial, "="))
	}
	for m.err == nil && len(m.replies) > 0 && m.replies[0].Code == 334 {
		if m.rules.DefaultAuth && bad != 0 {
			m.fail("a challenge after a response that was none: %v", m.replies[0])
			return
		}
		if text := m.replies[0].Lines; len(text) != 1 || text[0] != "" && !isBase64(text[0]) {
			m.fail("a challenge that can't be read: %v", m.replies[0])
		}
		m.take(wants(334))
		line, ok := m.line()
		if !ok {
			m.heard()
			if len(m.in) >= maxSASL {
				m.take(wants(421).andClose())
			}
			m.in = nil
			return
		}
		switch text := string(line); {
		case len(text)+2 > maxSASL:
			bad = 500
		case text == "*", !isBase64(text) && text != "":
			bad = 501
		default:
			responses = append(responses, text)
		}
	}
	if bad == 500 && len(m.replies) > 0 && m.replies[0].Code == 421 {
		m.heard()
		m.take(wants(421).andClose()) // it was not read to its end
		return
	}
	m.decide(c, mechanism, responses, bad)
}

// heard takes the calls of Authenticate and Secret, and returns the last one of the former.
func (m *Model) heard() (last *Call) {
	for m.err == nil && len(m.calls) > 0 && (m.calls[0].Verb == "Authenticate" || m.calls[0].Verb == "Secret") {
		c, _ := m.call(m.calls[0].Verb)
		if c.Verb == "Authenticate" {
			last = &c
		}
	}
	return last
}

// decide is the end of an exchange. Only 235 logs in, and only if the method has said who it is. Failures have a limit of their own.
func (m *Model) decide(c Call, mechanism string, responses []string, bad int) {
	user := ""
	w := wanted(c)
	if m.rules.DefaultAuth {
		user, w = m.byDefault(mechanism, responses, bad)
	} else if m.heard(); w.success() && c.Reply.IsZero() {
		w = w.orFails() // Default's
	} else if w.success() {
		w.codes, w.either = append(w.codes, 454), true // if the method did not say
	}
	w = m.narrow(w)
	if len(w.codes) > 0 && w.codes[0] == 535 {
		m.authFailures++
		if limit := m.rules.Limits.AuthFailures; limit > 0 && m.authFailures >= limit {
			w = wants(421).andClose()
		}
	}
	if m.answer("AUTH", w) == 235 {
		m.auth, m.user = mechanism, user
	}
}

// narrow picks the code that it is from those that it can be. A 454 that is over the budget comes as 421.
func (m *Model) narrow(w want) want {
	if len(w.codes) < 2 || len(m.replies) == 0 {
		return w
	}
	code := m.replies[0].Code
	if code == 421 && !slices.Contains(w.codes, 421) {
		code = 454
	}
	if slices.Contains(w.codes, code) {
		w.codes = []int{code}
		w.close = w.close || code == 421 || code == 521
	}
	return w
}

// byDefault is what Default.AUTH does: it asks Authenticate once the client has said all that the mechanism wants to know.
func (m *Model) byDefault(mechanism string, responses []string, bad int) (user string, w want) {
	user, identity, code := credentials(mechanism, responses)
	if bad != 0 {
		code = bad
	}
	if code != 0 {
		return "", wants(code)
	}
	a, ok := m.call("Authenticate", mechanism, user, identity)
	r := a.Reply
	switch {
	case !ok, a.Panic != nil:
		return "", wants(451)
	case r.Code == 235 && identity != "":
		return identity, wants(235)
	case r.Code == 235:
		return user, wants(235)
	case r.IsZero() || r.Accepted():
		return "", wants(535)
	}
	return "", wanted(Call{Verb: "AUTH", Reply: r})
}

// credentials reads what the client said: PLAIN (RFC 4616), ANONYMOUS (RFC 4505) and LOGIN. If there is no asking, code is why.
func credentials(mechanism string, responses []string) (user, identity string, code int) {
	var said []string
	for _, r := range responses {
		text, _ := base64.StdEncoding.DecodeString(r)
		said = append(said, string(text))
	}
	if len(said) == 1 && mechanism == "PLAIN" {
		said = strings.Split(said[0], "\x00")
	}
	switch {
	case mechanism == "PLAIN" && len(said) == 3:
		user, identity = said[1], said[0]
	case mechanism == "LOGIN" && len(said) == 2:
		user = said[0]
	case mechanism == "ANONYMOUS" && len(said) == 1:
		user = "anonymous"
	case mechanism == "PLAIN":
		return "", "", 501
	default: // Default has no such mechanism
		return "", "", 504
	}
	if user == "" || !isText(user) || !isText(identity) {
		code = 535
	}
	return user, identity, code
}

func isBase64(text string) bool {
	_, err := base64.StdEncoding.Strict().DecodeString(text)
	return err == nil && text != "" && !strings.ContainsAny(text, "\r\n")
}
