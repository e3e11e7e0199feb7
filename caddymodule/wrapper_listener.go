package caddymodule

import (
	"errors"
	"net"
	"sync"
	"time"
)

// webListener is the listener of a web server, whose mail clients go elsewhere.
type webListener struct {
	net.Listener // below
	wrapper      *ListenerWrapper
	mux          *mux

	done   chan struct{} // closed by Close
	failed chan struct{} // closed when the one below has failed for good
	err    error         // why
	once   sync.Once
	closed error
}

// accept brings connections to the mux, until the listener below is closed.
func (l *webListener) accept() {
	defer l.mux.leave(l)
	var delay time.Duration
	for {
		if !l.takeSlot() {
			return
		}
		conn, err := l.Listener.Accept()
		if err == nil {
			delay = 0
			go l.mux.recognize(l.mux.claim(conn), time.Duration(l.wrapper.Wait))
			continue
		}
		<-l.mux.slots
		if !isTemporary(err) || isClosed(l.done) {
			l.err = err
			close(l.failed)
			return
		}
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		l.wrapper.log.Warn("accept failed, waiting", "address", l.mux.key.address, "error", err, "wait", delay)
		l.pause(delay)
	}
}

// takeSlot waits for room in the mux. It reports false if the listener is closed first.
func (l *webListener) takeSlot() bool {
	select {
	case l.mux.slots <- struct{}{}:
		return true
	default:
		l.mux.hurry()
	}
	select {
	case l.mux.slots <- struct{}{}:
		return true
	case <-l.done:
		return false
	}
}

// isTemporary reports whether accepting can go on after err: out of files or memory, or a connection that went away.
func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

func (l *webListener) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.done:
	}
}

// Accept returns the next connection of a web client, whichever generation's listener it came in by.
func (l *webListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.mux.web:
		if !isClosed(l.done) {
			return conn, nil
		}
		l.mux.giveWeb(conn) // our server has left
		return nil, net.ErrClosed
	case <-l.failed:
		return nil, l.err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close closes the listener below. Connections that came in by it go to other generations' servers, if there are any.
func (l *webListener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.closed = l.Listener.Close()
	})
	return l.closed
}
