package esmtp

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// parameter is an ESMTP parameter of MAIL or RCPT that this package knows. A new extension adds its rows here.
type parameter struct {
	name  string
	verb  verb                    // where it may stand: verbMAIL or verbRCPT
	ext   extension               // that enables it
	check func(value string) bool // its syntax; nil: takes no value
	room  int                     // octets by which it lengthens the command line (RFC 5321 §4.1.1.11)

	// allow is what the session says to a value whose syntax is right: limits that EHLO advertised. nil: nothing.
	allow func(s *Session, value string) Reply
}

var parameters = [...]parameter{
	{"SIZE", verbMAIL, extSIZE, isSize, 26, nil},                               // RFC 1870 §3
	{"BODY", verbMAIL, ext8BITMIME, isBody, 17, allowBody},                     // RFC 6152 §2, RFC 3030 §3
	{"SMTPUTF8", verbMAIL, extSMTPUTF8, nil, 10, nil},                          // RFC 6531 §3.1
	{"RET", verbMAIL, extDSN, isRet, 9, nil},                                   // RFC 3461 §4.3
	{"ENVID", verbMAIL, extDSN, isEnvID, 107, nil},                             // RFC 3461 §4.4
	{"AUTH", verbMAIL, extAUTH, isAuthParam, 500, nil},                         // RFC 4954 §5
	{"PRDR", verbMAIL, extPRDR, nil, 5, nil},                                   // draft-hall-prdr
	{"REQUIRETLS", verbMAIL, extREQUIRETLS, nil, 11, nil},                      // RFC 8689 §2 (5)
	{"BY", verbMAIL, extDELIVERBY, isDeliverBy, 17, allowDeliverBy},            // RFC 2852 §2 (5)
	{"HOLDFOR", verbMAIL, extFUTURERELEASE, isHoldFor, 0, allowHoldFor},        // RFC 4865 §3 (5): one of the two
	{"HOLDUNTIL", verbMAIL, extFUTURERELEASE, isHoldUntil, 34, allowHoldUntil}, // RFC 4865 §3 (5)
	{"MT-PRIORITY", verbMAIL, extMTPRIORITY, isPriority, 15, nil},              // RFC 6710 §3 (6)
	{"SOLICIT", verbMAIL, extNOSOLICITING, isSolicit, 1007, nil},               // RFC 3865 §4.1
	{"NOTIFY", verbRCPT, extDSN, isNotify, 29, nil},                            // RFC 3461 §4.1
	{"ORCPT", verbRCPT, extDSN, isORcpt, 507, nil},                             // RFC 3461 §4.2
	{"RRVS", verbRCPT, extRRVS, isRRVS, 33, nil},                               // RFC 7293 §3.1
}

// maxParamRoom is more than the parameters of any verb can add to its line.
const maxParamRoom = 2 << 10

// parseParams checks the parameters of MAIL or RCPT. It returns the zero Reply if all of them are known, enabled,
// well-formed and given once.
// Octets above 127 need a transaction that has SMTPUTF8.
func (s *Session) parseParams(v verb, params []byte) Reply {
	var seen uint
	if !isASCII(params) && (!isText(params) || !containsParam(params, []byte("SMTPUTF8")) && (s.tx == nil || !s.tx.SMTPUTF8())) {
		return s.replyParam("Octet above 127 in", []byte("parameters"))
	}
	for len(params) > 0 {
		var param []byte
		if param, params, _ = bytes.Cut(params, []byte{' '}); len(param) == 0 {
			continue
		}
		name, value, hasValue := bytes.Cut(param, []byte{'='})
		if !isKeyword(name) || hasValue && !isParamValue(value) {
			return s.replyParam("Malformed parameter", name)
		}
		i := findParameter(v, name)
		if i < 0 {
			if !s.offersCustom(name) && !s.tolerates(name) {
				return s.replyUnknownParam(name)
			}
			if containsParam(params, name) {
				return s.replyParam("Parameter given twice:", name)
			}
			continue
		}
		p := &parameters[i]
		switch {
		case !s.offered(p.ext):
			return s.replyNotOffered(p)
		case seen&(1<<i) != 0:
			return p.bad(s.replyParam("Parameter given twice:", name))
		case hasValue != (p.check != nil), p.check != nil && !p.check(string(value)):
			return p.bad(s.replyParam("Bad value of", name))
		}
		if p.allow != nil {
			if r := p.allow(s, string(value)); !r.IsZero() {
				return r
			}
		}
		seen |= 1 << i
	}
	return Reply{}
}

func (s *Session) replyParam(text string, name []byte) Reply {
	return Deny(501, 5, 5, 4, text+" "+string(name[:min(len(name), 64)]))
}

func (s *Session) replyUnknownParam(name []byte) Reply {
	return Deny(555, 5, 5, 4, "Parameter not recognized: "+string(name[:min(len(name), 64)]))
}

