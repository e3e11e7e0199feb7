package esmtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves ESMTP on any number of listeners. Set the fields before the first call of [Server.Serve] or
// [Server.ServeConn], and leave them alone after it. The zero Server works: it accepts everything and keeps nothing.
type Server struct {
	// Hostname is our name in the greeting and in Received fields: a domain name that leads here, or an address
	// literal. Default: what the operating system says.
	Hostname string

	// NewHandler makes the handler of a connection, on that connection's goroutine. It must not return the same
	// value twice, unless that holds no state. When serving starts it is called once more, with a session that
	// has no connection, so that [Vet] can look at the handler. Default: a [Default].
	NewHandler func(*Session) Handler

	// TLSConfig offers STARTTLS (RFC 3207). TLS 1.2 is the least, whatever it says, and the protocol name "smtp" is added if it names
	// none. [Server.ServeTLS] uses it for TLS from the start. Default: no TLS.
	TLSConfig *tls.Config

	// RequireTLS refuses all but EHLO, NOOP, STARTTLS and QUIT with 530 5.7.0 until TLS is on.
	RequireTLS bool

	// LMTP speaks the Local Mail Transfer Protocol (RFC 2033) instead of SMTP: LHLO for EHLO, and a reply for each recipient at the end of
	// a message. It must not be served on port 25.
	LMTP bool

	// RequireAuth refuses MAIL, BDAT, VRFY, EXPN and ETRN with 530 5.7.0 until the client is logged in.
	RequireAuth bool

	// AllowInsecureAuth offers PLAIN, LOGIN, OAUTHBEARER and XOAUTH2 in the clear too. Anybody on the way can read them.
	AllowInsecureAuth bool

	// Limits, Timeouts and Rates bound what a client can do. Their zero values are safe.
	Limits   Limits
	Timeouts Timeouts
	Rates    Rates

	// BareNewlines says what happens to a CR or LF in a message that is not part of a CRLF. Default: RejectBare.
	BareNewlines BareNewlines

	// BadHeader says what happens to a message with a malformed header line. Default: InsertBlank.
	BadHeader BadHeader

	// Strict asks for commands to the letter. Without it a command line may end with a lone LF, MAIL and RCPT may
	// have spaces after the colon and no brackets, and what stands in HELO is not checked to be a domain.
	Strict bool

	// IgnoreEmptyLines passes over an empty command line without a reply, for clients that send one where none belongs. It counts as junk. Without
	// it the reply is 500.
	IgnoreEmptyLines bool

	// ForbidEarly ends a session with 554 5.5.0 when the client sends more than it may before it has the reply: anything behind HELO, EHLO, DATA,
	// VRFY, EXPN, NOOP and AUTH, and behind all commands if PIPELINING was not offered to it (RFC 2920 §3.1).
	ForbidEarly bool

	// GreetingTeaser is the text of a first line, 220-, that is sent before Timeouts.Greeting begins: clients that are in a hurry take
	// it for the greeting. Default: none is sent.
	GreetingTeaser string

	// AllowNoHELO accepts MAIL without a HELO or EHLO before it. Default: 503 (RFC 5321 §4.1.4).
	AllowNoHELO bool

	// Clients counts what clients do, for Limits.ConnectionsPerAddress and Rates: servers that have the same one count together. Default: one of
	// this server's own.
	Clients *Clients

	// TolerateParams names parameters of MAIL and RCPT, such as XOORG, that are accepted though nobody here knows them, and not
	// offered. Handlers see them with [Path.Param]. Default: 555 for every parameter whose extension was not offered (RFC 5321
	// §4.1.1.11). A parameter that this package knows can't be named: it would be accepted, and not honoured.
	TolerateParams []string

	// TrustXCLIENT and TrustXFORWARD are the networks of clients that may say, with XCLIENT, that they speak for another client, or, with
	// XFORWARD, where they got a message (Postfix XCLIENT_README, XFORWARD_README). The address of the connection counts, and that
	// of the client it speaks for, so that one can't do it in its turn. The connections of those who may use XCLIENT are not
	// counted for their own address. Default: nobody; all others get 550 5.7.0.
	TrustXCLIENT  []netip.Prefix
	TrustXFORWARD []netip.Prefix

	// Select, if set, chooses whose settings a session has, before its handler is made: nil, or the same Server, for this one's. It sees the addresses and, if
	// the connection is in TLS from the start, the state of that. Of the chosen Server all settings count but the limits and rates of connections
	// and handshakes, Clients, the Observer, and its own Select; it need not serve itself, and the session counts as this one's. It is called on the
	// session's goroutine, once.
	Select func(s *Session) *Server

	// Observer is told what happens. Default: nobody is.
	Observer Observer

	// Logger gets who logged in, or failed to, at info level, and what went wrong in a handler at error level. At debug level it gets all
	// commands and replies, without what is secret in them. Default: slog.Default().
	Logger *slog.Logger

	// AccessLog gets a line for each transaction, whatever became of it, and each session that ended, at info level. Default: Logger.
	AccessLog *slog.Logger

	started  sync.Once
	startErr error
	cfg      config

	draining atomic.Bool
	ending   chan struct{} // closed when draining begins
	stressed atomic.Bool   // near the limit of connections
	clients  *Clients      // nil before start
	mu       sync.Mutex    // guards what follows; no code of a handler runs under it
	closing  bool          // no new sessions
	sessions map[*Session]struct{}
	listen   map[net.Listener]struct{}
	idle     chan struct{} // closed when the last session ends while closing
}

