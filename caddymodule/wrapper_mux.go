package caddymodule

import (
	"container/list"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/soheilhy/cmux"
)

// Bounds of a mux.
const (
	maxSniffing   = 4096             // connections that are being recognized
	handshakeTime = 15 * time.Second // for TLS
	handoverTime  = 5 * time.Second  // for a mail server that is just starting
	goodbyeTime   = 5 * time.Second  // for the client to take a 421
)

// muxes are those in use, by their muxKey.
var muxes = caddy.NewUsagePool()

// muxKey names where connections are told apart.
type muxKey struct {
	network, address string
	place            place
}

// mux tells web clients from mail clients for the listeners of one place, in all generations of the config. A connection that comes in
// through one generation's listener may go to the next one's server: so none is lost when the config changes while it is being recognized.
// cmux does the sniffing; it gets connections whose TLS handshake is done and whose read deadline is set, and never sees a listener fail
// or end before the last connection is through.
type mux struct {
	key   muxKey
	root  *handover     // what cmux accepts from
	slots chan struct{} // one is taken by each connection, until it is handed over
	web   chan net.Conn // to whichever web server accepts; nothing waits in it
	done  chan struct{} // closed when the last listener has left

	active sync.WaitGroup // connections
	mu     sync.Mutex
	joined []*webListener // the newest last
	name   string         // of the newest mail server
	conns  list.List      // of *client, that are not decided, the oldest first
}

// joinMux makes the listener of a web server whose mail clients are taken out.
func joinMux(below net.Listener, w *ListenerWrapper, at place) net.Listener {
	addr := below.Addr()
	key := muxKey{addr.Network(), addr.String(), at}
	value, _, _ := muxes.LoadOrNew(key, func() (caddy.Destructor, error) { return newMux(key), nil })
	m := value.(*mux)
	l := &webListener{Listener: below, wrapper: w, mux: m, done: make(chan struct{}), failed: make(chan struct{})}
	m.mu.Lock()
	m.joined = append(m.joined, l)
	m.name = w.server.engine.Hostname
	m.mu.Unlock()
	go l.accept()
	return l
}

func newMux(key muxKey) *mux {
	m := &mux{
		key: key, root: newHandover(), slots: make(chan struct{}, maxSniffing),
		web: make(chan net.Conn), done: make(chan struct{}),
	}
	cm := cmux.New(m.root)
	webs, mails := cm.Match(isWeb), cm.Match(cmux.Any())
	go cm.Serve()
	go m.pump(webs, m.toWeb)
	go m.pump(mails, m.toMail)
	return m
}

// pump takes connections from cmux as fast as they come: one that waits for its server holds up no other.
func (m *mux) pump(from net.Listener, to func(*client, net.Conn)) {
	for {
		conn, err := from.Accept()
		if err != nil {
			return
		}
		muxed := conn.(*cmux.MuxConn)
		c := muxed.Conn.(*client)
		go to(c, c.unwrap(muxed))
	}
}

// leave is called when a listener accepts no more.
func (m *mux) leave(l *webListener) {
	m.mu.Lock()
	m.joined = slices.DeleteFunc(m.joined, func(other *webListener) bool { return other == l })
	m.mu.Unlock()
	muxes.Delete(m.key)
}

// Destruct is called when the last listener has left. What is still being recognized is decided now.
func (m *mux) Destruct() error {
	m.mu.Lock()
	close(m.done)
	for e := m.conns.Front(); e != nil; e = e.Next() {
		e.Value.(*client).SetDeadline(time.Now())
	}
	m.mu.Unlock()
	go func() {
		m.active.Wait()
		m.root.Close()
	}()
	return nil
}

// recognize finds out what a connection speaks, and hands it over. It owns a slot.
func (m *mux) recognize(c *client, wait time.Duration) {
	if conn, ok := c.Conn.(handshaker); ok {
		switch name, err := m.shakeHands(c, conn); {
		case name == protocolSMTP: // if it failed after that, too
			m.toMail(c, conn)
			return
		case name != "" || err != nil:
			m.toWeb(c, conn) // which logs errors, and has an answer for a client that speaks HTTP
			return
		}
	}
	m.setDeadline(c, c.SetReadDeadline, wait)
	m.root.give(c, nil) // it is open as long as we own a slot
}

