package esmtp

import "strings"

// Path is a reverse-path or a forward-path (RFC 5321 §4.1.2): an address and the parameters that came with
// it. It is an immutable value; keep it as long as you like.
type Path struct {
	raw    string // between the brackets, without a source route
	local  string // without quotes and escapes
	domain string // in lower case, A-labels
	params string // as sent: "SIZE=1000 BODY=8BITMIME"
}

// IsNull reports whether p is the null reverse-path, <> (RFC 5321 §4.5.5).
func (p Path) IsNull() bool { return p.raw == "" }

// Local returns the local part, without quotes and escapes, in the case in which it was sent. It can hold
// any octet but control characters: '/', '"', '%', a space. Never use it as a path, a command or a query
// without checking it.
func (p Path) Local() string { return p.local }

// Domain returns the domain, ready to be compared: in lower case, U-labels as A-labels. An address literal
// is in brackets. It is empty for the null path and for <postmaster>.
func (p Path) Domain() string { return p.domain }

// Raw returns the address as the client wrote it, without brackets and source route.
func (p Path) Raw() string { return p.raw }

// String returns the address in its canonical form: the local part quoted if it has to be, '@', and
// [Path.Domain]. The null path is the empty string.
func (p Path) String() string {
	local := p.local
	if !isDotString(local) && p.raw != "" {
		local = quoteLocal(local)
	}
	if p.domain == "" {
		return local
	}
	return local + "@" + p.domain
}

// IsPostmaster reports whether p is the address that every server must accept mail for: <postmaster>
// without a domain, or postmaster at the given domain, in any case (RFC 5321 §4.5.1).
func (p Path) IsPostmaster(domain string) bool {
	return equalFold(p.local, "postmaster") && (p.domain == "" || equalFold(p.domain, domain))
}

// Param returns the value of an ESMTP parameter as it was sent, and whether it was there. The name is
// compared without case; a parameter without a value has the empty one.
func (p Path) Param(name string) (value string, ok bool) {
	for param := range strings.SplitSeq(p.params, " ") { // not Fields: there are more spaces in UTF-8
		key, value, _ := strings.Cut(param, "=")
		if equalFold(key, name) {
			return value, true
		}
	}
	return "", false
}

// Params returns all ESMTP parameters as they were sent, separated by spaces.
func (p Path) Params() string { return p.params }

// equalFold compares ASCII without case. Unlike strings.EqualFold it folds nothing else: the long s and
// the Kelvin sign are no letters of a keyword.
func equalFold[A, B string | []byte](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

// isDotString reports whether a local part needs no quotes (RFC 5321 §4.1.2, RFC 6531 §3.3).
func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '.' && !isAtext(c) {
			return false
		}
	}
	return true
}

// isAtext reports whether c can stand in an atom; octets of UTF-8 can under SMTPUTF8.
func isAtext(c byte) bool { return atext[c] }

var atext = func() (t [256]bool) {
	for c := range len(t) {
		t[c] = isAlnum(byte(c)) || c >= 0x80 || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", byte(c)) >= 0
	}
	return t
}()

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func quoteLocal(local string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(local) {
		if local[i] == '"' || local[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(local[i])
	}
	b.WriteByte('"')
	return b.String()
}