// Errors of a Server, and the reasons that [Handler].Closed gets. Match them with errors.Is.
var (
	ErrServerClosed  = errors.New("esmtp: server closed")           // from Serve and ServeConn after Shutdown or Close
	ErrShutdown      = errors.New("esmtp: server is shutting down") // 421 4.3.2
	ErrTimeout       = errors.New("esmtp: client took too long")    // 421 4.4.2 (RFC 5321 §4.5.3.2)
	ErrTooSlow       = errors.New("esmtp: message came too slowly") // 421 4.4.2
	ErrSessionTime   = errors.New("esmtp: session took too long")   // 421 4.3.2
	ErrTooManyErrors = errors.New("esmtp: too many errors")         // 421 4.7.0
	ErrTLS           = errors.New("esmtp: TLS handshake failed")
	ErrTooMany       = errors.New("esmtp: too many connections")        // 421 4.3.2, 421 4.7.0
	ErrProtocol      = errors.New("esmtp: client is out of step")       // a line or message past all bounds, a BDAT that can't be read
	ErrEarlyTalker   = errors.New("esmtp: client spoke too early")      // 554 5.5.0
	ErrNotSMTP       = errors.New("esmtp: client doesn't speak SMTP")   // 554 5.7.0: HTTP or TLS
	ErrRefused       = errors.New("esmtp: connection refused")          // CONNECT said no
	ErrHangup        = errors.New("esmtp: handler hung up")             // a reply with Close, or Session.Disconnect
	ErrHijacked      = errors.New("esmtp: connection taken by handler") // Session.Hijack
)

// start fills in the defaults and vets the handler, once.
func (srv *Server) start() error {
	srv.started.Do(func() {
		srv.cfg = newConfig(srv)
		srv.mu.Lock() // who looks on, may do so before it has started
		srv.sessions = make(map[*Session]struct{})
		srv.clients = srv.Clients
		if srv.clients == nil {
			srv.clients = new(Clients)
		}
		srv.listen = make(map[net.Listener]struct{})
		srv.idle = make(chan struct{})
		srv.ending = make(chan struct{})
		srv.mu.Unlock()
		if !isDomainOrLiteral(srv.cfg.hostname) {
			srv.startErr = fmt.Errorf("esmtp: hostname %q is neither a domain name nor an address literal", srv.cfg.hostname)
			return
		}
		srv.startErr = errors.Join(checkTolerate(srv.cfg.tolerate), checkPrefixes("TrustXCLIENT", srv.TrustXCLIENT),
			checkPrefixes("TrustXFORWARD", srv.TrustXFORWARD))
		if srv.startErr == nil {
			srv.startErr = srv.vet()
		}
	})
	return srv.startErr
}

// Serve accepts connections from l, and serves each on a goroutine of its own. It returns when l fails for good, with its
// error, or after [Server.Drain], [Server.Shutdown] or [Server.Close], with [ErrServerClosed]. It closes l. A wrong handler is an
// error at once. Accept errors that can pass, such as too many open files, are waited out.
func (srv *Server) Serve(l net.Listener) error {
	if err := srv.start(); err != nil {
		l.Close()
		return err
	}
	if err := srv.cfg.checkPort(l.Addr()); err != nil {
		l.Close()
		return err
	}
	if !srv.track(l) {
		l.Close()
		return ErrServerClosed
	}
	defer srv.untrack(l)
	var delay time.Duration
	for {
		conn, err := l.Accept()
		if err == nil {
			delay = 0
			srv.accept(conn)
			continue
		}
		if srv.isClosing() {
			return ErrServerClosed
		}
		if !isTemporary(err) {
			return fmt.Errorf("esmtp: accept: %w", err)
		}
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		srv.cfg.log.Warn("accept failed, waiting", "error", err, "wait", delay)
		srv.pause(delay)
	}
}

// isTemporary reports whether accepting can go on after err: out of files or memory, or a connection that went away.
func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// pause waits, but not longer than the server lives.
func (srv *Server) pause(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	select {
	case <-ctx.Done():
	case <-srv.idle:
	}
}

// ServeConn serves one connection, and returns when it is closed: with nil after QUIT, else with the reason that
// the handler's Closed gets. conn can be anything; if it has a ConnectionState method, as a *tls.Conn has, the session
// is in TLS from the start. If it has HandshakeContext too its handshake counts: for the Observer, and for the rate of handshakes. One that was made
// before can tell in that method what came of it, and in HandshakeTime() time.Duration how long it took.
func (srv *Server) ServeConn(conn net.Conn) error {
	if err := srv.start(); err != nil {
		conn.Close()
		return err
	}
	s := newSession(srv, conn)
	if !srv.admit(s) {
		conn.Close()
		return ErrServerClosed
	}
	s.done = make(chan struct{})
	s.serve()
	<-s.done
	return s.reason
}

// refusals is how many connections over the limit may be told so at a time; those over that are just closed.
const refusals = 64

// accept starts the session of a connection. Even the address is only asked for on its own goroutine: behind a
// PROXY protocol listener that can block.
func (srv *Server) accept(conn net.Conn) {
	srv.mu.Lock()
	full := over(len(srv.sessions), srv.cfg.limits.Connections+refusals)
	srv.mu.Unlock()
	if full && srv.cfg.limits.Connections > 0 {
		srv.drop(conn)
		return
	}
	s := newSession(srv, conn)
	if !srv.admit(s) {
		conn.Close()
		return
	}
	go s.serve()
}
