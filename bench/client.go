package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// maxSession bounds a conversation, so that a server that hangs ends the run.
const maxSession = time.Minute

// load gives a server its work.
type load struct {
	addr     string
	sessions int
	script   []step
	waits    []int // how many replies each step waits for
	sink     *sink // where the messages are to arrive; nil: nowhere

	stop     atomic.Bool
	messages atomic.Int64
	octets   atomic.Int64
}

// newLoad prepares the work, with no more sessions at a time than most; 0 leaves that to the work.
func newLoad(addr string, w *work, most int) *load {
	l := &load{addr: addr, sessions: w.sessions, script: w.script()}
	if most > 0 {
		l.sessions = min(l.sessions, most)
	}
	for _, s := range l.script {
		l.waits = append(l.waits, replies(s.answer))
	}
	return l
}

// run works for the given time, or up to maxMessages, and ends with whole messages, that have arrived if they are to. It returns how
// many, and their octets.
func (l *load) run(ctx context.Context, d time.Duration) (messages, octets int64, err error) {
	l.stop.Store(false)
	l.messages.Store(0)
	l.octets.Store(0)
	arrived := l.sink.count()
	timer := time.AfterFunc(d, func() { l.stop.Store(true) })
	defer timer.Stop()
	defer context.AfterFunc(ctx, func() { l.stop.Store(true) })()
	var wg sync.WaitGroup
	errs := make(chan error, l.sessions)
	for range l.sessions {
		wg.Go(func() {
			for first := true; first || !l.stop.Load(); first = false {
				if err := l.converse(); err != nil {
					l.stop.Store(true)
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err = <-errs:
	default:
	}
	if err == nil && l.sink != nil {
		err = l.sink.await(ctx, arrived+l.messages.Load())
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return l.messages.Load(), l.octets.Load(), err
}

// converse holds the conversation once. If the time is over it hangs up behind the message that it is at.
func (l *load) converse() error {
	c, err := dial(l.addr, nil)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	for i := range l.script {
		s := &l.script[i]
		if err := c.take(s, l.waits[i]); err != nil {
			return err
		}
		if s.octets > 0 {
			l.octets.Add(int64(s.octets))
			if l.messages.Add(1) >= maxMessages || l.stop.Load() {
				l.stop.Store(true)
				return nil
			}
		}
	}
	return nil
}

// client is our side of a session.
type client struct {
	conn net.Conn
	r, w int // buf[r:w] is read and not yet looked at
	buf  [4096]byte
}

// dial connects, from the given address or from any.
func dial(addr string, from net.Addr) (*client, error) {
	d := net.Dialer{KeepAlive: -1, LocalAddr: from, Timeout: 10 * time.Second}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if err := conn.SetDeadline(time.Now().Add(maxSession)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &client{conn: conn}, nil
}

// take does a step that waits for n replies.
func (c *client) take(s *step, n int) error {
	if err := c.do(s.send, n); err != nil || !s.secure {
		return err
	}
	return c.secure()
}

// do sends p and waits for n replies, all of which must be positive.
func (c *client) do(p []byte, n int) error {
	if len(p) > 0 {
		if _, err := c.conn.Write(p); err != nil {
			return fmt.Errorf("bench: sending %.20q: %w", p, err)
		}
	}
	for n > 0 {
		line, err := c.line()
		if err != nil {
			return fmt.Errorf("bench: waiting for a reply to %.20q: %w", p, err)
		}
		if len(line) < len("250\r\n") || line[0] != '2' && line[0] != '3' {
			return fmt.Errorf("bench: sent %.20q, got %q", p, line)
		}
		if line[3] != '-' {
			n--
		}
	}
	return nil
}

// line returns the next line that the server says. It is valid until the next call.
func (c *client) line() ([]byte, error) {
	for {
		p := c.buf[c.r:c.w]
		if end := bytes.IndexByte(p, '\n'); end >= 0 {
			c.r += end + 1
			return p[:end+1], nil
		}
		c.w = copy(c.buf[:], p)
		c.r = 0
		n, err := c.conn.Read(c.buf[c.w:])
		if n == 0 && err != nil {
			return nil, err
		}
		c.w += n
	}
}
