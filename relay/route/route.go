// Package route finds out where mail for a domain goes: from a domain or a next hop to hosts with their addresses, in the order in which
// to try them.
//
// The one idea: everything that decides the way is here, and nothing is connected to. [Table] says which domains go to next hops that
// the operator has chosen; [Direct] makes a hop of any other domain; [Router] turns a [Hop] into [Host]s, with MX records, addresses and all
// that RFC 5321 §5 and RFC 7505 say of them.
//
//	hop, err := route.Direct("example.org")
//	hosts, err := router.Hosts(ctx, hop)
package route

import (
	"context"
	"net/netip"

	"github.com/caddy-esmtp/esmtp/relay/resolver"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
)

// Family says which addresses of a host to use, and in which order.
type Family uint8

// The families.
const (
	Mixed     Family = iota // an IPv6 address, an IPv4 address, and so on
	IPv6                    // no IPv4
	IPv4                    // no IPv6
	IPv4First               // Mixed, with IPv4 first
)

// Host is one host of a hop.
type Host struct {
	tlspolicy.Peer // Its names and how far the DNS can be trusted; Peer.Host is what to show as Remote-MTA.

	Hop Hop

	// Addrs are to be tried in this order; none for a Unix socket.
	Addrs []netip.AddrPort
}

// Router looks up the hosts of hops. Set the fields before the first call; any goroutine may call its methods.
type Router struct {
	// Resolver asks the DNS.
	Resolver resolver.Resolver

	// Hostnames are the names that we have in MX records. A message is not handed to a host that is less preferred than we are
	// (RFC 5321 §5.1).
	Hostnames []string

	// Own reports whether an address is our own, for MX records that have other names for us. Nil: none is known.
	Own func(netip.Addr) bool

	// Family says which addresses to use.
	Family Family

	// AllowPrivate lets MX records and address literals lead to addresses that are not public; see [resolver.IsPublic]. A hop that the operator
	// has set may always be such a one.
	AllowPrivate bool

	// MaxHosts and MaxAddrs bound how many hosts of a domain, and how many addresses of a host, are used: those that come first.
	// Zero: 10, and 8.
	MaxHosts, MaxAddrs int
}

// Hosts returns the hosts of a hop in the order in which to try them: at least one, each with at least one address or a socket.
//
// An error wraps an [esmtp.Reply], which [esmtp.ReplyOf] finds: permanent if the domain does not exist (550 5.1.2), takes no mail (556
// 5.1.10), would come back to us (554 5.4.6) or has no host that can be used (550 5.4.4), else temporary (451 4.4.3). If the
// context ends that is the error.
func (r *Router) Hosts(ctx context.Context, hop Hop) ([]Host, error) { return nil, nil }

// Direct returns the hop for mail to a domain, as [esmtp.Path.Domain] has it: the domain's mail exchangers, or the host of an address
// literal. The error wraps a permanent [esmtp.Reply].
func Direct(domain string) (Hop, error) { return Hop{}, nil }
