package caddymodule

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-esmtp/esmtp"
)

func init() {
	caddy.RegisterModule(new(MatchRemoteIP))
	caddy.RegisterModule(new(MatchLocalIP))
}

// Ranges are addresses and networks that the address of a connection can be in. An IPv4 address in IPv6 form, ::ffff:192.0.2.1, is that IPv4
// address. A Unix socket has none.
type Ranges struct {
	// Ranges are networks, such as 192.0.2.0/24 and 2001:db8::/32, single addresses, and the word private_ranges: 10.0.0.0/8, 172.16.0.0/12,
	// 192.168.0.0/16, 127.0.0.0/8, fd00::/8 and ::1. %eth0 behind an IPv6 one is a zone; without it all zones match. Placeholders are allowed.
	Ranges []string `json:"ranges"`

	list []ipRange
}

// privateRanges are what Caddy's sites mean by private_ranges (RFC 1918, RFC 4193, loopback).
var privateRanges = []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fd00::/8", "::1"}

// ipRange is a network.
type ipRange struct {
	netip.Prefix
	zone string // "": any
}

// parseRange reads a network or an address.
func parseRange(text string) (r ipRange, err error) {
	network, zone, hasZone := strings.Cut(text, "%")
	if strings.Contains(network, "/") {
		r.Prefix, err = netip.ParsePrefix(network)
	} else if addr, e := netip.ParseAddr(network); e == nil {
		r.Prefix = netip.PrefixFrom(addr, addr.BitLen())
	} else {
		err = e
	}
	mapped := err == nil && r.Addr().Is4In6()
	switch {
	case err != nil, hasZone && (zone == "" || r.Addr().Is4() || mapped), mapped && r.Bits() < 96:
		return r, fmt.Errorf("%q is no address and no network, such as 192.0.2.0/24", text)
	case r.Prefix != r.Masked():
		return r, fmt.Errorf("%q is no network: did you mean %s or %s?", text, r.Masked(), r.Addr())
	case mapped:
		r.Prefix = netip.PrefixFrom(r.Addr().Unmap(), r.Bits()-96)
	}
	r.zone = zone
	return r, nil
}

// contains reports whether an address is in the network.
func (r ipRange) contains(addr netip.Addr) bool {
	return (r.zone == "" || r.zone == addr.Zone()) && r.Contains(addr.Unmap().WithZone(""))
}

// Provision reads the ranges.
func (m *Ranges) Provision(caddy.Context) error {
	m.list = nil
	for _, text := range m.Ranges {
		text, err := replace("ranges", text)
		if err != nil {
			return err
		}
		texts := []string{text}
		if text == "private_ranges" {
			texts = privateRanges
		}
		for _, text := range texts {
			r, err := parseRange(text)
			if err != nil {
				return err
			}
			m.list = append(m.list, r)
		}
	}
	if len(m.list) == 0 {
		return errors.New("there are no networks to match")
	}
	return nil
}

// has reports whether an address is in one of the networks.
func (m *Ranges) has(addr net.Addr) bool {
	ip := addrPort(addr).Addr()
	for _, r := range m.list {
		if r.contains(ip) {
			return true
		}
	}
	return false
}

// addrPort returns the address and port of a connection's end, none if it is a Unix socket.
func addrPort(addr net.Addr) netip.AddrPort {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return ap
}

// UnmarshalCaddyfile reads the networks behind the name of the matcher.
func (m *Ranges) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return readWords(d, &m.Ranges, "networks, such as 192.0.2.0/24, or private_ranges", func() error { return m.Provision(caddy.Context{}) })
}

// readWords reads the lines of a matcher that takes words, and checks those without placeholders.
func readWords(d *caddyfile.Dispenser, words *[]string, want string, check func() error) error {
	for d.Next() {
		name, placeholder := d.Val(), false
		if d.CountRemainingArgs() == 0 {
			return d.Errf("%s takes %s", name, want)
		}
		before := *words
		*words = nil
		for d.NextArg() {
			placeholder = placeholder || strings.Contains(d.Val(), "{")
			*words = append(*words, d.Val())
		}
		if !placeholder { // else it is checked when its value is known
			if err := check(); err != nil {
				return d.Errf("%s: %w", name, err)
			}
		}
		*words = append(before, *words...)
		if d.NextBlock(0) {
			return d.Errf("%s takes no block", name)
		}
	}
	return nil
}

// MatchRemoteIP matches sessions by the client's address. Behind the PROXY protocol that is what the proxy says; XCLIENT comes too late.
//
//	remote_ip <network...>|private_ranges
type MatchRemoteIP struct{ Ranges }

// CaddyModule returns the Caddy module information.
func (*MatchRemoteIP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.matchers.remote_ip", New: func() caddy.Module { return new(MatchRemoteIP) }}
}

// Match reports whether the client is in one of the networks.
func (m *MatchRemoteIP) Match(s *esmtp.Session) bool { return m.has(s.RemoteAddr()) }

// MatchLocalIP matches sessions by the address that the client connected to. Behind the PROXY protocol that is what the proxy says.
//
//	local_ip <network...>|private_ranges
type MatchLocalIP struct{ Ranges }

// CaddyModule returns the Caddy module information.
func (*MatchLocalIP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.matchers.local_ip", New: func() caddy.Module { return new(MatchLocalIP) }}
}

// Match reports whether our address is in one of the networks.
func (m *MatchLocalIP) Match(s *esmtp.Session) bool { return m.has(s.LocalAddr()) }

// Interface guards
var (
	_ caddy.Provisioner     = (*MatchRemoteIP)(nil)
	_ caddyfile.Unmarshaler = (*MatchRemoteIP)(nil)
	_ Matcher               = (*MatchRemoteIP)(nil)
	_ Matcher               = (*MatchLocalIP)(nil)
)
