package esmtptest

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Octets of a command line past which the rest is dropped, and those past which the session may and must end.
const (
	mayDiscard  = 64 << 10
	mustDiscard = 192 << 10
)

// line takes a command line. In lenient mode a lone LF ends it too (RFC 5321 §2.3.8 says that only CRLF does).
func (m *Model) line() (line []byte, ok bool) {
	end := []byte("\n")
	if m.rules.Strict {
		end = []byte("\r\n")
	}
	line, rest, ok := bytes.Cut(m.in, end)
	if ok {
		m.in = rest
	}
	if ok && !m.rules.Strict {
		line = bytes.TrimSuffix(line, []byte("\r"))
	}
	return line, ok
}

// command takes a command and its reply. It returns false if no whole command is left.
func (m *Model) command() bool {
	line, ok := m.line()
	if len(line) > mayDiscard && len(m.replies) > 0 && m.replies[0].Code == 421 || len(line) > mustDiscard {
		m.take(wants(421).andClose())
		return false
	}
	if !ok {
		return false
	}
	name, arg, _ := strings.Cut(strings.TrimRight(string(line), " "), " ")
	verb := strings.ToUpper(name)
	if m.badLine(line, verb) {
		w := want{codes: []int{500}, either: true}
		if w.close = meantAsBDAT.Match(line) || bytes.HasPrefix(line, []byte{22}); w.close {
			w.codes = append(w.codes, 421)
		}
		m.answer(strings.TrimPrefix(verb, "QUIT"), w) // such a QUIT is none
		return true
	}
	switch {
	case verb == "BDAT":
		m.bdat(arg)
	case m.barred(verb) != 0:
		m.answer(verb, want{codes: []int{m.barred(verb)}, plain: isHello(verb)})
	default:
		m.dispatch(name, verb, arg)
	}
	return true
}

// barred is what a verb gets that is not to be had now, whatever its arguments; 0 if it is.
func (m *Model) barred(verb string) int {
	inTheClear := []string{"EHLO", "LHLO", "NOOP", "STARTTLS", "QUIT"}
	submits := []string{"MAIL", "BDAT", "VRFY", "EXPN", "ETRN"}
	switch {
	case verb == "QUIT":
	case m.refused: // RFC 5321 §3.1
		return 503
	case m.rules.RequireTLS && !m.rules.Secure && !slices.Contains(inTheClear, verb): // RFC 3207 §4
		return 530
	case m.rules.RequireAuth && m.auth == "" && slices.Contains(submits, verb): // RFC 4954 §6
		return 530
	}
	return 0
}

// meantAsBDAT are lines after which content may follow, which would be read as commands; and 22 begins a TLS connection.
var meantAsBDAT = regexp.MustCompile(`^[ \t\r\n\x00]*(?i:BDAT)([^A-Za-z0-9]|$)`)

