package smtpclient

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/caddy-esmtp/esmtp"
)

// maxFlight is how many octets of commands may be under way: a socket's buffer holds them anywhere.
const maxFlight = 16 << 10

// Send sends a message, and returns what became of it for each recipient; the Result is never nil. The error is nil if the server has
// taken over the message for all of them, and else the first that went wrong. Where some recipients are refused the
// message goes to the others: see [Result.Delivered]. Afterwards [Conn.Usable] tells whether the connection can take another message.
func (c *Conn) Send(ctx context.Context, m *Message) (*Result, error) {
	s := &sending{c: c, m: m, result: &Result{Recipients: make([]Outcome, len(m.To))}}
	err := c.guard(ctx, "MAIL", s.run)
	s.settle(err)
	if c.inMail || c.opts.QuitOnError && s.firstError() != nil {
		c.guard(ctx, "RSET", func() error { c.giveUp(); return nil })
	}
	if first := s.firstError(); first != nil {
		return s.result, first
	}
	return s.result, nil
}

// sending is a message on its way.
type sending struct {
	c      *Conn
	m      *Message
	plan   plan
	result *Result

	accepted []int // recipients, as indices of Message.To
	refused  error // what MAIL or DATA said, if not yes
	go354    bool  // DATA said yes
}

// run carries out the transaction. Its error concerns all recipients that nothing else is known of.
func (s *sending) run() (err error) {
	switch {
	case len(s.m.To) == 0:
		return nil
	case s.m.Body == nil:
		return localError("MAIL", fmt.Errorf("%w: no body", ErrArgument))
	}
	if s.plan, err = s.c.plan(s.m); err != nil {
		return err
	}
	s.result.DSN, s.result.DeliverBy = s.plan.dsn, s.plan.by
	if err := s.c.xforward(s.m.Forwarded); err != nil {
		return err
	}
	if err := s.envelope(); err != nil {
		return err
	}
	switch {
	case s.go354 && len(s.accepted) == 0:
		if err := s.lonelyDot(); err != nil {
			return err
		}
		return s.refused
	case s.refused != nil:
		return s.refused
	case len(s.accepted) == 0:
		return nil
	}
	return s.message()
}

// envelope sends MAIL, all RCPT, and DATA if the message goes by it. With PIPELINING (RFC 2920) they go in batches, each small enough for the
// buffers between; the next is sent when all of the last are answered. Without it each waits for its reply.
func (s *sending) envelope() error {
	c := s.c
	window := 1
	if c.offers("PIPELINING") {
		window = c.opts.Limits.Pipelined
	}
	steps := 1 + len(s.m.To)
	if !s.byChunks() {
		steps++
	}
	for done, sent := 0, 0; done < steps; {
		for sent < steps && sent-done < window && (sent == done || len(c.out) < maxFlight) {
			if sent == done && sent > len(s.m.To) && len(s.accepted) == 0 {
				return nil // nobody to send it to
			}
			if err := c.append(s.line(sent)); err != nil {
				c.out = c.out[:0]
				return err
			}
			sent++
		}
		if err := c.flush("MAIL"); err != nil {
			return err
		}
		for ; done < sent; done++ {
			if err := s.answer(done); err != nil {
				return err
			}
		}
		if s.refused != nil {
			return nil
		}
	}
	return nil
}

// line is a command of the envelope.
func (s *sending) line(step int) string {
	switch {
	case step == 0:
		return pathCommand("MAIL FROM:<", s.m.From, s.plan.mail)
	case step <= len(s.m.To):
		to := s.m.To[step-1]
		return pathCommand("RCPT TO:<", to, s.c.RcptParams(to, s.plan.utf8))
	}
	return "DATA"
}

// answer reads the reply to a command of the envelope. Its error is one that ends the connection.
func (s *sending) answer(step int) error {
	c := s.c
	switch {
	case step == 0:
		_, s.refused = c.receive("MAIL", c.opts.Timeouts.Command, 0)
		if s.refused == nil {
			c.beginMail(s.plan.mail)
		}
	case step <= len(s.m.To):
		to := &s.result.Recipients[step-1]
		reply, err := c.receive("RCPT", c.opts.Timeouts.Command, 0)
		if s.refused != nil {
			break // of course
		}
		to.set(reply, err)
		if err == nil {
			s.accepted = append(s.accepted, step-1)
			c.accepted++
		}
	default:
		_, err := c.receiveData()
		s.go354 = err == nil
		if s.refused == nil && len(s.accepted) > 0 {
			s.refused = err
		}
	}
	if c.err != nil {
		return c.err
	}
	return nil
}

