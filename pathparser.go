package esmtp

import (
	"bytes"
	"net/netip"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits of RFC 5321 §4.5.3.1.1 to §4.5.3.1.3.
const (
	maxLocalPart = 64
	maxDomain    = 255
	maxPath      = 256 // with its brackets
)

// parsedPath is a path whose parts are slices of the command line.
type parsedPath struct {
	raw    []byte // without brackets and source route; empty for the null path
	local  []byte // as written, perhaps quoted
	domain []byte // as written; empty for the null path and <postmaster>
	rest   []byte // what follows the path
	quoted bool   // local is a quoted string
	ascii  bool   // no octet above 127
}

// parsePath reads a path (RFC 5321 §4.1.2): the null path, a mailbox, a mailbox behind a source route (which
// is stripped, RFC 5321 appendix C), or a local part alone, which only the caller can allow. Lenient means
// that a bracket or both may be missing, that dots in the local part may stand anywhere, and that a domain may
// have an underscore, as names in the DNS do.
func parsePath(arg []byte, lenient bool) (p parsedPath, ok bool) {
	angle := len(arg) > 0 && arg[0] == '<'
	if !angle && (!lenient || len(arg) == 0) {
		return p, false
	}
	s := arg
	if angle {
		s = s[1:]
		if len(s) > 0 && s[0] == '>' {
			s = s[1:]
			return parsedPath{rest: s, ascii: true}, len(s) == 0 || s[0] == ' '
		}
		if s, ok = skipSourceRoute(s, lenient); !ok {
			return p, false
		}
	}
	begin := s
	if p.local, s, p.quoted, ok = scanLocal(s, lenient); !ok || len(p.local) > maxLocalPart {
		return p, false
	}
	if len(s) > 0 && s[0] == '@' {
		if p.domain, s, ok = scanDomain(s[1:], lenient); !ok {
			return p, false
		}
	}
	p.raw = begin[:len(begin)-len(s)]
	p.ascii = isASCII(p.raw)
	if len(s) > 0 && s[0] == '>' && (angle || lenient) {
		s = s[1:]
	} else if angle && !lenient {
		return p, false
	}
	p.rest = s
	if len(p.raw)+2 > maxPath || !p.ascii && !isText(p.raw) {
		return p, false
	}
	if long := len(p.local)+2 > maxLocalPart || len(p.raw)+4 > maxPath; long && !p.quoted && !isDotString(string(p.local)) {
		return p, false // no room for the quotes that it needs
	}
	return p, len(s) == 0 || s[0] == ' '
}

// skipSourceRoute strips "@a,@b:" (RFC 5321 §3.6.1: accepted and ignored).
func skipSourceRoute(s []byte, lenient bool) ([]byte, bool) {
	if len(s) == 0 || s[0] != '@' {
		return s, true
	}
	for {
		_, rest, ok := scanDomain(s[1:], lenient)
		if !ok || len(rest) == 0 {
			return nil, false
		}
		if rest[0] == ':' {
			return rest[1:], true
		}
		if len(rest) < 2 || rest[0] != ',' || rest[1] != '@' {
			return nil, false
		}
		s = rest[1:]
	}
}

// scanLocal reads a Dot-string or a Quoted-string from the front of s.
func scanLocal(s []byte, lenient bool) (local, rest []byte, quoted, ok bool) {
	if len(s) > 0 && s[0] == '"' {
		n := scanQuoted(s)
		return s[:n], s[n:], true, n > 0
	}
	n := 0
	for n < len(s) && (s[n] == '.' || isAtext(s[n])) {
		if s[n] == '.' && !lenient && (n == 0 || s[n-1] == '.') {
			return nil, nil, false, false
		}
		n++
	}
	return s[:n], s[n:], false, n > 0 && (lenient || s[n-1] != '.')
}

// scanQuoted returns the length of the quoted string at the front of s, 0 if there is none. qtextSMTP is
// %d32-33 / %d35-91 / %d93-126 and UTF-8, a quoted pair is "\" %d32-126.
func scanQuoted(s []byte) int {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			if i == 1 {
				return 0 // an empty local part names nobody
			}
			return i + 1
		case c == '\\':
			i++
			if i >= len(s) || s[i] < ' ' || s[i] > '~' {
				return 0
			}
		case c < ' ' || c == 0x7f:
			return 0
		}
	}
	return 0
}