// handshaker is a *tls.Conn, or what stands for one.
type handshaker interface {
	net.Conn
	HandshakeContext(context.Context) error
	ConnectionState() tls.ConnectionState
}

// shakeHands does the handshake, and returns the protocol name that it came to, which one that fails may have come to as well. It must be done
// before the sniffing: a deadline that passes in a handshake breaks the connection.
func (m *mux) shakeHands(c *client, conn handshaker) (name string, err error) {
	m.setDeadline(c, c.SetDeadline, handshakeTime)
	begun := time.Now()
	err = conn.HandshakeContext(context.Background())
	c.handshake = &handshake{err, time.Since(begun)}
	if err == nil {
		c.SetDeadline(time.Time{})
	}
	return conn.ConnectionState().NegotiatedProtocol, err
}

// setDeadline sets a deadline: now, if there is a hurry, or nobody is left to wait for.
func (m *mux) setDeadline(c *client, set func(time.Time) error, after time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.hurried || isClosed(m.done) {
		after = 0
	}
	set(time.Now().Add(after))
}

// toWeb hands a connection to the web server of any generation that is left.
func (m *mux) toWeb(c *client, conn net.Conn) {
	defer m.release()
	m.decided(c)
	m.giveWeb(conn)
}

func (m *mux) giveWeb(conn net.Conn) {
	select {
	case m.web <- conn:
	case <-m.done:
		conn.Close()
	}
}

// toMail hands a connection to the newest mail server.
func (m *mux) toMail(c *client, conn net.Conn) {
	defer m.release()
	m.decided(c)
	if c.isGone() {
		conn.Close()
		return
	}
	conn = c.forMail(conn)
	ctx, cancel := context.WithTimeout(context.Background(), handoverTime)
	defer cancel()
	for ctx.Err() == nil {
		to := m.mailServer()
		if to == nil {
			break
		}
		if to.give(conn, ctx.Done()) {
			return
		}
	}
	m.sayGoodbye(conn)
}

// mailServer returns the newest mail server that is at work, or else one that may soon be; nil if there is none.
func (m *mux) mailServer() *handover {
	m.mu.Lock()
	defer m.mu.Unlock()
	var soon *handover
	for _, l := range slices.Backward(m.joined) {
		switch to := l.wrapper.server.wrapped; {
		case to.isReady():
			return to
		case soon == nil && !to.isClosed():
			soon = to
		}
	}
	return soon
}

// sayGoodbye tells a mail client that there is no mail server any more (RFC 5321 §3.8, §4.2.3).
func (m *mux) sayGoodbye(conn net.Conn) {
	defer conn.Close()
	m.mu.Lock()
	name := m.name
	m.mu.Unlock()
	if name == "" {
		name, _ = os.Hostname()
	}
	conn.SetDeadline(time.Now().Add(goodbyeTime))
	fmt.Fprintf(conn, "421 %s Service not available, closing transmission channel\r\n", name)
}

// claim takes a slot for a connection.
func (m *mux) claim(conn net.Conn) *client {
	c := &client{Conn: conn}
	m.active.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	c.place = m.conns.PushBack(c)
	return c
}

// hurry has the oldest connection decided now, to make room for another one: a flood of connections can't keep others out by being slow.
func (m *mux) hurry() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if oldest := m.conns.Front(); oldest != nil {
		c := m.conns.Remove(oldest).(*client)
		c.hurried = true
		c.SetDeadline(time.Now())
	}
}

// decided takes back the deadline of a connection: from now on it is another's.
func (m *mux) decided(c *client) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns.Remove(c.place) // if it is there
	c.SetDeadline(time.Time{})
}

// release gives the slot back.
func (m *mux) release() {
	<-m.slots
	m.active.Done()
}
