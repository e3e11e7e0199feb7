package esmtp

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
)

// admit puts s on the list of live sessions.
func (srv *Server) admit(s *Session) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.closing {
		return false
	}
	srv.sessions[s] = struct{}{}
	s.number = len(srv.sessions)
	srv.checkStress()
	return true
}

// admitAddr counts s for its address, and reports whether that has too many.
func (srv *Server) admitAddr(s *Session) bool {
	remote, local := s.conn.RemoteAddr(), s.conn.LocalAddr() // behind a PROXY protocol listener this can block
	srv.mu.Lock()
	defer srv.mu.Unlock()
	s.remote, s.local = remote, local
	return srv.count(s)
}

// count counts s for its client's address, and reports whether that has few enough. Those who speak for others are not counted. It is
// called with the lock held.
func (srv *Server) count(s *Session) bool {
	prefix := srv.clientPrefix(s.remote)
	if !prefix.IsValid() || prefix.Addr().IsLoopback() || s.trusts(s.cfg.trustXCLIENT) {
		return true
	}
	s.prefix = prefix
	s.peers = srv.clients.join(prefix)
	return !over(s.peers, srv.cfg.limits.ConnectionsPerAddress)
}

// uncount takes s out of the count of its client: because that speaks for others, or because the connection is closed, as the client may come back
// while the last lines are being logged.
func (srv *Server) uncount(s *Session) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	peers := s.peers
	srv.discount(s)
	s.peers = peers // Closed may ask
}

// dismiss takes s off the list.
func (srv *Server) dismiss(s *Session) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if _, ok := srv.sessions[s]; !ok {
		return
	}
	delete(srv.sessions, s)
	srv.checkStress()
	srv.discount(s)
	srv.checkIdle()
}

// discount takes back what count did. It is called with the lock held.
func (srv *Server) discount(s *Session) {
	if s.prefix.IsValid() {
		srv.clients.leave(s.prefix)
	}
	s.prefix, s.peers = netip.Prefix{}, 0
}

// checkStress notes whether the server is near its limit. It is called with the lock held.
func (srv *Server) checkStress() {
	limit := srv.cfg.limits.Connections
	srv.stressed.Store(limit > 0 && len(srv.sessions) >= limit-limit/10)
}

// checkIdle closes idle when nothing is left to wait for. It is called with the lock held.
func (srv *Server) checkIdle() {
	if len(srv.sessions) == 0 && srv.closing {
		select {
		case <-srv.idle:
		default:
			close(srv.idle)
		}
	}
}

// clientPrefix is what counts as one client: by default an IPv4 address, or an IPv6 /64, the smallest network that one gets.
func (srv *Server) clientPrefix(addr net.Addr) netip.Prefix {
	ip, ok := addrIP(addr)
	if !ok {
		return netip.Prefix{}
	}
	bits := srv.cfg.limits.IPv4Prefix
	switch {
	case ip.IsLoopback():
		bits = ip.BitLen()
	case ip.Is6():
		bits = srv.cfg.limits.IPv6Prefix
	}
	prefix, _ := ip.Prefix(bits)
	return prefix
}

func (srv *Server) track(l net.Listener) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.closing {
		return false
	}
	srv.listen[l] = struct{}{}
	return true
}

func (srv *Server) untrack(l net.Listener) {
	l.Close()
	srv.mu.Lock()
	defer srv.mu.Unlock()
	delete(srv.listen, l)
}

func (srv *Server) isClosing() bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return srv.closing
}

// Drain closes the listeners, and leaves the sessions alone: it returns nil when the last one has come to its own end, or the
// context's error when ctx ends first. Their handlers are told with [Outlived]. It is for a server that another one has taken over from; follow it with [Server.Shutdown].
func (srv *Server) Drain(ctx context.Context) error {
	if err := srv.start(); err != nil {
		return err
	}
	srv.mu.Lock()
	first := !srv.closing
	srv.closing = true
	srv.closeListeners()
	srv.checkIdle()
	live := slices.Collect(maps.Keys(srv.sessions))
	srv.mu.Unlock()
	if first {
		for _, s := range live {
			s.post(Outlived{}, maxPosted+1) // once, and so there is room for it
		}
	}
	select {
	case <-srv.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Shutdown ends the server gracefully. It closes the listeners; sessions that wait for a command get 421 4.3.2 at once, the
// others at their next command, and a message that is coming, by DATA or BDAT, may come whole and gets its reply first. Connections on which
// nothing was said yet, or that are in a TLS handshake, are closed: nothing can be lost there, and who is silent would hold it up.
// Shutdown returns nil when the last session is gone; when ctx ends first it closes what is left, as [Server.Close]
// does, and returns the context's error.
func (srv *Server) Shutdown(ctx context.Context) error {
	if err := srv.start(); err != nil {
		return err
	}
	srv.mu.Lock()
	if srv.draining.CompareAndSwap(false, true) {
		close(srv.ending)
	}
	srv.closing = true
	srv.closeListeners()
	live := make([]*Session, 0, len(srv.sessions))
	for s := range srv.sessions {
		live = append(live, s)
	}
	srv.checkIdle()
	srv.mu.Unlock()
	for _, s := range live {
		s.wake()
		if s.state.Load() == uint32(StateOpening) {
			s.abort()
		}
	}
	select {
	case <-srv.idle:
		return nil
	case <-ctx.Done():
		srv.Close()
		return ctx.Err()
	}
}

// Close closes all listeners and connections at once, whatever they are doing. It does not wait for the handlers; a
// [Server.Shutdown] after it does.
func (srv *Server) Close() error {
	if err := srv.start(); err != nil {
		return err
	}
	srv.mu.Lock()
	srv.closing = true
	srv.closeListeners()
	live := slices.Collect(maps.Keys(srv.sessions))
	srv.checkIdle()
	srv.mu.Unlock()
	for _, s := range live {
		s.abort()
	}
	return nil
}

// closeListeners is called with the lock held.
func (srv *Server) closeListeners() {
	for l := range srv.listen {
		l.Close()
	}
}
