package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// sockets are the listening sockets, by their socketKey. A socket lives as long as a generation has a share in it, and so over a reload: what
// the kernel has accepted for it is never lost. (With a socket for each config what waits in the old one's queue is reset when that is closed.)
var sockets = caddy.NewUsagePool()

// socketKey tells sockets apart. Those with a port that the kernel chooses belong to a server: two of them are never the same.
type socketKey struct {
	address string // see addressKey
	server  string // for a port that the kernel chooses
	number  int    // the same, among those with that address
}

// sharedSocket is a listening socket with its accept loop. A connection goes to the newest generation that serves, and if that leaves before it
// took the connection, to the next one.
type sharedSocket struct {
	mu      sync.Mutex // guards what follows
	l       net.Listener
	serving []*share      // the newest last
	changed chan struct{} // closed when serving changes
	closed  bool
	mode    fs.FileMode // of a Unix socket
}

// accepted is what Accept has returned.
type accepted struct {
	conn net.Conn
	err  error
}

// share is what one generation has of a socket: a listener that takes connections from the socket once it has joined.
type share struct {
	socket *sharedSocket
	key    socketKey
	addr   address
	at     net.Addr      // where the socket listens
	conns  chan accepted // without a buffer: what is not taken can still go to another share
	done   chan struct{}
	closed bool // done is closed; guarded by the socket's lock
}

// newShare returns a share of the socket of an address, which is opened if it isn't yet.
func newShare(key socketKey, addr address) (*share, error) {
	v, _, err := sockets.LoadOrNew(key, func() (caddy.Destructor, error) {
		return &sharedSocket{changed: make(chan struct{})}, nil
	})
	if err != nil {
		return nil, err
	}
	s := v.(*sharedSocket)
	at, err := s.open(addr)
	if err != nil {
		sockets.Delete(key)
		return nil, err
	}
	return &share{socket: s, key: key, addr: addr, at: at, conns: make(chan accepted), done: make(chan struct{})}, nil
}

// open listens, if the socket is new, or has failed since. Caddy starts one config at a time, so nobody else does it at the same time.
func (s *sharedSocket) open(addr address) (net.Addr, error) {
	s.mu.Lock()
	l := s.l
	s.mu.Unlock()
	if l != nil {
		return l.Addr(), nil
	}
	opened, err := addr.Listen(context.Background(), 0, net.ListenConfig{})
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", addr, err)
	}
	l, ok := opened.(net.Listener)
	if !ok {
		if c, ok := opened.(io.Closer); ok {
			c.Close()
		}
		return nil, fmt.Errorf("listening on %s: mail needs a stream, not %T", addr, opened)
	}
	s.mu.Lock()
	s.l = l
	s.mode = addr.mode
	s.mu.Unlock()
	go s.accept(l)
	return l.Addr(), nil
}

// accept is the accept loop. An error is handed on like a connection: [esmtp.Server.Serve] logs it, and takes the next one only after a
// while if it can pass, such as too many open files. Until then the loop waits too.
func (s *sharedSocket) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if !s.deliver(accepted{conn, err}) {
			if err == nil {
				conn.Close()
			}
			return
		}
		if err != nil && !isTemporary(err) {
			s.fail(l)
			return
		}
	}
}

// deliver hands a connection to the newest share, and reports false if the socket was closed before one took it.
func (s *sharedSocket) deliver(a accepted) bool {
	for {
		conns, changed, ok := s.newest()
		if !ok {
			return false
		}
		select {
		case conns <- a:
			return true
		case <-changed:
		}
	}
}

// newest returns where connections go now, which is nowhere (a channel that blocks) as long as nobody serves, and a channel that is closed when
// that changes. It reports false if the socket is closed.
func (s *sharedSocket) newest() (conns chan<- accepted, changed <-chan struct{}, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.serving); n > 0 {
		conns = s.serving[n-1].conns
	}
	return conns, s.changed, !s.closed
}

// fail closes a listener that is broken. The next config with this address opens another one.
func (s *sharedSocket) fail(l net.Listener) {
	s.mu.Lock()
	mine := s.l == l
	if mine {
		s.l = nil
	}
	s.mu.Unlock()
	if mine {
		l.Close()
	}
}

// Destruct closes the socket, when the last share is closed.
func (s *sharedSocket) Destruct() error {
	s.mu.Lock()
	s.closed = true
	s.announce()
	l := s.l
	s.l = nil
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	return l.Close()
}

// announce tells the accept loop that something has changed. It is called with the lock held.
func (s *sharedSocket) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// update announces a new list of shares, and gives a Unix socket the permissions that the newest one has for it.
// It is called with the lock held.
func (s *sharedSocket) update() error {
	s.announce()
	if len(s.serving) == 0 {
		return nil
	}
	newest := s.serving[len(s.serving)-1].addr
	if newest.mode == s.mode || newest.isAbstract() {
		return nil
	}
	if err := os.Chmod(newest.path(), newest.mode); err != nil {
		return fmt.Errorf("permissions of %s: %w", newest, err)
	}
	s.mode = newest.mode
	return nil
}

// join has the socket give its connections to this share, until a newer one joins. One that is closed doesn't join. An error is about
// permissions only.
func (sh *share) join() error {
	s := sh.socket
	s.mu.Lock()
	defer s.mu.Unlock()
	if sh.closed {
		return nil
	}
	s.serving = append(s.serving, sh)
	return s.update()
}

// Accept waits for a connection, and returns it, or what the socket's Accept returned for an error; net.ErrClosed after Close.
func (sh *share) Accept() (net.Conn, error) {
	select {
	case a := <-sh.conns:
		return a.conn, a.err
	case <-sh.done:
		return nil, &net.OpError{Op: "accept", Net: sh.addr.Network, Err: net.ErrClosed}
	}
}

// Addr returns the address of the socket.
func (sh *share) Addr() net.Addr { return sh.at }

// Close gives the share back, and closes the socket if nobody else has one. The first call counts.
func (sh *share) Close() error {
	first, err := sh.leave()
	if !first {
		return nil
	}
	_, closeErr := sockets.Delete(sh.key)
	return errors.Join(err, closeErr)
}

// leave takes the share off the socket's list, and reports whether that was not done before.
func (sh *share) leave() (first bool, err error) {
	s := sh.socket
	s.mu.Lock()
	defer s.mu.Unlock()
	if sh.closed {
		return false, nil
	}
	sh.closed = true
	close(sh.done)
	if i := slices.Index(s.serving, sh); i >= 0 {
		s.serving = slices.Delete(s.serving, i, i+1)
		err = s.update()
	}
	return true, err
}
