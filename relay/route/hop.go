package route

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
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

	// Host is a name in lower case with A-labels and without a last dot, or an address without brackets; "" for a socket.
	Host string

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
// Its error wraps [ErrHop] and says what is wrong.
func ParseHop(s string) (Hop, error) {
	return Hop{}, bad(s, "not yet")
}

func bad(s, why string) error { return &hopError{s, why} }

type hopError struct{ hop, why string }

func (e *hopError) Error() string { return ErrHop.Error() + " " + strconv.Quote(e.hop) + ": " + e.why }
func (e *hopError) Unwrap() error { return ErrHop }

var _, _, _, _ = netip.ParseAddr, strings.Cut, unicode.IsControl, idna.Lookup
