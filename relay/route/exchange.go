package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"

	"github.com/caddy-esmtp/esmtp/relay/resolver"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
)

// exchange is a host in the making: an MX record, or a host without one, and then its addresses.
type exchange struct {
	preference uint16
	name       string
	secure     bool // how we came to the name
	implicit   bool // the domain itself, for lack of MX records

	addrs      []netip.Addr
	canonical  string
	addrSecure bool
	own        bool  // one of the addresses is ours
	err        error // temporary
}

func (x exchange) host(hop Hop) Host {
	h := Host{Hop: hop, Peer: tlspolicy.Peer{Host: x.name, Canonical: x.canonical, Port: hop.Port, MXSecure: x.secure, AddrSecure: x.addrSecure}}
	if hop.MX {
		h.Domain = hop.Host
	}
	for _, a := range x.addrs {
		h.Addrs = append(h.Addrs, netip.AddrPortFrom(a, hop.Port))
	}
	return h
}

// exchanges returns the mail exchangers of a domain, the most preferred first, equal ones in random order (RFC 5321 §5.1).
func (r *Router) exchanges(ctx context.Context, domain string) ([]exchange, error) {
	a, err := r.Resolver.Lookup(ctx, domain, resolver.MX)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("route: %s: %w", domain, context.Cause(ctx))
	case errors.Is(err, resolver.ErrNotFound):
		return nil, fmt.Errorf("route: %s: %w: %w", domain, errNoDomain, err)
	case err != nil:
		return nil, fmt.Errorf("route: %s: %w: %w", domain, errDNS, err)
	case len(a.MX) == 0: // the implicit MX: only without any record
		return []exchange{{name: domain, secure: a.Secure, implicit: true}}, nil
	}
	var list []exchange
	null := false
	for _, mx := range a.MX {
		if mx.Host == "" {
			null = true
		} else if resolver.IsName(mx.Host) && !looksLikeAddr(mx.Host) {
			list = append(list, exchange{preference: mx.Preference, name: mx.Host, secure: a.Secure})
		}
	}
	if len(list) == 0 {
		if null {
			return nil, fmt.Errorf("route: %s: %w", domain, errNullMX)
		}
		return nil, fmt.Errorf("route: the MX records of %s have no names: %w", domain, errNoHost)
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	slices.SortStableFunc(list, func(x, y exchange) int { return cmp.Compare(x.preference, y.preference) })
	if list, err = r.beforeUs(list, domain); err != nil {
		return nil, err
	}
	return list[:min(len(list), cmp.Or(r.MaxHosts, 10))], nil
}

// lookUp finds the addresses of all hosts at once.
func (r *Router) lookUp(ctx context.Context, list []exchange, hop Hop) {
	var wg sync.WaitGroup
	for i := range list {
		wg.Go(func() { r.addresses(ctx, &list[i], hop) })
	}
	wg.Wait()
}

// addresses finds the addresses of one host. What the DNS has of one family is good enough if the other can't be had.
func (r *Router) addresses(ctx context.Context, x *exchange, hop Hop) {
	var v4, v6 resolver.Answer
	var err4, err6 error
	var wg sync.WaitGroup
	if r.Family != IPv6Only {
		wg.Go(func() { v4, err4 = r.Resolver.Lookup(ctx, x.name, resolver.A) })
	}
	if r.Family != IPv4Only {
		wg.Go(func() { v6, err6 = r.Resolver.Lookup(ctx, x.name, resolver.AAAA) })
	}
	wg.Wait()
	x.canonical, x.addrSecure = x.name, true
	for _, a := range []resolver.Answer{v4, v6} {
		if len(a.Addrs) > 0 {
			x.canonical = a.Name
			x.addrSecure = x.addrSecure && a.Secure
		}
	}
	for _, err := range []error{err4, err6} {
		if err != nil && !errors.Is(err, resolver.ErrNotFound) {
			x.err = err
		}
	}
	all := slices.Concat(v4.Addrs, v6.Addrs)
	x.own = r.Own != nil && slices.ContainsFunc(all, func(a netip.Addr) bool { return r.Own(netip.AddrPortFrom(a, hop.Port)) })
	public := hop.MX && !r.AllowPrivate
	usable := func(addrs []netip.Addr) []netip.Addr {
		return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return public && !resolver.IsPublic(a) })
	}
	x.addrs = mix(usable(v6.Addrs), usable(v4.Addrs), r.Family == IPv4First)
	x.addrs = x.addrs[:min(len(x.addrs), cmp.Or(r.MaxAddrs, 8))]
}

// mix shuffles addresses (which a cache returns in the same order every time) and takes one of each family in turn: where one family doesn't
// work the second attempt does.
func mix(v6, v4 []netip.Addr, v4First bool) []netip.Addr {
	for _, s := range [][]netip.Addr{v6, v4} {
		rand.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
	}
	if v4First {
		v6, v4 = v4, v6
	}
	var all []netip.Addr
	for i := range max(len(v6), len(v4)) {
		if i < len(v6) {
			all = append(all, v6[i])
		}
		if i < len(v4) {
			all = append(all, v4[i])
		}
	}
	return all
}
