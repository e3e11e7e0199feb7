package esmtp

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// BodyType is the BODY parameter of MAIL (RFC 6152, RFC 3030).
type BodyType uint8

// The body types. Body7Bit is the default.
const (
	Body7Bit BodyType = iota
	Body8BitMIME
	BodyBinaryMIME // lone CR and LF are content; comes by BDAT only
)

// String returns the name as on the wire.
func (b BodyType) String() string { return [...]string{"7BIT", "8BITMIME", "BINARYMIME"}[b] }

// Body returns the declared body type of MAIL.
func (p Path) Body() BodyType {
	switch v, _ := p.Param("BODY"); {
	case equalFold(v, "8BITMIME"):
		return Body8BitMIME
	case equalFold(v, "BINARYMIME"):
		return BodyBinaryMIME
	}
	return Body7Bit
}

// Size returns the declared message size of MAIL in octets (RFC 1870), and whether there was one.
func (p Path) Size() (octets int64, ok bool) {
	v, ok := p.Param("SIZE")
	if !ok {
		return 0, false
	}
	return parseSize(v), true
}

// SMTPUTF8 reports whether MAIL asked for internationalised mail (RFC 6531).
func (p Path) SMTPUTF8() bool {
	_, ok := p.Param("SMTPUTF8")
	return ok
}

// Ret returns what a delivery status notification should return: "FULL", "HDRS", or "" if MAIL didn't say
// (RFC 3461 §4.3).
func (p Path) Ret() string {
	v, _ := p.Param("RET")
	return strings.ToUpper(v)
}

// EnvID returns the envelope identifier of MAIL, decoded; "" if there was none (RFC 3461 §4.4).
func (p Path) EnvID() string {
	v, _ := p.Param("ENVID")
	id, _ := decodeXtext(v)
	return id
}

// Auth returns the AUTH parameter of MAIL, decoded: who submitted the message first, as far as the client knows; "<>" if it doesn't, and ""
// without the parameter (RFC 4954 §5). Believe it only from a client that you trust.
func (p Path) Auth() string {
	v, _ := p.Param("AUTH")
	name, _ := decodeXtext(v)
	return name
}

// Notify is a set of the conditions for which RCPT wants a notification (RFC 3461 §4.1).
type Notify uint8

// The conditions. The zero Notify says that the client left it to the server.
const (
	NotifyNever Notify = 1 << iota // stands alone
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Notify returns the NOTIFY parameter of RCPT.
func (p Path) Notify() Notify {
	v, _ := p.Param("NOTIFY")
	n, _ := parseNotify(v)
	return n
}

func parseNotify(v string) (n Notify, ok bool) {
	if equalFold(v, "NEVER") {
		return NotifyNever, true
	}
	for word := range strings.SplitSeq(v, ",") {
		switch {
		case equalFold(word, "SUCCESS"):
			n |= NotifySuccess
		case equalFold(word, "FAILURE"):
			n |= NotifyFailure
		case equalFold(word, "DELAY"):
			n |= NotifyDelay
		default:
			return 0, false
		}
	}
	return n, true
}

// ORcpt returns the original recipient of RCPT, decoded, and the type of its address, such as "rfc822"; both
// are empty if there was none (RFC 3461 §4.2, RFC 6533 §3).
func (p Path) ORcpt() (addrType, addr string) {
	v, _ := p.Param("ORCPT")
	addrType, text, _ := strings.Cut(v, ";")
	if equalFold(addrType, "utf-8") {
		addr, _ = decodeUnitext(text)
	} else {
		addr, _ = decodeXtext(text)
	}
	return addrType, addr
}

// decodeXtext decodes xtext (RFC 3461 §4): printable ASCII without "+" and "=", and "+" with two upper-case
// hexadecimal digits.
func decodeXtext(s string) (string, bool) {
	if strings.IndexByte(s, '+') < 0 {
		return s, isXchars(s)
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) || !isUpperHex(s[i+1]) || !isUpperHex(s[i+2]) {
				return "", false
			}
			n, _ := strconv.ParseUint(s[i+1:i+3], 16, 8)
			c = byte(n)
			i += 2
		} else if !isXchar(c) {
			return "", false
		}
		b = append(b, c)
	}
	return string(b), true
}

// decodeUnitext decodes the address of type utf-8 (RFC 6533 §3): UTF-8 and \x{HEX} for what can't stand there.
// Control characters can't be smuggled in by an escape.
func decodeUnitext(s string) (string, bool) {
	var b strings.Builder
	for len(s) > 0 {
		if strings.HasPrefix(s, `\x{`) {
			hex, rest, ok := strings.Cut(s[3:], "}")
			n, err := strconv.ParseUint(hex, 16, 32)
			if !ok || err != nil || unicode.IsControl(rune(n)) || !utf8.ValidRune(rune(n)) {
				return "", false
			}
			b.WriteRune(rune(n))
			s = rest
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError || r == ' ' || unicode.IsControl(r) || r == '+' || r == '=' || r == '\\' {
			return "", false
		}
		b.WriteString(s[:n])
		s = s[n:]
	}
	return b.String(), true
}

func isXchars(s string) bool {
	for i := range len(s) {
		if !isXchar(s[i]) {
			return false
		}
	}
	return true
}

func isXchar(c byte) bool { return '!' <= c && c <= '~' && c != '+' && c != '=' }

func isUpperHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' }
