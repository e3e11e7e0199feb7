package esmtp

import (
	"crypto/tls"
	"errors"
	"net"
	"runtime/debug"
	"time"
)

// Observer is told what happens on a server: for metrics, events, and whoever looks on. A field that is nil costs nothing. All but Dropped are
// called on the session's goroutine, with no lock held, and must return soon: the client waits. A panic in one is logged.
type Observer struct {
	// Connected is told of a connection that was accepted, before it is greeted or refused.
	Connected func(s *Session)

	// Refused is told of a connection that was not greeted with 220, and why: [ErrRefused] if CONNECT said no, by r, [ErrTooMany], [ErrEarlyTalker]. Of
	// a client that left, or that failed in the handshake, it is not told.
	Refused func(s *Session, r Reply, why error)

	// Dropped is told of a connection that was closed without a word, because the server is far over Limits.Connections. It never becomes a session, and
	// nothing else is told of it. The address is nil if asking for it could block, as behind a PROXY protocol listener. It is called by
	// the goroutine that accepts: while it works nobody gets in.
	Dropped func(remote net.Addr)

	// Replied is told of each command that was answered: its verb in upper case, "" for one that is not known here, "CONNECT" for the greeting and "EOM"
	// for the end of a message; the reply, of several the one for all; and how long we took for it.
	Replied func(s *Session, verb string, r Reply, took time.Duration)

	// Secured is told of a TLS handshake: err is nil if it succeeded, and then [Session.TLS] has the state of it.
	Secured func(s *Session, took time.Duration, err error)

	// Authenticated is told of an AUTH that ended with r: 235, 535, or another. The mechanism is in upper case, and was offered; login is
	// who the client said it is, if it came to that.
	Authenticated func(s *Session, mechanism, login string, r Reply)

	// Message is told of each message that came whole: r is the reply for all recipients, and the transaction is s.Transaction.
	Message func(s *Session, r Reply, times MessageTimes)

	// Limited is told of each limit that a session hit.
	Limited func(s *Session, limit Limit)

	// Failed is told what [Handler].Failed is told, before it.
	Failed func(s *Session, e SessionError)

	// Ended is told of the end of each session that Connected was told of: err is what Closed gets.
	Ended func(s *Session, err error)
}

// MessageTimes is how long a message took.
type MessageTimes struct {
	Receive time.Duration // from the 354 or the first BDAT to its end
	Handle  time.Duration // EOM, and the replies that were put off
}

// Limit names a limit, as it is called in the Caddyfile and in the metrics.
type Limit string

// The limits: of [Limits], [Timeouts] and [Rates].
const (
	LimitCommandLine           Limit = "command_line"
	LimitHeader                Limit = "header"
	LimitMessageBytes          Limit = "max_size"
	LimitRecipients            Limit = "recipients"
	LimitMessages              Limit = "messages"
	LimitErrors                Limit = "errors"
	LimitJunk                  Limit = "junk"
	LimitAuthFailures          Limit = "auth_failures"
	LimitConnections           Limit = "connections"
	LimitConnectionsPerAddress Limit = "connections_per_address"
	LimitDataRate              Limit = "min_data_rate"
	LimitTime                  Limit = "time"
	LimitSessionTime           Limit = "session_time"
	LimitConnectionRate        Limit = "connection_rate"
	LimitMessageRate           Limit = "message_rate"
	LimitRecipientRate         Limit = "recipient_rate"
	LimitAuthFailureRate       Limit = "auth_failure_rate"
	LimitHandshakeRate         Limit = "handshake_rate"
)

// rateLimits names the events of a rateTable as limits.
var rateLimits = [events]Limit{LimitConnectionRate, LimitMessageRate, LimitRecipientRate, LimitAuthFailureRate, LimitHandshakeRate}

func (s *Session) limited(limit Limit) {
	if s.srv.cfg.observer.Limited != nil {
		s.guard("Observer.Limited", func() { s.srv.cfg.observer.Limited(s, limit) })
	}
}

func (s *Session) connected() {
	if s.srv.cfg.observer.Connected != nil {
		s.guard("Observer.Connected", func() { s.srv.cfg.observer.Connected(s) })
	}
}

// turnedAway tells of a connection that was not greeted.
func (s *Session) turnedAway(r Reply, why error) {
	if s.srv.cfg.observer.Refused != nil {
		s.guard("Observer.Refused", func() { s.srv.cfg.observer.Refused(s, r, why) })
	}
}

// drop closes a connection that is one too many by far.
func (srv *Server) drop(conn net.Conn) {
	remote := socketAddr(conn)
	conn.Close()
	if srv.cfg.observer.Dropped == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			srv.cfg.log.Error("panic in a handler", "verb", "Observer.Dropped", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	srv.cfg.observer.Dropped(remote)
}

// socketAddr is the client's address if that of the socket is it, else nil: a listener that stands between may have to wait for a proxy to tell it.
func socketAddr(conn net.Conn) net.Addr {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return conn.RemoteAddr()
	}
	return nil
}

// begin notes when a command began, if anybody wants to know.
func (s *Session) begin(v verb) {
	s.verb, s.atBoundary = v, false
	if s.srv.cfg.observer.Replied != nil {
		s.begun = s.elapsed()
	}
}

func (s *Session) replied(verb string, r Reply, begun time.Duration) {
	if s.srv.cfg.observer.Replied != nil {
		took := s.elapsed() - begun
		s.guard("Observer.Replied", func() { s.srv.cfg.observer.Replied(s, verb, r, took) })
	}
}

func (s *Session) securedIn(took time.Duration, err error) {
	if s.srv.cfg.observer.Secured != nil {
		s.guard("Observer.Secured", func() { s.srv.cfg.observer.Secured(s, took, err) })
	}
}

func (s *Session) authenticated(x *Exchange, r Reply) {
	if s.srv.cfg.observer.Authenticated != nil {
		s.guard("Observer.Authenticated", func() { s.srv.cfg.observer.Authenticated(s, x.mechanism, x.who.User, r) })
	}
}

func (s *Session) messageDone(r Reply, times MessageTimes) {
	if s.srv.cfg.observer.Message != nil {
		s.guard("Observer.Message", func() { s.srv.cfg.observer.Message(s, r, times) })
	}
}

// ended tells of the end. Who was not greeted, and why, it tells first: now that the connection is closed, no client waits for what observers do.
func (s *Session) ended() {
	if !s.greeted && !s.refused && (errors.Is(s.reason, ErrTooMany) || errors.Is(s.reason, ErrEarlyTalker)) {
		s.turnedAway(Reply{}, s.reason)
	}
	if s.srv.cfg.observer.Ended != nil {
		s.guard("Observer.Ended", func() { s.srv.cfg.observer.Ended(s, s.reason) })
	}
}
