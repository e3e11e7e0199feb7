package esmtp

import (
	"context"
	"crypto/tls"
	"errors"
	"time"
)

// greet runs CONNECT and writes the greeting. It reports whether the session goes on.
func (s *Session) greet() bool {
	fewEnough := s.srv.admitAddr(s)
	s.connected()
	if s.aborted.Load() {
		return false
	}
	if !fewEnough {
		s.limited(LimitConnectionsPerAddress)
	}
	fewEnough = fewEnough && !s.overRate(eventConnection, s.cfg.rates.Connections)
	if s.isTLS() && (!fewEnough || s.overRate(eventHandshake, s.cfg.rates.Handshakes)) {
		s.reason = ErrTooMany // without the cost of a handshake
		return false
	}
	if err := s.handshake(); err != nil {
		s.reason = err
		return false
	}
	s.state.Store(uint32(StateBusy))
	switch limit := s.cfg.limits.Connections; {
	case !fewEnough:
		s.bye(replyTooManyPeer, ErrTooMany)
		return false
	case over(s.number, limit):
		s.limited(LimitConnections)
		s.bye(replyTooManyAll, ErrTooMany)
		return false
	}
	if s.selectSettings() {
		s.h = s.makeHandler()
	}
	if s.h == nil {
		s.bye(replyUnavailable, ErrHangup)
		return false
	}
	r := s.connect()
	if r.Code == 220 && !s.holdGreeting() {
		return false
	}
	s.write(r, replyFormat{})
	s.replied("CONNECT", r, 0)
	if s.greeted = r.Code == 220; !s.greeted {
		s.turnedAway(r, ErrRefused)
	}
	if s.leaving {
		s.flush()
	}
	return !s.leaving
}

// selectSettings takes over those that Select chooses. It reports false if they are of no use.
func (s *Session) selectSettings() bool {
	if s.srv.Select == nil {
		return true
	}
	var chosen *Server
	ok := false
	s.guard("Select", func() {
		chosen = s.srv.Select(s)
		ok = true
	})
	if !ok || chosen == nil || chosen == s.srv {
		return ok
	}
	err := chosen.start()
	if err == nil {
		err = chosen.cfg.checkPort(s.LocalAddr())
	}
	if err != nil {
		s.Logger().Error("the chosen settings are wrong", "error", err)
		return false
	}
	s.configure(&chosen.cfg)
	if s.trusts(s.cfg.trustXCLIENT) {
		s.srv.uncount(s)
	}
	return true
}

// connect calls CONNECT, and returns the greeting.
func (s *Session) connect() Reply {
	r := s.checkReply("CONNECT", s.callCONNECT(), isGreeting)
	if r.Code/100 == 2 {
		r.Code = 220 // RFC 5321 §4.3.2
	} else {
		s.refused = true
		s.reason = ErrRefused
	}
	return r
}

// handshake does the handshake of a connection that is in TLS from the start, so that CONNECT sees the state of it.
func (s *Session) handshake() error {
	c, ok := s.conn.(handshaker)
	if !ok {
		if _, secure := s.conn.(connectionStater); secure {
			s.setSecure()
		}
		return nil
	}
	took, err := s.shakeHands(c)
	if err != nil {
		return errors.Join(ErrTLS, err)
	}
	s.setSecure()
	s.securedIn(took, nil)
	return nil
}

// connectionStater is a connection in TLS.
type connectionStater interface {
	ConnectionState() tls.ConnectionState
}

// setSecure notes that the connection is in TLS.
func (s *Session) setSecure() {
	version := s.TLS().Version
	s.mu.Lock()
	s.secure, s.tlsVersion = true, version
	s.mu.Unlock()
}

// handshaker is a *tls.Conn, or what stands for one.
type handshaker interface {
	HandshakeContext(context.Context) error
}

// shakeHands does a handshake within a time limit. The observer is told of one that fails; of one that succeeds the caller tells it, once the
// session is in TLS.
func (s *Session) shakeHands(c handshaker) (took time.Duration, err error) {
	if err := s.expectRead(s.elapsed(), handshakeTime); err != nil {
		return 0, err
	}
	if err := s.expectWrite(); err != nil {
		return 0, err
	}
	if s.state.Store(uint32(StateOpening)); s.srv.draining.Load() {
		return 0, ErrShutdown // who is silent would hold it up, and has missed being closed for it
	}
	defer s.state.Store(uint32(StateBusy))
	begun := s.elapsed()
	err = c.HandshakeContext(context.Background())
	took = s.elapsed() - begun
	if before, ok := c.(interface{ HandshakeTime() time.Duration }); ok {
		took = before.HandshakeTime()
	}
	if err != nil && !s.aborted.Load() {
		s.securedIn(took, err)
		s.failed(ClassHandshake, err)
	}
	return took, err
}

// isTLS reports whether the connection is in TLS from the start.
func (s *Session) isTLS() bool {
	_, ok := s.conn.(handshaker)
	return ok
}

// makeHandler calls the factory, which is code of the user's: nil if it panics or returns nothing.
func (s *Session) makeHandler() (h Handler) {
	s.guard("NewHandler", func() { h = s.cfg.newHandler(s) })
	if h != nil {
		s.wantsHeader = overrides(h, "HEADER")
	}
	return h
}