// replyNotOffered answers a parameter of an extension that was not offered.
func (s *Session) replyNotOffered(p *parameter) Reply {
	if p.ext == extREQUIRETLS && s.withheld&p.ext != 0 {
		return replyNeedREQUIRETLS // it would be honoured in TLS
	}
	return s.replyUnknownParam([]byte(p.name))
}

// bad gives the reply to a bad parameter the detail that its extension asks for.
func (p *parameter) bad(r Reply) Reply {
	if p.ext == extMTPRIORITY {
		r.Enh = Enhanced{5, 5, 2} // RFC 6710 §4.1
	}
	return r
}

// tolerates reports whether an unknown parameter is on the server's list of those that do no harm.
func (s *Session) tolerates(name []byte) bool {
	for _, n := range s.cfg.tolerate {
		if equalFold(name, n) {
			return true
		}
	}
	return false
}

// checkTolerate looks for names on that list that are no parameter, or one that must be refused while nobody honours it.
func checkTolerate(names []string) error {
	for _, n := range names {
		known := lookupExtension(n) != 0 || findParameter(verbMAIL, []byte(n)) >= 0 || findParameter(verbRCPT, []byte(n)) >= 0
		switch {
		case !isKeyword(n):
			return fmt.Errorf("esmtp: TolerateParams: %q is not the name of a parameter", n)
		case known:
			return fmt.Errorf("esmtp: TolerateParams: %s belongs to an extension: offer that in EHLO", n)
		}
	}
	return nil
}

func findParameter(v verb, name []byte) int {
	for i := range parameters {
		if parameters[i].verb == v && equalFold(name, parameters[i].name) {
			return i
		}
	}
	return -1
}

// containsParam reports whether params has a parameter of that name.
func containsParam(params, name []byte) bool {
	for param := range bytes.SplitSeq(params, []byte{' '}) {
		if key, _, _ := bytes.Cut(param, []byte{'='}); equalFold(key, name) {
			return true
		}
	}
	return false
}

// commandRoom is by how much the enabled extensions lengthen the line of a verb.
func (s *Session) commandRoom(v verb) (room int) {
	if v == verbAUTH && s.offered(extAUTH) {
		return maxSASLLine // RFC 4954 §4
	}
	for i := range parameters {
		if parameters[i].verb == v && s.offered(parameters[i].ext) {
			room += parameters[i].room
		}
	}
	return room
}

// isKeyword is esmtp-keyword and ehlo-keyword: (ALPHA / DIGIT) *(ALPHA / DIGIT / "-").
func isKeyword[T string | []byte](s T) bool {
	if len(s) == 0 || !isAlnum(s[0]) {
		return false
	}
	for i := range len(s) {
		if !isAlnum(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

// isParamValue is esmtp-value: 1*(%d33-60 / %d62-126), and UTF-8 (RFC 6531 §3.3).
func isParamValue(s []byte) bool {
	for _, c := range s {
		if c <= ' ' || c == '=' || c == 0x7f {
			return false
		}
	}
	return len(s) > 0
}

func isSize(v string) bool {
	if len(v) > 20 { // RFC 1870 §5
		return false
	}
	for i := range len(v) {
		if v[i] < '0' || v[i] > '9' {
			return false
		}
	}
	return v != ""
}

func isBody(v string) bool {
	return equalFold(v, "7BIT") || equalFold(v, "8BITMIME") || equalFold(v, "BINARYMIME")
}

// allowBody refuses BINARYMIME where only 8BITMIME was offered (RFC 3030 §3).
func allowBody(s *Session, v string) Reply {
	if equalFold(v, "BINARYMIME") && !s.offered(extBINARYMIME) {
		return s.replyUnknownParam([]byte("BODY"))
	}
	return Reply{}
}

func isRet(v string) bool { return equalFold(v, "FULL") || equalFold(v, "HDRS") }

func isEnvID(v string) bool {
	id, ok := decodeXtext(v)
	return ok && len(v) <= 100 && clean(id)
}

func isAuthParam(v string) bool {
	name, ok := decodeXtext(v)
	return ok && name != "" && clean(name)
}

func isNotify(v string) bool {
	_, ok := parseNotify(v)
	return ok
}

func isORcpt(v string) bool {
	addrType, xtext, ok := strings.Cut(v, ";")
	if !ok || !isKeyword(addrType) || len(v) > 500 {
		return false
	}
	if equalFold(addrType, "utf-8") {
		addr, ok := decodeUnitext(xtext)
		return ok && addr != ""
	}
	addr, ok := decodeXtext(xtext)
	return ok && addr != "" && clean(addr)
}

// parseSize reads a checked SIZE value; one that is too long for an int64 is as large as can be.
func parseSize(v string) int64 {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 1<<63 - 1
	}
	return n
}
