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
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay/resolver"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
)

// Family says which addresses of a host to use, and in which order.
type Family uint8

// The families.
const (
	Mixed     Family = iota // an IPv6 address, an IPv4 address, and so on
	IPv4First               // Mixed, with IPv4 first
	IPv6Only
	IPv4Only
)

// Host is one host of a hop.
type Host struct {
	tlspolicy.Peer // its names, and how far the DNS can be trusted

	Hop Hop

	// Addrs are to be tried in this order; none for a Unix socket.
	Addrs []netip.AddrPort
}

// Router looks up the hosts of hops. Set the fields before the first call; any goroutine may call its methods.
type Router struct {
	// Resolver asks the DNS.
	Resolver resolver.Resolver

	// Hostnames are the names that we have in MX records. A message is not handed to a host that is no more preferred than we are
	// (RFC 5321 §5.1).
	Hostnames []string

	// Own reports whether who connects to an address comes to us, for MX records that have other names for us. It is not asked about hosts that
	// the operator has chosen. Nil: none is known.
	Own func(netip.AddrPort) bool

	// Family says which addresses to use.
	Family Family

	// AllowPrivate lets MX records and address literals lead to addresses that are not public; see [resolver.IsPublic]. A hop that the operator
	// has set may always be such a one.
	AllowPrivate bool

	// MaxHosts and MaxAddrs bound how many hosts of a domain, and how many addresses of a host, are used: those that come first.
	// Zero: 10, and 8.
	MaxHosts, MaxAddrs int
}

// The replies for domains without a way. The texts are for the sender, who reads them in a report.
var (
	errNoDomain = esmtp.Deny(550, 5, 1, 2, "the domain doesn't exist, or has no mail server")
	errNullMX   = esmtp.Deny(556, 5, 1, 10, "the domain takes no mail") // RFC 7505 §4
	errNoHost   = esmtp.Deny(550, 5, 4, 4, "none of the domain's mail servers has an address that can be used")
	errPrivate  = esmtp.Deny(550, 5, 4, 4, "the address is not a public one")
	errLoop     = esmtp.Deny(554, 5, 4, 6, "mail for the domain would come back to us")
	errDNS      = esmtp.Deny(451, 4, 4, 3, "the DNS has no answer for now")
)

// Direct returns the hop for mail to a domain, as [esmtp.Path.Domain] has it: the domain's mail exchangers, or the host of an address
// literal (RFC 5321 §4.1.3). The error wraps a permanent [esmtp.Reply].
func Direct(domain string) (Hop, error) {
	if strings.HasPrefix(domain, "[") {
		addr, err := literal(domain)
		return Hop{Host: addr.String(), Port: SMTP.port(), Untrusted: true}, err
	}
	name := strings.ToLower(strings.TrimSuffix(domain, "."))
	if !resolver.IsName(name) || looksLikeAddr(name) {
		return Hop{}, fmt.Errorf("route: %q is no domain: %w", domain, errNoDomain)
	}
	return Hop{MX: true, Host: name, Port: SMTP.port()}, nil
}

// literal reads an address literal, "[192.0.2.1]" or "[IPv6:2001:db8::1]".
func literal(domain string) (netip.Addr, error) {
	text := strings.TrimSuffix(strings.TrimPrefix(domain, "["), "]")
	if len(text) > 5 && strings.EqualFold(text[:5], "IPv6:") {
		text = text[5:]
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return addr, fmt.Errorf("route: %q has no address that we know of: %w", domain, errNoDomain)
	}
	return addr.Unmap(), nil
}

// Hosts returns the hosts of a hop in the order in which to try them: at least one, each with at least one address or a socket.
//
// An error wraps an [esmtp.Reply], which [esmtp.ReplyOf] finds: permanent if the domain does not exist (550 5.1.2), takes no mail (556
// 5.1.10), would come back to us (554 5.4.6) or has no host that can be used (550 5.4.4), else temporary (451 4.4.3). If the
// context ends that is the error.
func (r *Router) Hosts(ctx context.Context, hop Hop) ([]Host, error) {
	if hop.Path != "" {
		return []Host{{Hop: hop}}, nil
	}
	if addr, err := netip.ParseAddr(hop.Host); err == nil {
		return r.address(hop, addr)
	}
	list := []exchange{{name: hop.Host, secure: true}}
	if hop.MX {
		var err error
		if list, err = r.exchanges(ctx, hop.Host); err != nil {
			return nil, err
		}
	}
	r.lookUp(ctx, list, hop)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("route: %s: %w", hop, context.Cause(ctx))
	}
	if hop.MX {
		var err error
		if list, err = r.beforeUs(list, hop.Host); err != nil {
			return nil, err
		}
	}
	var hosts []Host
	for _, x := range list {
		if len(x.addrs) > 0 {
			hosts = append(hosts, x.host(hop))
		}
	}
	if len(hosts) == 0 {
		return nil, noHost(hop, list)
	}
	return hosts, nil
}

// address is the host of a hop that is an address.
func (r *Router) address(hop Hop, addr netip.Addr) ([]Host, error) {
	if hop.Untrusted {
		if r.Own != nil && r.Own(netip.AddrPortFrom(addr, hop.Port)) {
			return nil, fmt.Errorf("route: %s is our own: %w", addr, errLoop)
		}
		if !r.AllowPrivate && !resolver.IsPublic(addr) {
			return nil, fmt.Errorf("route: %s: %w", addr, errPrivate)
		}
	}
	return []Host{{Hop: hop, Peer: tlspolicy.Peer{Host: addr.String(), Canonical: addr.String(), Port: hop.Port, MXSecure: true}, Addrs: []netip.AddrPort{netip.AddrPortFrom(addr, hop.Port)}}}, nil
}

// beforeUs leaves the hosts that are more preferred than we are (RFC 5321 §5.1): our name or our address is in the list, and whoever
// comes after us, or as good, would only give us the message back.
func (r *Router) beforeUs(list []exchange, domain string) ([]exchange, error) {
	end := len(list)
	for i, x := range list {
		if r.isUs(x) {
			end = slices.IndexFunc(list[:i+1], func(y exchange) bool { return y.preference == x.preference })
			break // the list is sorted
		}
	}
	if end == 0 {
		return nil, fmt.Errorf("route: we are the best mail exchanger of %s: %w", domain, errLoop)
	}
	return list[:end], nil
}

func (r *Router) isUs(x exchange) bool {
	return slices.ContainsFunc(r.Hostnames, func(name string) bool { return strings.EqualFold(strings.TrimSuffix(name, "."), x.name) }) || x.own
}

// noHost is why none of the hosts has an address.
func noHost(hop Hop, list []exchange) error {
	reply := errNoHost
	if len(list) == 1 && list[0].implicit {
		reply = errNoDomain
	}
	for _, x := range list {
		if x.err != nil { // perhaps it has one tomorrow
			return fmt.Errorf("route: %s: %w: %w", hop, errDNS, x.err)
		}
	}
	return fmt.Errorf("route: %s: %w", hop, reply)
}
