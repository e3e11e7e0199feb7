package esmtp

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Session is a connection and what is known of it. The engine hands it to every method of a [Handler]. Unless a method's
// comment says otherwise it may be called only on the session's goroutine, that is, during such a call.
type Session struct {
	srv     *Server
	cfg     *config
	h       Handler
	conn    net.Conn // in TLS: the *tls.Conn
	socket  net.Conn // that was accepted; other goroutines may use it
	started time.Time
	id      uint64
	remote  net.Addr // set under the server's lock
	local   net.Addr
	prefix  netip.Prefix
	number  int // sessions of the server when this one began
	peers   int // of which from this address

	mu        sync.Mutex // others look on: what they see, cfg too, changes under it, at the hands of this goroutine alone
	over      bool       // nothing can be posted any more
	posted    []any      // messages that wait for Posted
	hasPosted atomic.Bool
	waking    sync.Mutex // held by who wakes the session, and at the end of a wait
	woken     bool       // the deadline is another goroutine's doing; guarded by waking

	in    input
	out   []byte // replies not yet written
	arena arena
	clock clock

	verb       verb          // of the command at hand
	begun      time.Duration // when it began, if an observer wants to know
	atBoundary bool          // between two commands
	waiting    time.Duration // when we began to wait for the command that is next; 0: not waiting
	done       chan struct{} // closed at the end, for ServeConn

	claim     *claim     // what XCLIENT said; it and remote, local and prefix change under the server's lock
	forwarded *Forwarded // what XFORWARD said

	user          string // who logged in
	authMechanism string // and how; "": nobody has
	authFailures  int

	helo         string
	offers       extension // what EHLO enabled
	withheld     extension // what it returned, but can't be had on this connection
	ehlo         []string  // the lines of it that are more than a keyword of ours
	esmtp        bool
	enhanced     bool // write enhanced status codes
	secure       bool // in TLS
	tlsVersion   uint16
	greeted      bool // with 220
	refused      bool // CONNECT said no: only QUIT is left
	leaving      bool // close after this reply
	hijacked     bool
	wantsHeader  bool // somebody overrides HEADER
	transcript   bool // somebody reads at debug level
	maxSize      int64
	maxRcpts     int
	maxMails     int
	transactions int // begun, to number them
	mails        int // of which MAIL was accepted
	errors       int
	junk         int
	overshoot    int
	lastRcpts    int // accepted in the transaction before: as many may come again
	tx           *Transaction
	verbs        []addedVerb
	reason       error
	writeErr     error // of the first write that failed

	chunkMode bool
	chunkSize int
	field     rawField // the header field that HEADER is looking at
	separator string

	state     atomic.Uint32
	messages  atomic.Int32
	octetsOut atomic.Int64
	aborted   atomic.Bool
	ctx       atomic.Pointer[sessionContext]
	watch     *watcher
	log       *slog.Logger
}

// rawField is a header field with its name and value, and the octets that they came as.
type rawField struct {
	name, value string
	octets      []byte
}

func newSession(srv *Server, conn net.Conn) *Session {
	s := &Session{
		srv:       srv,
		conn:      conn,
		socket:    conn,
		id:        newID(),
		started:   time.Now(),
		enhanced:  true,
		chunkSize: chunkBuffer,
		remote:    noAddr{},
		local:     noAddr{},
	}
	s.configure(&srv.cfg)
	s.in.init(conn)
	return s
}

// configure takes over the settings.
func (s *Session) configure(cfg *config) {
	s.mu.Lock()
	s.cfg = cfg
	s.mu.Unlock()
	s.maxSize, s.maxRcpts, s.maxMails = cfg.limits.MessageBytes, cfg.limits.Recipients, cfg.limits.Messages
	s.log = nil
	s.watchTranscript()
}

// noAddr is the address of a session without a connection.
type noAddr struct{}

func (noAddr) Network() string { return "none" }
func (noAddr) String() string  { return "none" }

// ID returns the session's name in logs: 13 letters and digits, different for every session. Any goroutine may call it.
func (s *Session) ID() string { return formatID(s.id) }

// Server returns the server of this session. Any goroutine may call it.
func (s *Session) Server() *Server { return s.srv }

// Settings returns the Server whose settings this session has: the one that [Server].Select chose, else that of the session.
func (s *Session) Settings() *Server { return s.cfg.of }

// Handler returns the outermost handler of this session. A method that has another verb to call, calls it there.
func (s *Session) Handler() Handler { return s.h }

// Hostname returns our own name.
func (s *Session) Hostname() string { return s.cfg.hostname }

// RemoteAddr returns the client's address; behind a PROXY protocol listener that of the real client, and after XCLIENT, from who is trusted
// with it, the one given there. An address that is not known is no *net.TCPAddr.
func (s *Session) RemoteAddr() net.Addr { return s.remote }

// LocalAddr returns the address that the client connected to; XCLIENT can change it too.
func (s *Session) LocalAddr() net.Addr { return s.local }

// Started returns when the connection was accepted. Any goroutine may call it.
func (s *Session) Started() time.Time { return s.started }

// Concurrent returns how many sessions the server had when this one began, it included, and how many of them came from this
// client's address; the latter is 0 for loopback addresses and Unix sockets, which are not counted.
func (s *Session) Concurrent() (all, sameAddr int) { return s.number, s.peers }

