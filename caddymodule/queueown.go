package caddymodule

import (
	"net"
	"net/netip"
	"slices"
)

// listensAt reports whether who connects to an address comes to a server of this process, whatever config that is of. Mail must not go there by way of
// MX records: it would come back (RFC 5321 §5.1).
func listensAt(to netip.AddrPort) (ours bool) {
	sockets.Range(func(_, value any) bool {
		ours = value.(*sharedSocket).takes(to)
		return !ours
	})
	return ours
}

// takes reports whether connections to an address come to the socket. One at an unspecified address has those to all addresses of this machine; "::" may have
// the IPv4 ones too.
func (s *sharedSocket) takes(to netip.AddrPort) bool {
	s.mu.Lock()
	l := s.l
	s.mu.Unlock()
	if l == nil {
		return false
	}
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok || tcp.AddrPort().Port() != to.Port() {
		return false
	}
	at, addr := tcp.AddrPort().Addr().Unmap(), to.Addr().Unmap()
	if !at.IsUnspecified() {
		return at == addr
	}
	return (at.Is6() || addr.Is4()) && isOfThisMachine(addr)
}

// isOfThisMachine reports whether an address is one of our interfaces, which change: a look costs little beside that for mail exchangers.
func isOfThisMachine(addr netip.Addr) bool {
	if addr.IsLoopback() || addr.IsUnspecified() {
		return true
	}
	all, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(all, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr() == addr
	})
}
