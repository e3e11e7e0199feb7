package esmtp

import (
	"context"
	"crypto/tls"
	"errors"
)

// greet runs CONNECT and writes the greeting. It reports whether the session goes on.
func (s *Session) greet() bool {
	fewEnough := s.srv.admitAddr(s) && !s.overRate(eventConnection, s.cfg.rates.Connections)
	if s.isTLS() && (!fewEnough || s.overRate(eventHandshake, s.cfg.rates.Handshakes)) {
		s.reason = ErrTooMany // without the cost of a handshake
		return false
	}
	if err := s.handshake(); err != nil {
		s.reason = err
		return false
	}
	switch limit := s.cfg.limits.Connections; {
	case !fewEnough:
		s.bye(replyTooManyPeer, ErrTooMany)
		return false
	case over(s.number, limit):
		s.bye(replyTooManyAll, ErrTooMany)
		return false
	}
	s.h = s.makeHandler()
	if s.h == nil {
		s.bye(replyUnavailable, ErrHangup)
		return false
	}
	r := s.checkReply("CONNECT", s.callCONNECT(), isGreeting)
	if r.Code/100 == 2 {
		r.Code = 220 // RFC 5321 §4.3.2
		if !s.holdGreeting() {
			return false
		}
	} else {
		s.refused = true
		s.reason = ErrRefused
	}
	s.write(r, replyFormat{})
	if s.leaving {
		s.flush()
	}
	return !s.leaving
}

// handshake does the handshake of a connection that is in TLS from the start, so that CONNECT sees the state of it.
func (s *Session) handshake() error {
	c, ok := s.conn.(handshaker)
	if !ok {
		_, s.secure = s.conn.(interface{ ConnectionState() tls.ConnectionState })
		return nil
	}
	s.secure = true
	if err := s.shakeHands(c); err != nil {
		return errors.Join(ErrTLS, err)
	}
	return nil
}

// handshaker is a *tls.Conn, or what stands for one.
type handshaker interface {
	HandshakeContext(context.Context) error
}

// shakeHands does a handshake within a time limit.
func (s *Session) shakeHands(c handshaker) error {
	if err := s.expectRead(s.elapsed(), handshakeTime); err != nil {
		return err
	}
	if err := s.expectWrite(); err != nil {
		return err
	}
	return c.HandshakeContext(context.Background())
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