var isKeyword = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]*$`)

// badLine reports whether a line is no command at all: control characters, octets above 127 in the wrong place, too long
// (RFC 5321 §4.1.2, §2.4, §4.5.3.1.4).
func (m *Model) badLine(line []byte, verb string) bool {
	text := []string{"MAIL", "RCPT", "VRFY", "EXPN", "BDAT"}
	for _, c := range line {
		if c < ' ' || c == 0x7f || c > 0x7f && !slices.Contains(text, verb) {
			return true
		}
	}
	room := m.rules.Limits.CommandLine
	for _, p := range parameters[verb] {
		if _, ok := m.offers[p.keyword]; ok {
			room += p.room // RFC 5321 §4.1.1.11
		}
	}
	if _, ok := m.offers["AUTH"]; ok && verb == "AUTH" {
		room += maxSASL
	}
	return len(line)+2 > room || verb == "" // RFC 5321 §4.2.4
}

func (m *Model) dispatch(name, verb, arg string) {
	switch verb {
	case "HELO", "EHLO", "LHLO":
		m.hello(verb, arg)
	case "MAIL":
		m.mail(arg)
	case "RCPT":
		m.rcpt(arg)
	case "DATA":
		m.data(arg)
	case "RSET", "QUIT":
		m.bare(verb, arg)
	case "VRFY", "EXPN":
		m.verify(verb, arg)
	case "HELP", "NOOP":
		if c, ok := m.call(verb, arg); ok {
			m.answer(verb, wanted(c))
		}
	case "ETRN":
		m.etrn(arg)
	case "XCLIENT", "XFORWARD":
		m.answer(verb, wants(550)) // for who is not trusted
	case "AUTH":
		m.authenticate(arg)
	case "STARTTLS":
		m.startTLS(arg)
	default:
		m.unknown(verb, arg)
	}
}

// etrn is RFC 1985 §5.
func (m *Model) etrn(arg string) {
	_, offered := m.offers["ETRN"]
	switch {
	case !m.esmtp, m.tx != nil && offered:
		m.answer("ETRN", wants(503))
	case !offered:
		m.answer("ETRN", wants(502))
	case !isNode.MatchString(arg):
		m.answer("ETRN", wants(501))
	default:
		if c, ok := m.call("ETRN", arg); ok {
			m.answer("ETRN", wanted(c))
		}
	}
}

// A label is longer than 63 octets only in the engine's tests of domains.
var isNode = regexp.MustCompile(`^(@?` + label + `(\.` + label + `)+|#[!-~]+)$`)

// hello is RFC 5321 §4.1.1.1 and §4.1.4: a success, and nothing else, begins anew. LMTP has LHLO for both verbs (RFC 2033 §4.1), and the
// method that it calls is EHLO.
func (m *Model) hello(verb, arg string) {
	if (verb == "LHLO") != m.rules.LMTP {
		m.answer(verb, want{codes: []int{500}, plain: true})
		return
	}
	method := strings.Replace(verb, "LHLO", "EHLO", 1)
	valid := len(arg) > 0 && len(arg) <= 255 && !strings.Contains(arg, " ")
	if m.rules.Strict && !plainDomain.MatchString(arg) {
		valid = valid && len(m.calls) > 0 && m.calls[0].Verb == method && m.calls[0].Args[0] == arg // an address literal, perhaps
	}
	if !valid {
		m.answer(verb, want{codes: []int{501}, plain: true})
		return
	}
	c, ok := m.call(method, arg)
	if !ok {
		return
	}
	w := wanted(c)
	w.plain = true
	var r WireReply
	if len(m.replies) > 0 {
		r = m.replies[0]
	}
	if m.answer(verb, w) == 250 || len(w.codes) > 0 && w.codes[0] == 250 {
		m.tx, m.helo, m.esmtp, m.enhanced, m.offers, m.needsTLS = nil, arg, method == "EHLO", true, nil, false
		if m.esmtp && r.Code == 250 {
			m.offer(r.Lines)
			m.needsTLS = slices.Contains(c.Reply.Lines, "REQUIRETLS")
		}
	}
}

// offer: what EHLO returns is both advertised and enabled.
func (m *Model) offer(lines []string) {
	m.offers = map[string]string{}
	for _, line := range lines[1:] {
		keyword, params, _ := strings.Cut(line, " ")
		if keyword = strings.ToUpper(keyword); !isKeyword.MatchString(keyword) {
			m.fail("EHLO offers %q", line)
		}
		if _, twice := m.offers[keyword]; !twice {
			m.offers[keyword] = params
		}
		switch keyword {
		case "SIZE": // RFC 1870 §4
			if n, err := strconv.ParseInt(params, 10, 64); err == nil && n >= 0 {
				m.maxSize = n
			}
		case "LIMITS": // RFC 9422 §4
			m.maxMails = limitIn(params, "MAILMAX", m.maxMails)
			m.maxRcpts = limitIn(params, "RCPTMAX", m.maxRcpts)
		}
	}
	_, m.enhanced = m.offers["ENHANCEDSTATUSCODES"]
}

// limitIn returns the value of a limit in the parameters of LIMITS.
func limitIn(params, name string, n int) int {
	for _, p := range strings.Fields(params) {
		key, value, _ := strings.Cut(p, "=")
		if v, err := strconv.Atoi(value); strings.EqualFold(key, name) && err == nil && v > 0 {
			n = v
		}
	}
	return n
}

// bare are the verbs that take no argument (RFC 5321 §4.1.1.5, §4.1.1.10).
func (m *Model) bare(verb, arg string) {
	if arg != "" {
		m.answer(verb, wants(501))
		return
	}
	if verb == "RSET" {
		m.tx = nil // before the method is called
	}
	c, ok := m.call(verb)
	if !ok {
		return
	}
	w := wanted(c)
	if verb == "QUIT" {
		stays := !m.rules.NoDisconnect && !w.close && len(m.calls) > 0 && (m.calls[0].Verb != "Closed" || m.calls[0].Err != nil)
		m.quit, w.close = !stays, !stays
	}
	m.answer(verb, w)
}

// verify is RFC 5321 §3.5 and RFC 6531 §3.7.4.2.
func (m *Model) verify(verb, arg string) {
	utf8 := false
	if i := strings.LastIndexByte(arg, ' '); i >= 0 && strings.EqualFold(arg[i+1:], "SMTPUTF8") {
		arg, utf8 = strings.TrimRight(arg[:i], " "), true
	}
	_, offered := m.offers["SMTPUTF8"]
	ascii := !strings.ContainsFunc(arg, func(c rune) bool { return c > 0x7f })
	switch {
	case utf8 && !offered:
		m.answer(verb, wants(555))
	case arg == "":
		m.answer(verb, wants(501))
	case !ascii && (!utf8 || !isText(arg)):
		m.answer(verb, wants(500))
	default:
		if c, ok := m.call(verb, arg); ok {
			m.answer(verb, wanted(c))
		}
	}
}

// unknown is everything else. A verb that the handler added isn't seen by UNKNOWN, and may be answered with anything.
func (m *Model) unknown(verb, arg string) {
	http := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PRI"}
	switch {
	case slices.Contains(http, verb): // RFC 5321 §7.8
		m.answer("", wants(421).andClose())
	case !m.rules.NoDisconnect && (len(m.calls) == 0 || m.calls[0].Verb != "UNKNOWN" || m.calls[0].Args[0] != verb):
		m.hooked = true
		if len(m.replies) > 0 {
			m.junk++
			m.take(wants(m.replies[0].Code))
		}
	default:
		if c, ok := m.call("UNKNOWN", verb, arg); ok {
			m.answer("", wanted(c))
		}
	}
}

// isHello reports whether a verb's reply has no enhanced status code (RFC 2034 §4).
func isHello(verb string) bool { return verb == "HELO" || verb == "EHLO" || verb == "LHLO" }
