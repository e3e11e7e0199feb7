package smtpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// blocks are the buffers of messages that are being sent.
var blocks = sync.Pool{New: func() any { b := make([]byte, 0, blockSize); return &b }}

// DataWriter takes a message: Write it, then End, or Abort. While there is one the connection does nothing else. It is for one goroutine.
//
// Its Write takes pieces of any length. Dots and the end of data are its own affair. A bare CR or LF is [ErrBareNewline], and as the server
// must not take the part of a message for the whole, that closes the connection, as does every other error.
type DataWriter struct {
	c       *Conn
	verb    string // "message", for errors
	enc     encoder
	block   *[]byte
	release func(error) error
	replies int // how many are to come
	err     error

	// A reply that comes before the end of the message is noticed by a goroutine, once the message is longer than a block.
	watching bool
	early    atomic.Bool
	first    chan first
}

// first is the first reply to a message, and what reading it returned.
type first struct {
	reply esmtp.Reply
	err   error
}

// Data says DATA (RFC 5321 §4.1.1.4), and returns where to write the message to after a 354. The context holds until the
// message's end.
func (c *Conn) Data(ctx context.Context) (*DataWriter, esmtp.Reply, error) {
	release, err := c.watch(ctx, "DATA")
	if err != nil {
		return nil, esmtp.Reply{}, err
	}
	if err = c.append("DATA"); err == nil {
		err = c.flush("DATA")
	}
	var reply esmtp.Reply
	if err == nil {
		reply, err = c.receiveData()
	}
	if err != nil {
		return nil, reply, release(err)
	}
	if c.opts.LMTP && c.accepted == 0 {
		return nil, reply, release(c.lost("DATA", fmt.Errorf("%w: %w without a recipient", ErrBadReply, reply)))
	}
	w := c.newDataWriter(release)
	w.enc.dots = true
	return w, reply, nil
}

// receiveData waits for the 354. A 2xx makes no sense here.
func (c *Conn) receiveData() (esmtp.Reply, error) {
	reply, err := c.receive("DATA", c.opts.Timeouts.Data, 354)
	if err == nil && reply.Code != 354 {
		return reply, c.lost("DATA", fmt.Errorf("%w: %w", ErrBadReply, reply))
	}
	return reply, err
}

func (c *Conn) newDataWriter(release func(error) error) *DataWriter {
	w := &DataWriter{c: c, verb: "message", release: release, replies: 1, block: blocks.Get().(*[]byte)}
	if c.opts.LMTP {
		w.replies = c.accepted
	}
	w.enc.buf, w.enc.send = *w.block, w.send
	c.data = w
	return w
}

// FixNewlines makes CRLF of every bare CR and LF to come, instead of an error.
func (w *DataWriter) FixNewlines() { w.enc.fix = true }

// Write takes a piece of the message.
func (w *DataWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if err := w.enc.write(p); err != nil {
		return 0, w.fail(err)
	}
	return len(p), nil
}

// End ends the message and returns the reply to it; with LMTP one for each accepted recipient, in the order of RCPT (RFC 2033 §4.2).
// The error is that of the first reply that is not a success. If it is an [*Error] without such a reply, the connection is gone, and
// replies are those that came before.
func (w *DataWriter) End() (replies []esmtp.Reply, err error) {
	return w.end(true)
}

// end is End, or with BDAT the end of a chunk.
func (w *DataWriter) end(last bool) (replies []esmtp.Reply, err error) {
	if w.err != nil {
		return nil, w.err
	}
	if err := w.enc.end(); err != nil {
		return nil, w.fail(err)
	}
	replies, err = w.receive()
	switch e := asError(err, w.verb); {
	case w.c.err == nil && last:
		w.c.completed++
		w.c.endMail()
	case last && e != nil && e.Local:
		e.Err = fmt.Errorf("%w: %w", ErrNoAnswer, e.Err)
	}
	return replies, w.close(err)
}

// Abort gives up: the connection is closed, for there is no other way to end a message that shall not be delivered.
func (w *DataWriter) Abort() {
	if w.err == nil {
		w.fail(ErrClosed)
	}
}

