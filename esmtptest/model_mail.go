package esmtptest

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parameter is a parameter of MAIL or RCPT: what enables it, by how much it lengthens the line, and its value.
type parameter struct {
	keyword string
	room    int
	value   *regexp.Regexp // nil: none
}

const (
	xtext = `(?:[!-*,-<>-~]|\+[2-6][0-9A-F]|\+7[0-9A-E])+` // printable once decoded (RFC 3461 §4)
	word  = `(?i:SUCCESS|FAILURE|DELAY)`
	utc   = `[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}[Zz]` // the model's own dates are all right, and in UTC
	class = `[A-Za-z][A-Za-z0-9._:-]*`
)

var parameters = map[string]map[string]parameter{
	"MAIL": {
		"SIZE":     {"SIZE", 26, regexp.MustCompile(`^[0-9]{1,20}$`)},
		"BODY":     {"8BITMIME", 17, regexp.MustCompile(`^(?i:7BIT|8BITMIME|BINARYMIME)$`)},
		"SMTPUTF8": {"SMTPUTF8", 10, nil},
		"RET":      {"DSN", 9, regexp.MustCompile(`^(?i:FULL|HDRS)$`)},
		"ENVID":    {"DSN", 107, regexp.MustCompile(`^` + xtext + `$`)},
		"AUTH":     {"AUTH", 500, regexp.MustCompile(`^` + xtext + `$`)}, // RFC 4954 §5
		"PRDR":     {"PRDR", 5, nil},                                     // draft-hall-prdr

		"REQUIRETLS":  {"REQUIRETLS", 11, nil},
		"BY":          {"DELIVERBY", 17, regexp.MustCompile(`^([+-]?[0-9]{1,9};[Nn]|\+?0*[1-9][0-9]*;[Rr])[Tt]?$`)},
		"HOLDFOR":     {"FUTURERELEASE", 0, regexp.MustCompile(`^[1-9][0-9]{0,8}$`)},
		"HOLDUNTIL":   {"FUTURERELEASE", 34, regexp.MustCompile(`^` + utc + `$`)},
		"MT-PRIORITY": {"MT-PRIORITY", 15, regexp.MustCompile(`^(-?[1-9]|0)$`)},
		"SOLICIT":     {"NO-SOLICITING", 1007, regexp.MustCompile(`^` + class + `(,` + class + `)*$`)},
	},
	"RCPT": {
		"NOTIFY": {"DSN", 29, regexp.MustCompile(`^((?i:NEVER)|` + word + `(,` + word + `)*)$`)},
		"ORCPT":  {"DSN", 507, regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]*;` + xtext + `$`)},
		"RRVS":   {"RRVS", 33, regexp.MustCompile(`^` + utc + `(;[CRcr])?$`)},
	},
}

// notParameters are extensions of this package that bring no parameter of their own name.
var notParameters = map[string]bool{
	"8BITMIME": true, "DSN": true, "PIPELINING": true, "ENHANCEDSTATUSCODES": true, "CHUNKING": true,
	"BINARYMIME": true, "LIMITS": true, "HELP": true, "SIZE": true, "SMTPUTF8": true,
	"STARTTLS": true, "AUTH": true, "PRDR": true, "REQUIRETLS": true, "DELIVERBY": true, "FUTURERELEASE": true, "MT-PRIORITY": true,
	"RRVS": true, "NO-SOLICITING": true, "ETRN": true, "XCLIENT": true, "XFORWARD": true,
}

var isValue = regexp.MustCompile(`^[!-<>-~]+$`)

// checkParams is RFC 5321 §4.1.1.11: 0, or the code that the first bad parameter gets.
func (m *Model) checkParams(verb, params string) int {
	seen := map[string]bool{}
	list := strings.Fields(params)
	for i, p := range list {
		name, value, has := strings.Cut(p, "=")
		if !isKeyword.MatchString(name) || has && !isValue.MatchString(value) {
			return 501
		}
		name = strings.ToUpper(name)
		def, known := parameters[verb][name]
		_, custom := m.offers[name]
		tolerated := slices.ContainsFunc(m.rules.TolerateParams, func(n string) bool { return strings.EqualFold(n, name) })
		if !known {
			if (!custom || notParameters[name]) && !tolerated {
				return 555
			}
			if hasParam(list[i+1:], name) {
				return 501
			}
			continue
		}
		_, offered := m.offers[def.keyword]
		switch {
		case !offered && name == "REQUIRETLS" && m.needsTLS:
			return 550 // RFC 8689 §7
		case !offered:
			return 555
		case seen[name], has != (def.value != nil), has && !def.value.MatchString(value):
			return 501
		case name == "ENVID" && len(value) > 100, name == "ORCPT" && len(value) > 500:
			return 501
		case m.overOffer(name, value) != 0:
			return m.overOffer(name, value)
		}
		seen[name] = true
	}
	if seen["HOLDFOR"] && (seen["HOLDUNTIL"] || seen["BY"] && atoi(value(list, "HOLDFOR")) > atoi(value(list, "BY"))) ||
		seen["HOLDUNTIL"] && seen["BY"] && value(list, "HOLDUNTIL") > "2030" { // RFC 4865 §4.2 (9), §5.2.2
		return 501
	}
	return 0
}

// overOffer is the reply to a value that is more than EHLO offered: RFC 3030 §3, RFC 2852 §3, RFC 4865 §4.2 (7), (8).
func (m *Model) overOffer(name, value string) int {
	limits := strings.Fields(m.offers["FUTURERELEASE"])
	_, binary := m.offers["BINARYMIME"]
	switch {
	case name == "BODY" && strings.EqualFold(value, "BINARYMIME") && !binary:
		return 555
	case name == "BY" && strings.ContainsAny(value, "Rr") && atoi(value) < atoi(m.offers["DELIVERBY"]):
		return 555
	case name == "HOLDFOR" && atoi(value) > atoi(limits[0]), name == "HOLDUNTIL" && strings.ToUpper(value) > limits[1]:
		return 501
	}
	return 0
}

// atoi reads the number at the front of a value.
func atoi(s string) int {
	n, _ := strconv.Atoi(regexp.MustCompile(`^[+-]?[0-9]*`).FindString(s))
	return n
}

// value returns the value of a parameter.
func value(list []string, name string) string {
	for _, p := range list {
		if key, value, _ := strings.Cut(p, "="); strings.EqualFold(key, name) {
			return value
		}
	}
	return ""
}

func hasParam(list []string, name string) bool {
	for _, p := range list {
		if key, _, _ := strings.Cut(p, "="); strings.EqualFold(key, name) {
			return true
		}
	}
	return false
}

const (
	atom  = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
	label = `[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?`
)

var (
	plainDomain = regexp.MustCompile(`^` + label + `(?:\.` + label + `)*$`)
	plainPath   = regexp.MustCompile(`^<((` + atom + `(?:\.` + atom + `)*)@(` + label + `(?:\.` + label + `)*)|(?i:postmaster)|)>(?: +(.*))?$`)
)

// path reads the argument of MAIL or RCPT (RFC 5321 §4.1.2). Paths that are plainly right are known, and so is what lacks
// the keyword; for others the model leaves it to the engine whether they are paths, and looks only at what follows from that.
func (m *Model) path(arg, keyword string) (raw, params string, known, bad bool) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", "", true, true
	}
	arg = arg[len(keyword):]
	if !m.rules.Strict {
		arg = strings.TrimLeft(arg, " ")
	}
	p := plainPath.FindStringSubmatch(arg)
	if p == nil || len(p[1]) > 254 || len(p[2]) > 64 || len(p[3]) > 255 || strings.ContainsFunc(p[4], func(c rune) bool { return c > '~' }) || strings.Contains(strings.ToUpper(p[4]), "=UTF-8;") {
		return "", "", false, arg == ""
	}
	return p[1], p[4], true, false
}

// calledFor reports whether the next call is one for this command, and not for a later one.
func (m *Model) calledFor(verb, arg string) bool {
	if len(m.calls) == 0 || m.calls[0].Verb != verb {
		return false
	}
	raw, params := m.calls[0].Args[0], m.calls[0].Args[1]
	refused := len(m.replies) > 0 && slices.Contains([]int{501, 550, 552, 553, 555}, m.replies[0].Code)
	return strings.Contains(arg, raw) && strings.HasSuffix(arg, params) && (raw != "" || strings.Contains(arg, "<>")) &&
		(!refused || slices.Contains(wanted(m.calls[0]).codes, m.replies[0].Code))
}

// mail is RFC 5321 §4.1.1.2.
func (m *Model) mail(arg string) {
	raw, params, known, bad := m.path(arg, "FROM:")
	called := m.calledFor("MAIL", arg)
	switch {
	case !m.rules.AllowNoHELO && m.helo == "", m.tx != nil: // §4.1.4
		m.answer("MAIL", wants(503))
	case over(m.mails+1, m.maxMails): // RFC 9422 §4.1
		m.overLimit("MAIL")
	case bad, known && raw != "" && !strings.Contains(raw, "@"):
		m.answer("MAIL", wants(501))
	case known && m.checkParams("MAIL", params) != 0:
		m.answer("MAIL", wants(m.checkParams("MAIL", params)))
	case known && over(sizeOf(params), m.maxSize): // RFC 1870 §6.1
		m.answer("MAIL", wants(552))
	case !known && !called:
		m.answer("MAIL", wants(501, 550, 552, 553, 555))
	default:
		if !known {
			raw, params = m.calls[0].Args[0], m.calls[0].Args[1]
			m.checkUnknownPath(raw, params)
		}
		m.begin(raw, params)
	}
}

// begin asks MAIL. Only a success leaves a transaction.
func (m *Model) begin(raw, params string) {
	list := strings.Split(strings.ToUpper(params), " ")
	m.tx = &modelTx{sender: raw, utf8: hasParam(list, "SMTPUTF8"), prdr: hasParam(list, "PRDR"), binary: strings.Contains(" "+strings.Join(list, " ")+" ", " BODY=BINARYMIME ")}
	c, ok := m.call("MAIL", raw, params)
	if !ok {
		return
	}
	w := wanted(c)
	if len(w.codes) == 0 || w.codes[0] >= 300 {
		m.tx = nil
	} else {
		m.mails++
	}
	m.answer("MAIL", w)
}

// rcpt is RFC 5321 §4.1.1.3.
func (m *Model) rcpt(arg string) {
	raw, params, known, bad := m.path(arg, "TO:")
	called := m.calledFor("RCPT", arg)
	switch {
	case m.tx == nil, m.tx.bdat != "": // §4.1.4, RFC 3030 §2
		m.answer("RCPT", wants(503))
	case over(len(m.tx.rcpts)+1, m.maxRcpts): // §4.5.3.1.10
		m.overLimit("RCPT")
	case bad, known && raw == "":
		m.answer("RCPT", wants(501))
	case known && m.checkParams("RCPT", params) != 0:
		m.answer("RCPT", wants(m.checkParams("RCPT", params)))
	case !known && !called:
		m.answer("RCPT", wants(501, 553, 555))
	default:
		if !known {
			raw, params = m.calls[0].Args[0], m.calls[0].Args[1]
			m.checkUnknownPath(raw, params)
		}
		c, ok := m.call("RCPT", raw, params)
		if !ok {
			return
		}
		w := wanted(c)
		if len(w.codes) > 0 && w.codes[0] < 300 {
			m.tx.rcpts = append(m.tx.rcpts, raw)
		} else {
			m.tx.refused++
		}
		m.answer("RCPT", w)
	}
}

// overLimit is a command over an announced limit. The client may not have known, so the first thousand are no errors.
func (m *Model) overLimit(verb string) {
	if m.overshoot++; m.overshoot <= 1000 {
		m.errors--
	}
	m.answer(verb, wants(452))
}

// checkUnknownPath checks what must hold for any address that a method gets.
func (m *Model) checkUnknownPath(raw, params string) {
	switch {
	case len(raw) > 254:
		m.fail("path of %d octets", len(raw))
	case !isText(raw + params):
		m.fail("path %q %q is not text", raw, params)
	}
}

// isText reports whether s is UTF-8 without control characters.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || 0x7f <= c && c < 0xa0 })
}

func sizeOf(params string) int64 {
	for _, p := range strings.Fields(params) {
		if key, value, _ := strings.Cut(p, "="); strings.EqualFold(key, "SIZE") {
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				return n
			}
			return 1<<63 - 1
		}
	}
	return 0
}