// HELO returns the name that the client gave in HELO or EHLO; "" before. It can be any printable text without spaces.
func (s *Session) HELO() string { return s.helo }

// ESMTP reports whether the client said EHLO.
func (s *Session) ESMTP() bool { return s.esmtp }

// Protocol returns the protocol for the "with" of a Received field (RFC 3848, RFC 6531 §4.3): SMTP, ESMTP, UTF8SMTP, LMTP or
// UTF8LMTP, with S in TLS and A if the client is logged in.
func (s *Session) Protocol() string {
	name := "SMTP"
	switch utf8 := s.tx != nil && s.tx.SMTPUTF8(); {
	case s.cfg.lmtp && utf8:
		name = "UTF8LMTP"
	case s.cfg.lmtp:
		name = "LMTP"
	case utf8:
		name = "UTF8SMTP"
	case s.esmtp:
		name = "ESMTP"
	}
	if s.secure && s.esmtp {
		name += "S"
	}
	if s.authMechanism != "" {
		name += "A" // RFC 3848
	}
	return name
}

// User returns who the client is logged in as, "" if it isn't.
func (s *Session) User() string { return s.user }

// AuthMechanism returns the SASL mechanism by which the client logged in, "" if it hasn't.
func (s *Session) AuthMechanism() string { return s.authMechanism }

// TLS returns the state of the connection's TLS, nil if it has none.
func (s *Session) TLS() *tls.ConnectionState {
	c, ok := s.conn.(connectionStater)
	if !ok {
		return nil
	}
	state := c.ConnectionState()
	return &state
}

// Transaction returns the transaction, nil when there is none. In MAIL it is there already, and is dropped if MAIL refuses.
func (s *Session) Transaction() *Transaction { return s.tx }

// Messages returns how many messages of this session were accepted so far. Any goroutine may call it.
func (s *Session) Messages() int { return int(s.messages.Load()) }

// Disconnect says whether the connection is closed after the reply to this command, or, in a message, after the reply to the
// whole of it. QUIT can call it with false to stay.
func (s *Session) Disconnect(yes bool) { s.leaving = yes }

// MaxSize returns the size limit of messages in octets, 0 if there is none.
func (s *Session) MaxSize() int64 { return s.maxSize }

// SetMaxSize sets the size limit of this session's messages in octets; 0 or less means none. Called in CONNECT, HELO or
// EHLO, before Default.EHLO, it is also what SIZE advertises.
func (s *Session) SetMaxSize(octets int64) { s.maxSize = max(octets, 0) }

// SetChunkSize sets the largest chunk that BODY gets, in octets, at least 1. It holds until it is set again. Default 64 KiB,
// which is also the most.
func (s *Session) SetChunkSize(octets int) { s.chunkSize = min(max(octets, 1), chunkBuffer) }

// SetChunkMode switches between line mode and chunk mode within a message. The header comes in line mode, a HEADER call for
// each field; at its end the session switches to chunk mode, and back at the end of the message. HEADER may switch to chunk mode
// early: then EOH gets HeaderSwitched, and the rest of the header comes as body. EOH and BODY may switch to line mode: then BODY gets
// a line at a time, with its CRLF; a line that is longer than a chunk comes in pieces.
func (s *Session) SetChunkMode(on bool) { s.chunkMode = on }

// Field returns the octets of a header field, CRLF included: those that came, if name and value are what the engine just
// handed to HEADER, else "name: value". So a handler that stores messages writes what was sent, and a layer above it can change a field,
// or add one, by what it passes on. The slice is valid during the call.
func (s *Session) Field(name, value string) []byte {
	if f := &s.field; f.octets != nil && f.name == name && f.value == value {
		return f.octets
	}
	return []byte(name + ": " + value + "\r\n")
}

// Separator returns what stands between header and body, from EOH on: CRLF, or nothing if no blank line was there and none is to
// be put in.
func (s *Session) Separator() string { return s.separator }

// Logger returns a logger that names the session and the client. Any goroutine may use it, once it has it.
func (s *Session) Logger() *slog.Logger {
	if s.log == nil {
		s.log = s.cfg.log.With("session", s.ID(), "remote", s.remote.String())
		if s.claim != nil {
			s.log = s.log.With("peer", s.claim.peer.String())
		}
	}
	return s.log
}

// Context returns a context that ends when the session does: when the peer is gone, even while a method is at work (if nothing that
// it sent still waits to be read), when the server is closed, or when the time for the session is over. context.Cause
// tells the reason. Keep it out of structs, as always; any goroutine may use it.
func (s *Session) Context() context.Context {
	c := s.ctx.Load()
	if c == nil {
		c = newSessionContext()
		s.ctx.Store(c)
		if s.aborted.Load() {
			c.cancel(ErrServerClosed)
		}
	}
	s.startWatch()
	return c.ctx
}

func (s *Session) line(x, y string) []string { return s.arena.line(x, y) }

// maxLine is the longest command line that can come, whatever its verb.
func (s *Session) maxLine() int {
	if s.offered(extAUTH) {
		return s.cfg.limits.CommandLine + maxSASLLine
	}
	return s.cfg.limits.CommandLine + maxParamRoom
}
