package esmtp

import (
	"net"
	"time"
)

// SessionInfo is a look at a live session, from outside.
type SessionInfo struct {
	ID         string       // as in the log
	RemoteAddr net.Addr     // of the client
	PeerAddr   net.Addr     // of the connection: another one if XCLIENT said so
	LocalAddr  net.Addr     // that it came to
	Started    time.Time    // when it was accepted
	State      SessionState // what it is doing
	Messages   int          // accepted so far

	Settings *Server // whose settings it has: those that Select chose, once it has

	HELO       string // as the client gave it
	ESMTP      bool   // by EHLO
	Protocol   string // as Session.Protocol has it
	User       string // who logged in; "": nobody has
	Mechanism  string // by which
	Secure     bool   // in TLS
	TLSVersion uint16 // as [crypto/tls] numbers them; 0: none
	Outlived   bool   // another configuration has taken over

	OctetsIn, OctetsOut int64 // in the clear, what TLS adds not counted

	// Transaction is the name of the transaction, "" if there is none; From, To and Octets are what came of it so far.
	Transaction string
	From        Path
	To          []Path
	Octets      int64
}

// SessionState is what a session is doing.
type SessionState uint32

// The states.
const (
	StateOpening SessionState = iota // before the greeting, or in a TLS handshake
	StateBusy                        // handling a command
	StateWaiting                     // waiting for a command
	StateData                        // receiving a message
	StateClosed                      // at its end
)

// String names the state: "opening", "busy", "waiting", "data", "closed".
func (st SessionState) String() string {
	return [...]string{"opening", "busy", "waiting", "data", "closed"}[st]
}

// Sessions lists the live sessions, in no order. Any goroutine may call it.
func (srv *Server) Sessions() []SessionInfo {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	list := make([]SessionInfo, 0, len(srv.sessions))
	for s := range srv.sessions {
		list = append(list, s.info())
	}
	return list
}

// SessionCount returns how many sessions there are now. Any goroutine may call it.
func (srv *Server) SessionCount() int {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return len(srv.sessions)
}

// SessionCensus is how many sessions a server has.
type SessionCensus struct {
	ByState  [StateClosed + 1]int // indexed by [SessionState]
	Outlived int                  // of all: those that have outlived their configuration
}

// Census counts the live sessions. Any goroutine may call it; it costs less than Sessions.
func (srv *Server) Census() (n SessionCensus) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for s := range srv.sessions {
		n.ByState[s.state.Load()]++
	}
	if srv.closing {
		n.Outlived = len(srv.sessions)
	}
	return n
}

// Session finds a live session by its ID, in any case; nil if there is none. Of what it returns only those methods may be called that any
// goroutine may call. Any goroutine may call it.
func (srv *Server) Session(id string) *Session {
	n, ok := parseID(id)
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for s := range srv.sessions {
		if ok && s.id == n {
			return s
		}
	}
	return nil
}

// Info returns a look at the session. Any goroutine may call it.
func (s *Session) Info() SessionInfo {
	s.srv.mu.Lock()
	defer s.srv.mu.Unlock()
	return s.info()
}

// info is called with the server's lock held.
func (s *Session) info() SessionInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := SessionInfo{
		ID: s.ID(), RemoteAddr: s.remote, PeerAddr: s.PeerAddr(), LocalAddr: s.local, Started: s.started,
		State: SessionState(s.state.Load()), Messages: s.Messages(),
		Settings: s.cfg.of, HELO: s.helo, ESMTP: s.esmtp, Protocol: s.Protocol(), User: s.user, Mechanism: s.authMechanism,
		Secure: s.secure, TLSVersion: s.tlsVersion, Outlived: s.srv.closing,
		OctetsIn: s.in.total.Load(), OctetsOut: s.octetsOut.Load(),
	}
	if tx := s.tx; tx != nil {
		info.Transaction, info.From, info.Octets = tx.ID(), tx.from, tx.Octets()
		for _, r := range tx.recipients {
			info.To = append(info.To, r.Path)
		}
	}
	return info
}
