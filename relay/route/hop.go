package route

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"

	"github.com/caddy-esmtp/esmtp/relay/resolver"
)

// Protocol is what is spoken to a next hop.
type Protocol uint8

// The protocols.
const (
	SMTP  Protocol = iota
	LMTP           // RFC 2033
	SMTPS          // SMTP with TLS from the first octet (RFC 8314 §3.3)
)

// String returns the scheme of an address: "smtp", "lmtp", "smtps".
func (p Protocol) String() string { return [...]string{"smtp", "lmtp", "smtps"}[p] }

// port is the usual one of a protocol.
func (p Protocol) port() uint16 { return [...]uint16{25, 24, 465}[p] }

// ErrHop is what [ParseHop] returns, wrapped.
var ErrHop = errors.New("route: bad next hop")

// Hop is where to hand mail on to, before any name is looked up: an immutable value that can be compared, and the key of a map.
type Hop struct {
	Protocol Protocol

	// MX: Host is a domain, whose mail exchangers are meant.
	MX bool

	// Untrusted: Host is an address that a stranger has named, in an address literal. It must be a public one, as those of mail exchangers.
	Untrusted bool

	// Host is a name in lower case with A-labels and without a last dot, or an address without brackets; "" for a socket.
	Host string

	// Port is the TCP port; 0 for a socket.
	Port uint16

	// Path is that of a Unix socket.
	Path string

	// User is who to log in as. A password is never in an address.
	User string
}

// ParseHop reads a next hop:
//
//	mx.example.org            SMTP to that host, port 25: its addresses, not its MX records
//	mx.example.org:587        another port
//	192.0.2.1  [192.0.2.1]:25  2001:db8::1  [2001:db8::1]:25
//	user@mx.example.org:587   to log in as user
//	smtps://host              TLS from the start, port 465
//	lmtp://host               LMTP, port 24
//	mx://example.org          SMTP to the mail exchangers of a domain
//	unix//run/lmtp.sock       LMTP to a Unix socket, as is lmtp+unix:///run/lmtp.sock
//	smtp+unix:///run/sock     SMTP to a Unix socket
//
// Its error wraps [ErrHop] and says what is wrong. What [Hop.String] returns is read as the same Hop, except that it is no longer Untrusted.
func ParseHop(s string) (Hop, error) {
	h, err := parseHop(s)
	if err != nil {
		if strings.Contains(s, "@") { // perhaps a password, that must not come into a log
			s = "…" + s[strings.LastIndexByte(s, '@'):]
		}
		return Hop{}, fmt.Errorf("%w %q: %w", ErrHop, s, err)
	}
	return h, nil
}

func parseHop(s string) (h Hop, err error) {
	if path, ok := strings.CutPrefix(s, "unix/"); ok {
		return Hop{Protocol: LMTP, Path: path}, checkPath(path)
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "smtp", s
	}
	switch strings.ToLower(scheme) {
	case "smtp":
	case "mx":
		h.MX = true
	case "lmtp":
		h.Protocol = LMTP
	case "smtps":
		h.Protocol = SMTPS
	case "smtp+unix":
		return Hop{Path: rest}, checkPath(rest)
	case "lmtp+unix":
		return Hop{Protocol: LMTP, Path: rest}, checkPath(rest)
	default:
		return h, errors.New("the scheme is none of smtp, smtps, lmtp, mx, smtp+unix, lmtp+unix")
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		h.User, rest = rest[:i], rest[i+1:]
		if strings.Contains(h.User, ":") {
			return h, errors.New("a password must not stand in an address")
		}
		if h.User == "" || strings.ContainsFunc(h.User, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' || r == 0xfffd }) {
			return h, errors.New("the user's name is empty, or has a character that it can't have")
		}
	}
	return h, h.parseHost(rest)
}

// parseHost reads "host", "host:port" and the forms with an address.
func (h *Hop) parseHost(s string) error {
	host, port := s, ""
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Is4() { // a bare IPv6 address has no port
		if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
			host, port = s[:i], s[i+1:]
		}
	}
	h.Port = h.Protocol.port()
	if host != s {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] == '+' {
			return errors.New("the port is no number from 1 to 65535")
		}
		h.Port = uint16(n)
	}
	if literal, ok := strings.CutPrefix(host, "["); ok {
		host, ok = strings.CutSuffix(literal, "]")
		if _, err := netip.ParseAddr(host); err != nil || !ok {
			return errors.New("there is no address in the brackets")
		}
	}
	h.Host, err = hostName(host)
	if _, isAddr := netip.ParseAddr(h.Host); err == nil && isAddr == nil && h.MX {
		return errors.New("an address has no mail exchangers")
	}
	if err == nil && h.MX && h.User != "" { // whoever answers for the domain's DNS would get the password
		return errors.New("nobody logs in at the mail exchangers of a domain: name the host")
	}
	return err
}

// hostName returns a name or an address as [Hop] has it.
func hostName(s string) (string, error) {
	if addr, err := netip.ParseAddr(s); err == nil && (addr.Zone() == "" || resolver.IsName(addr.Zone())) {
		return addr.Unmap().String(), nil
	}
	name, err := idna.Lookup.ToASCII(strings.TrimSuffix(s, "."))
	if err != nil {
		name = s // an underscore, perhaps, which names have that aren't hosts' by the book
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !resolver.IsName(name) || looksLikeAddr(name) {
		return "", errors.New("the host is neither a name nor an address")
	}
	return name, nil
}

// looksLikeAddr reports whether the last label of a name is a number: so is that of no domain, and it could be taken for an address.
func looksLikeAddr(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	return strings.Trim(last, "0123456789") == ""
}

func checkPath(path string) error {
	if !strings.HasPrefix(path, "/") || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
		return errors.New("the path of a socket begins with '/', and has no control characters")
	}
	return nil
}

// String returns the address in the form that [ParseHop] reads, with the port always.
func (h Hop) String() string {
	if h.Path != "" {
		return h.Protocol.String() + "+unix://" + h.Path
	}
	s := h.Protocol.String() + "://"
	if h.MX {
		s = "mx://"
	}
	if h.User != "" {
		s += h.User + "@"
	}
	host := h.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return s + host + ":" + strconv.Itoa(int(h.Port))
}
