package esmtptest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Addresses of a [Pipe] that nobody chose: documentation addresses (RFC 5737), so that limits per address count them.
var (
	ClientAddr net.Addr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 49152}
	ServerAddr net.Addr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 25), Port: 25}
	LMTPAddr   net.Addr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 25), Port: 24} // LMTP is not for port 25
)

// streamSize is how much a [Conn] takes before a Write blocks, as a socket's buffer would.
const streamSize = 64 << 10

// Pipe returns the two ends of an in-memory connection. It behaves as TCP does: writes go into a buffer of 64 KiB and block only when
// that is full, deadlines work, either direction can be closed alone. It uses no system resource and waits in a way that
// testing/synctest sees, so inside a bubble its deadlines cost no time.
func Pipe() (client, server *Conn) { return PipeAddr(ClientAddr, ServerAddr) }

// PipeAddr is [Pipe] between the given addresses.
func PipeAddr(clientAddr, serverAddr net.Addr) (client, server *Conn) {
	up, down := newStream(), newStream()
	return &Conn{in: down, out: up, local: clientAddr, remote: serverAddr},
		&Conn{in: up, out: down, local: serverAddr, remote: clientAddr}
}

// Conn is an end of an in-memory connection.
type Conn struct {
	in, out       *stream
	local, remote net.Addr
}

var _ net.Conn = (*Conn)(nil)

// Read reads what the other end wrote. It returns io.EOF after the other end was closed and everything was read.
func (c *Conn) Read(p []byte) (int, error) { return c.in.read(p) }

// Write writes to the other end. It blocks while that has more than 64 KiB to read.
func (c *Conn) Write(p []byte) (int, error) { return c.out.write(p) }

// Close closes both directions. What was written can still be read by the other end.
func (c *Conn) Close() error {
	c.in.close(false, net.ErrClosed)
	c.out.close(true, net.ErrClosed)
	return nil
}

// CloseWrite closes the direction to the other end, which reads io.EOF; this end can go on to read.
func (c *Conn) CloseWrite() error {
	c.out.close(true, net.ErrClosed)
	return nil
}

// Reset breaks the connection, as a host that went away does: the other end loses what it hasn't read, and gets ECONNRESET.
func (c *Conn) Reset() {
	c.in.close(false, net.ErrClosed)
	c.out.breakOff(syscall.ECONNRESET)
}

// LocalAddr returns this end's address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other end's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines; see [net.Conn].
func (c *Conn) SetDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.reading, t)
	c.out.setDeadline(&c.out.writing, t)
	return nil
}

// SetReadDeadline sets the deadline of Read; see [net.Conn].
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.reading, t)
	return nil
}

// SetWriteDeadline sets the deadline of Write; see [net.Conn].
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writing, t)
	return nil
}

// stream is one direction of a connection: a ring that one end writes and the other reads.
type stream struct {
	mu      sync.Mutex
	change  sync.Cond
	buf     []byte // as large as was needed, at most streamSize
	from, n int    // buf[from:][:n], round the end, waits to be read
	eof     bool   // the writer is done
	readErr error  // what the reader gets, whatever waits
	sendErr error  // what the writer gets
	reading deadline
	writing deadline
}

type deadline struct {
	timer   *time.Timer
	round   int // counts the settings, so that an old timer does nothing
	expired bool
}

func newStream() *stream {
	s := new(stream)
	s.change.L = &s.mu
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readErr != nil:
			return 0, s.readErr
		case s.reading.expired:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case s.n > 0:
			n := s.take(p)
			s.change.Broadcast()
			return n, nil
		case s.eof:
			return 0, io.EOF
		}
		s.change.Wait()
	}
}

func (s *stream) write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.sendErr != nil:
			return n, s.sendErr
		case s.writing.expired:
			return n, os.ErrDeadlineExceeded
		case len(p) == 0:
			return n, nil
		}
		if k := s.put(p); k > 0 {
			n += k
			p = p[k:]
			s.change.Broadcast()
			continue
		}
		s.change.Wait()
	}
}

// take moves octets out of the ring.
func (s *stream) take(p []byte) (n int) {
	for n < len(p) && s.n > 0 {
		k := copy(p[n:], s.buf[s.from:min(s.from+s.n, len(s.buf))])
		s.from = (s.from + k) % len(s.buf)
		s.n -= k
		n += k
	}
	return n
}

// put moves octets into the ring, which grows up to its full size first.
func (s *stream) put(p []byte) (n int) {
	if s.n+len(p) > len(s.buf) && len(s.buf) < streamSize {
		buf := make([]byte, min(max(s.n+len(p), 2*len(s.buf), 512), streamSize))
		had := s.n
		s.take(buf)
		s.buf, s.from, s.n = buf, 0, had
	}
	for n < len(p) && s.n < len(s.buf) {
		to := (s.from + s.n) % len(s.buf)
		end := len(s.buf)
		if to < s.from {
			end = s.from
		}
		k := copy(s.buf[to:end], p[n:])
		s.n += k
		n += k
	}
	return n
}

// close ends the stream for the end that calls it; the other one reads what is left, or finds that nobody listens.
func (s *stream) close(byWriter bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.change.Broadcast()
	if byWriter {
		s.eof = true
		s.sendErr = err
		return
	}
	if s.readErr == nil {
		s.readErr = err
	}
	if s.sendErr == nil {
		s.sendErr = syscall.EPIPE
	}
}

// breakOff ends the stream for both ends at once.
func (s *stream) breakOff(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readErr = err
	s.sendErr = net.ErrClosed
	s.n = 0
	s.change.Broadcast()
}

func (s *stream) setDeadline(d *deadline, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.round++
	d.expired = false
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.expired = true
		s.change.Broadcast()
		return
	}
	round := d.round
	d.timer = time.AfterFunc(left, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if d.round == round {
			d.expired = true
			s.change.Broadcast()
		}
	})
}
