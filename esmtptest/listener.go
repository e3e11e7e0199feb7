package esmtptest

import (
	"net"
	"sync"
)

// Listener is an in-memory [net.Listener]: [Listener.Dial] connects to it.
type Listener struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

var _ net.Listener = (*Listener)(nil)

// Listen returns a listener at [ServerAddr].
func Listen() *Listener {
	return &Listener{addr: ServerAddr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// Accept waits for the next Dial. After Close it returns net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close makes Accept and Dial fail.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr returns the listener's address.
func (l *Listener) Addr() net.Addr { return l.addr }

// Dial connects from the given address, or from [ClientAddr] if that is nil. It fails when the listener is closed.
func (l *Listener) Dial(from net.Addr) (*Conn, error) {
	if from == nil {
		from = ClientAddr
	}
	client, server := PipeAddr(from, l.addr)
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
