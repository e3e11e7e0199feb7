// Package resolver asks the DNS what the delivery of mail needs to know: MX, addresses, TXT and TLSA records, and whether the answer is
// authentic.
//
// The one idea is that the last is part of every answer. A stub resolver can't check DNSSEC; it can believe a validating server that says
// so (the AD bit) if nobody can stand in between, that is, if the server runs on this machine (RFC 7672 §2.1). [Client] believes
// servers on loopback addresses, and those that it is told to.
//
//	dns, err := resolver.New(resolver.Config{})
//	answer, err := dns.Lookup(ctx, "example.org", resolver.MX)
package resolver

import (
	"context"
	"errors"
	"net/netip"

	"github.com/miekg/dns"
)

// Type is a type of records.
type Type uint16

// The types that a Resolver must know.
const (
	A     Type = 1
	CNAME Type = 5
	MX    Type = 15
	TXT   Type = 16
	AAAA  Type = 28
	TLSA  Type = 52
)

// String returns the name of the type, "MX".
func (t Type) String() string { return dns.Type(t).String() }

// Errors of a lookup; match them with errors.Is. That a name exists without records of the type is no error.
var (
	ErrNotFound  = errors.New("resolver: no such name")                   // NXDOMAIN
	ErrTemporary = errors.New("resolver: the DNS doesn't answer for now") // SERVFAIL, timeouts, answers that make no sense
	ErrName      = errors.New("resolver: that is no domain name")
)

// Resolver looks up records. Any goroutine may call it.
type Resolver interface {
	// Lookup returns the records of type t at name, a domain name with or without its last dot, CNAMEs followed. Its errors are the
	// ones of this package, wrapped, or the context's.
	Lookup(ctx context.Context, name string, t Type) (Answer, error)
}

// Answer is what the DNS has for one name and type. The slice for the type that was asked for is set, the others are nil; all is shared
// with others, so don't change it.
type Answer struct {
	// Name is where the CNAMEs led: the name that has the records, in lower case and without its last dot.
	Name string

	// Secure says that DNSSEC vouches for the whole answer, CNAMEs included.
	Secure bool

	Addrs []netip.Addr // A, AAAA
	MX    []Exchange
	TXT   []string // the strings of a record joined
	TLSA  []Association
}

// Exchange is an MX record (RFC 1035 §3.3.9). Host is in lower case, without its last dot: "" is the null MX (RFC 7505).
type Exchange struct {
	Preference uint16
	Host       string
}

// Association is a TLSA record (RFC 6698 §2.1).
type Association struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// IsPublic reports whether an address can be one of a host on the Internet: not loopback, private (RFC 1918, RFC 4193), link-local, shared
// (RFC 6598), multicast, unspecified or reserved, nor one of these written as an IPv6 address. Whoever publishes a domain decides
// which addresses it names, and must not reach our own network through us.
func IsPublic(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if !addr.IsGlobalUnicast() || addr.IsPrivate() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(addr) {
			return false
		}
	}
	if b := addr.As16(); nat64.Contains(addr) { // RFC 6052 §2.1
		return IsPublic(netip.AddrFrom4([4]byte(b[12:])))
	} else if sixToFour.Contains(addr) { // RFC 3056 §2
		return IsPublic(netip.AddrFrom4([4]byte(b[2:])))
	}
	return true
}

var (
	notPublic = []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),      // RFC 1122 §3.2.1.3
		netip.MustParsePrefix("100.64.0.0/10"),  // RFC 6598
		netip.MustParsePrefix("198.18.0.0/15"),  // RFC 2544
		netip.MustParsePrefix("240.0.0.0/4"),    // RFC 1112 §4
		netip.MustParsePrefix("::/96"),          // RFC 4291 §2.5.5.1
		netip.MustParsePrefix("64:ff9b:1::/48"), // RFC 8215
		netip.MustParsePrefix("100::/64"),       // RFC 6666
		netip.MustParsePrefix("2001::/32"),      // RFC 4380: there is an IPv4 address in it
		netip.MustParsePrefix("fec0::/10"),      // RFC 3879
	}
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")
)