// close ends the writer's life.
func (w *DataWriter) close(err error) error {
	*w.block = w.enc.buf[:0]
	blocks.Put(w.block)
	w.enc.buf, w.block = nil, nil
	w.c.data = nil
	w.err = &Error{Class: Network, Verb: w.verb, Reply: replyLost, Local: true, Err: io.ErrClosedPipe}
	if err = w.release(err); err != nil {
		w.err = err
	}
	return err
}

// fail closes the connection in the middle of the message.
func (w *DataWriter) fail(cause error) error {
	var e *Error
	switch {
	case errors.As(cause, &e):
	case errors.Is(cause, ErrBareNewline):
		e = &Error{Class: Permanent, Verb: w.verb, Reply: replyBare, Local: true, Err: cause}
	case errors.Is(cause, Err8Bit):
		e = missing(w.verb, replyNo8Bit)
		if e.Err = cause; w.enc.ascii == asciiHeader {
			e.Reply = replyNoUTF8
		}
	default:
		e = localError(w.verb, cause)
	}
	w.c.fail(e)
	if w.watching {
		w.await() // the connection is closed: that ends it
	}
	return w.close(e)
}

// errEarly stops a message that the server has answered already.
var errEarly = errors.New("reply before the end of the message")

// send writes a block, unless the server has answered already.
func (w *DataWriter) send(block []byte) error {
	c := w.c
	if !w.watching && c.in.Buffered() > 0 {
		return c.unasked(w.verb)
	}
	if !w.watching && len(block) == blockSize {
		w.watch()
	}
	err := c.conn.SetWriteDeadline(time.Now().Add(c.opts.Timeouts.Block))
	switch {
	case err != nil:
	case w.early.Load():
		err = errEarly
	default:
		_, err = c.conn.Write(block)
	}
	switch {
	case err == nil:
		return nil
	case !w.watching:
		return c.afterWrite(w.verb, err)
	}
	c.conn.SetReadDeadline(time.Now().Add(time.Second)) // what was said, if anything
	f := w.await()
	switch {
	case f.err == nil && f.reply.Code >= 400:
		_, refused := judge(w.verb, f.reply, 0)
		return refused
	case f.err == nil:
		err = fmt.Errorf("%w: %w before the end of the message", ErrBadReply, f.reply)
	case errors.Is(err, errEarly):
		err = f.err
	}
	return c.lost(w.verb, err)
}

// watch begins to wait for the first reply. Should it come before the end of the message, a write that the server doesn't take
// any more of must not wait for its deadline.
//
// The order matters: send sets its deadline and then looks at early; this sets early and then the deadline. One of them sees the other.
func (w *DataWriter) watch() {
	w.watching, w.first = true, make(chan first, 1)
	c := w.c
	c.conn.SetReadDeadline(time.Time{}) // send's and receive's deadlines bound it
	go func() {
		reply, err := readReply(c.in, c.opts.Limits)
		w.early.Store(true)
		c.conn.SetWriteDeadline(time.Unix(1, 0))
		w.first <- first{reply, err}
	}()
}

// await returns what watch came to.
func (w *DataWriter) await() first {
	f := <-w.first
	w.watching = false
	return f
}

// receive waits for the replies to the whole message. What the first says that isn't a success is the error.
func (w *DataWriter) receive() (replies []esmtp.Reply, failed error) {
	c := w.c
	for len(replies) < w.replies {
		var reply esmtp.Reply
		err := c.conn.SetReadDeadline(time.Now().Add(c.opts.Timeouts.Final))
		switch {
		case err != nil:
			err = c.lost(w.verb, err)
		case w.watching:
			f := w.await()
			if reply, err = f.reply, f.err; err != nil {
				err = c.lost(w.verb, err)
			} else {
				reply, err = c.judge(w.verb, reply, 0)
			}
		default:
			reply, err = c.receive(w.verb, c.opts.Timeouts.Final, 0)
		}
		if failed == nil {
			failed = err
		}
		if c.err != nil && reply.Code != 421 {
			return replies, err
		}
		replies = append(replies, reply)
		if c.err != nil {
			return replies, failed
		}
	}
	return replies, failed
}