// lonelyDot ends the message of a server that wants one although it took no recipient (RFC 2920 §3.1). With LMTP nobody knows how many replies
// that gives.
func (s *sending) lonelyDot() error {
	c := s.c
	if c.opts.LMTP {
		return c.lost("DATA", fmt.Errorf("%w: 354 without a recipient", ErrBadReply))
	}
	c.out = append(c.out, ".\r\n"...)
	if err := c.flush("message"); err != nil {
		return err
	}
	c.receive("message", c.opts.Timeouts.Final, 0)
	c.endMail()
	return nil
}

// byChunks reports whether the message goes by BDAT: because it must, being binary, or because that saves stuffing dots, and a round
// trip where there is no PIPELINING. Its size has to be known, and right, so that one chunk does.
func (s *sending) byChunks() bool {
	if !s.c.offers("CHUNKING") {
		return false
	}
	worth := s.m.Size >= blockSize || s.m.Size > 0 && !s.c.offers("PIPELINING")
	return s.binary() || worth && !s.m.FixNewlines
}

func (s *sending) binary() bool { return max(s.m.Type, s.m.From.Body()) == esmtp.BodyBinaryMIME }

// message sends the body and gives each recipient its reply.
func (s *sending) message() error {
	var replies []esmtp.Reply
	var err error
	if s.byChunks() && s.m.Size <= 0 {
		replies, err = s.chunks()
	} else {
		replies, err = s.stream()
	}
	for i, to := range s.accepted {
		if !s.c.opts.LMTP {
			i = 0
		}
		if i < len(replies) {
			_, err := judge("message", replies[i], 0)
			s.result.Recipients[to].set(replies[i], err)
			s.result.Recipients[to].final = true
		}
	}
	return err
}

// stream sends the body by DATA, or in one chunk.
func (s *sending) stream() ([]esmtp.Reply, error) {
	w := s.c.newDataWriter(unguarded)
	w.enc.ascii, w.enc.fix = s.plan.ascii, s.m.FixNewlines
	w.enc.raw = s.binary()
	if w.enc.dots = !s.byChunks(); !w.enc.dots {
		w.beginChunk(s.m.Size, true)
	}
	block := blocks.Get().(*[]byte)
	defer blocks.Put(block)
	buf, octets, idle := (*block)[:blockSize/2], int64(0), 0
	for {
		n, err := s.m.Body.Read(buf)
		octets += int64(n)
		if idle++; n > 0 {
			idle = 0
		} else if err == nil && idle == 100 {
			err = io.ErrNoProgress
		}
		if s.m.Size > 0 && (octets > s.m.Size || err == io.EOF && octets < s.m.Size) {
			err = ErrSize
		} else if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return nil, err
			}
		}
		switch err {
		case nil:
		case io.EOF:
			return w.End()
		default:
			return nil, w.fail(err)
		}
	}
}

// chunks sends a binary body of unknown size, in chunks of a block.
func (s *sending) chunks() (replies []esmtp.Reply, err error) {
	block := blocks.Get().(*[]byte)
	defer blocks.Put(block)
	buf := (*block)[:blockSize/2]
	for last := false; !last; {
		n, err := io.ReadFull(s.m.Body, buf)
		last = err == io.EOF || err == io.ErrUnexpectedEOF
		w := s.c.newDataWriter(unguarded)
		if err != nil && !last {
			return nil, w.fail(err)
		}
		w.enc.raw = true
		w.beginChunk(int64(n), last)
		if _, err := w.Write(buf[:n]); err != nil {
			return nil, err
		}
		if replies, err = w.end(last); err != nil {
			return replies, err
		}
	}
	return replies, nil
}

// unguarded is the release of a DataWriter within Send, which has a guard of its own.
func unguarded(err error) error { return err }

// settle gives an error that concerns all to those of whom nothing final is known: not to those who were refused, nor to those who have the
// message.
func (s *sending) settle(err error) {
	e := asError(err, "MAIL")
	if e == nil {
		return
	}
	for i := range s.result.Recipients {
		if to := &s.result.Recipients[i]; to.Err == nil && !to.final {
			to.set(esmtp.Reply{}, e)
		}
	}
}

func (s *sending) firstError() error {
	for i := range s.result.Recipients {
		if err := s.result.Recipients[i].Err; err != nil {
			return err
		}
	}
	return nil
}

// asError returns err as *Error, nil for nil.
func asError(err error, verb string) *Error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return e
	}
	return localError(verb, err)
}
