package esmtptest

import (
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// ScriptConn is a connection whose client said everything beforehand: reads get the given segments, one at a
// time, and then io.EOF; what is written is collected. A session over it runs on one goroutine and at the speed
// of memory:
//
//	conn := esmtptest.NewScriptConn([]byte("EHLO c.example\r\nQUIT\r\n"))
//	err := srv.ServeConn(conn)
//	fmt.Printf("%s", conn.Output())
type ScriptConn struct {
	mu       sync.Mutex // Session.Context watches the connection from another goroutine
	segments [][]byte
	fault    error // what a read gets once, between two segments
	faultAt  int   // after so many segments
	read     int
	output   []byte
	closed   bool
	deadline time.Time
}

// NewScriptConn returns a connection from which the segments are read. A read never goes beyond the end of its
// segment. Empty segments are left out.
func NewScriptConn(segments ...[]byte) *ScriptConn {
	c := &ScriptConn{}
	for _, s := range segments {
		if len(s) > 0 {
			c.segments = append(c.segments, s)
		}
	}
	return c
}

// Fail makes the read behind the first n segments fail with err, once: the segments after it can be read again.
// It shows that a session ends at a failed read, and doesn't take what follows for something else.
func (c *ScriptConn) Fail(n int, err error) { c.faultAt, c.fault = n, err }

// Output returns what was written so far.
func (c *ScriptConn) Output() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.output
}

// Closed reports whether the server closed the connection.
func (c *ScriptConn) Closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Read reads from the current segment.
func (c *ScriptConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case !c.deadline.IsZero() && c.deadline.Before(time.Now()):
		return 0, os.ErrDeadlineExceeded
	case c.fault != nil && c.read == c.faultAt:
		err := c.fault
		c.fault = nil
		return 0, err
	case len(c.segments) == 0:
		return 0, io.EOF
	}
	n := copy(p, c.segments[0])
	if c.segments[0] = c.segments[0][n:]; len(c.segments[0]) == 0 {
		c.segments = c.segments[1:]
		c.read++
	}
	return n, nil
}

// Write collects p.
func (c *ScriptConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	c.output = append(c.output, p...)
	return len(p), nil
}

// Close ends the script.
func (c *ScriptConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

// LocalAddr returns an address of the network "script".
func (c *ScriptConn) LocalAddr() net.Addr { return scriptAddr{} }

// RemoteAddr returns an address of the network "script".
func (c *ScriptConn) RemoteAddr() net.Addr { return scriptAddr{} }

// SetDeadline sets the read deadline; writes never wait.
func (c *ScriptConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline makes reads fail from t on.
func (c *ScriptConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return nil
}

// SetWriteDeadline does nothing.
func (c *ScriptConn) SetWriteDeadline(time.Time) error { return nil }

type scriptAddr struct{}

func (scriptAddr) Network() string { return "script" }
func (scriptAddr) String() string  { return "script" }

// Octets splits data into segments of one octet.
func Octets(data []byte) [][]byte { return Split(data, func() int { return 1 }) }

// Split splits data into segments whose lengths size returns; a length less than one stands for one.
func Split(data []byte, size func() int) (segments [][]byte) {
	for len(data) > 0 {
		n := min(max(size(), 1), len(data))
		segments = append(segments, data[:n])
		data = data[n:]
	}
	return segments
}

// randomSize returns sizes as networks make them: now octets, now lines, now blocks.
func randomSize(r *rand.Rand) func() int {
	return func() int {
		switch r.IntN(4) {
		case 0:
			return 1
		case 1:
			return 1 + r.IntN(4)
		case 2:
			return 1 + r.IntN(80)
		}
		return 1 + r.IntN(2000)
	}
}