// scanDomain reads a domain or an address literal from the front of s.
func scanDomain(s []byte, lenient bool) (domain, rest []byte, ok bool) {
	if len(s) > 0 && s[0] == '[' {
		end := bytes.IndexByte(s, ']')
		if end < 0 || !isAddressLiteral(s[1:end]) {
			return nil, nil, false
		}
		return s[:end+1], s[end+1:], end < maxDomain
	}
	n, label := 0, 0 // label: where the current one began
	for ; n < len(s); n++ {
		c := s[n]
		if c == '.' {
			if n == label || s[n-1] == '-' {
				return nil, nil, false
			}
			label = n + 1
			continue
		}
		if !isAlnum(c) && c < 0x80 && (c != '-' || n == label) && (c != '_' || !lenient) {
			break
		}
		if n-label >= 63 && isASCII(s[label:n]) {
			return nil, nil, false
		}
	}
	if n == label || n > maxDomain || s[n-1] == '-' {
		return nil, nil, false
	}
	return s[:n], s[n:], true
}

// isAddressLiteral checks what stands between the brackets (RFC 5321 §4.1.3): an IPv4 address, "IPv6:" and an
// IPv6 address, or a tag, a colon and dcontent.
func isAddressLiteral(s []byte) bool {
	tag, content, ok := bytes.Cut(s, []byte{':'})
	if !ok {
		a, err := netip.ParseAddr(string(s))
		return err == nil && a.Is4()
	}
	if equalFold(tag, "IPv6") {
		a, err := netip.ParseAddr(string(content))
		return err == nil && a.Is6() && a.Zone() == ""
	}
	if len(tag) == 0 || !isAlnum(tag[len(tag)-1]) || len(content) == 0 {
		return false
	}
	for _, c := range tag {
		if !isAlnum(c) && c != '-' {
			return false
		}
	}
	for _, c := range content {
		if c < '!' || c > '~' || c == '[' || c == '\\' || c == ']' {
			return false
		}
	}
	return true
}

// makePath turns the slices into strings, ready to be kept and compared.
func (a *arena) makePath(p *parsedPath, params []byte) (path Path, ok bool) {
	if len(p.raw) == 0 {
		return Path{params: a.text(params)}, true
	}
	path.raw = a.text(p.raw)
	path.params = a.text(params)
	if path.local = path.raw[:len(p.local)]; p.quoted {
		path.local = a.text(unquote(p.local))
	}
	path.domain = path.raw[len(path.raw)-len(p.domain):]
	switch {
	case !isASCII(p.domain):
		// RFC 6531 §3.2: a U-label must be a valid IDNA label; as an A-label it can be compared.
		domain, err := idna.Lookup.ToASCII(path.domain)
		if err != nil || !isDomainOrLiteral(domain) || len(path.local)+len("<@>")+len(domain) > maxPath {
			return Path{}, false // it can become empty, or end with a dot
		}
		path.domain = domain
	case hasUpper(p.domain):
		path.domain = a.text(bytes.ToLower(p.domain))
	}
	return path, true
}

// unquote takes the quotes and the backslashes off a quoted string.
func unquote(s []byte) []byte {
	out := make([]byte, 0, len(s))
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '\\' {
			i++
		}
		out = append(out, s[i])
	}
	return out
}

// isText reports whether s is UTF-8 without control characters; C1 has some too.
func isText(s []byte) bool {
	return utf8.Valid(s) && bytes.IndexFunc(s, unicode.IsControl) < 0
}

func hasUpper(s []byte) bool {
	for _, c := range s {
		if 'A' <= c && c <= 'Z' {
			return true
		}
	}
	return false
}

func isASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
