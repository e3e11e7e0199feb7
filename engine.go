package esmtp

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"runtime/debug"
	"time"
)

// serve carries on the whole session: greeting, commands, end.
func (s *Session) serve() {
	dozing := false
	defer s.finish(&dozing)
	if s.greet() {
		dozing = s.converse()
	}
}

// converse answers commands until the session is over, or so idle that it should doze.
func (s *Session) converse() (dozing bool) {
	for !s.leaving {
		line, err := s.readCommand()
		switch {
		case err == errDoze:
			return true
		case err != nil:
			s.fail(err)
			return false
		case line != nil:
			s.command(line)
		}
	}
	s.flush()
	if s.reason == nil {
		s.reason = ErrHangup
	}
	return false
}

// dozeAfter is how long a session waits for a command before it dozes.
const dozeAfter = time.Second

// doze goes on with an idle session, on a goroutine of its own. The stack of the one before has grown by what the session
// did, and never shrinks back to the little that waiting takes: with thousands of idle sessions it is most of their memory.
func (s *Session) doze() {
	dozing := false
	defer s.finish(&dozing)
	if err := s.await(StateWaiting, s.waiting, s.cfg.timeouts.Command); err != nil {
		s.fail(err)
		return
	}
	dozing = s.converse()
}

// isTLS reports whether the connection is in TLS from the start.
func (s *Session) isTLS() bool {
	_, ok := s.conn.(interface{ HandshakeContext(context.Context) error })
	return ok
}

// greet runs CONNECT and writes the greeting. It reports whether the session goes on.
func (s *Session) greet() bool {
	fewEnough := s.srv.admitAddr(s)
	if s.isTLS() && !fewEnough {
		s.reason = ErrTooMany // without the cost of a handshake
		return false
	}
	if err := s.handshake(); err != nil {
		s.reason = err
		return false
	}
	switch limit := s.cfg.limits.Connections; {
	case !fewEnough:
		s.bye(replyTooManyPeer, ErrTooMany)
		return false
	case over(s.number, limit):
		s.bye(replyTooManyAll, ErrTooMany)
		return false
	}
	s.h = s.makeHandler()
	if s.h == nil {
		s.bye(replyUnavailable, ErrHangup)
		return false
	}
	r := s.checkReply("CONNECT", s.callCONNECT(), isGreeting)
	if r.Code/100 == 2 {
		r.Code = 220 // RFC 5321 §4.3.2
	} else {
		s.refused = true
		s.reason = ErrRefused
	}
	s.write(r, replyFormat{})
	return !s.leaving
}

// handshake does the handshake of a connection that is in TLS from the start, so that CONNECT sees the state of it.
func (s *Session) handshake() error {
	c, ok := s.conn.(interface{ HandshakeContext(context.Context) error })
	if !ok {
		return nil
	}
	if err := s.expectRead(s.elapsed(), s.cfg.timeouts.Command); err != nil {
		return err
	}
	if err := s.expectWrite(); err != nil {
		return err
	}
	err := c.HandshakeContext(context.Background())
	var alert tls.RecordHeaderError
	if errors.As(err, &alert) {
		return errors.Join(ErrProtocol, err)
	}
	return err
}

// makeHandler calls the factory, which is code of the user's: nil if it panics or returns nothing.
func (s *Session) makeHandler() (h Handler) {
	s.guard("NewHandler", func() { h = s.cfg.newHandler(s) })
	if h != nil {
		s.wantsHeader = overrides(h, "HEADER")
	}
	return h
}

// readCommand returns the next command line. It returns nil for a line that was too long and has been answered.
func (s *Session) readCommand() ([]byte, error) {
	for {
		line, ok := s.in.line(!s.cfg.strict)
		if ok {
			s.waiting = 0
			return line, nil
		}
		if s.in.buffered() >= s.maxLine() {
			return nil, s.dropLongLine()
		}
		if err := s.flush(); err != nil {
			return nil, err
		}
		if err := s.waitCommand(!s.in.pending()); err != nil {
			return nil, err
		}
	}
}

// waitCommand waits for octets of a command. The time counts from when we began to wait for it, so that a command can't come octet by
// octet for ever; it is here, at a command boundary, that a shutdown ends a session.
func (s *Session) waitCommand(mayDoze bool) error {
	if s.waiting == 0 {
		s.waiting = max(s.elapsed(), 1)
	}
	s.in.size = lineBuffer
	if s.maxLine() >= lineBuffer {
		s.in.size = chunkBuffer
	}
	limit := s.cfg.timeouts.Command
	if !mayDoze || limit > 0 && limit <= 2*dozeAfter {
		return s.await(StateWaiting, s.waiting, limit)
	}
	err := s.await(StateWaiting, s.waiting, dozeAfter)
	if isTimeout(err) && !s.timeIsUp() {
		return errDoze
	}
	return err
}

// await waits for octets until limit after begin. A wait that a shutdown has cut short, but that is not to end now, goes on.
func (s *Session) await(state SessionState, begin, limit time.Duration) error {
	s.state.Store(uint32(state))
	defer s.state.Store(uint32(StateBusy))
	for {
		if err := s.expectRead(begin, limit); err != nil {
			return err
		}
		if state == StateWaiting && s.endsNow() {
			return ErrShutdown
		}
		err := s.in.fill()
		if err == nil || !isTimeout(err) || s.clock.passed(s.elapsed()) {
			return err
		}
		s.clock.read = 0 // it was not this deadline that passed
	}
}

// endsNow reports whether the server is shutting down and no message is half here.
func (s *Session) endsNow() bool {
	return s.srv.draining.Load() && (s.tx == nil || s.tx.bdat != bdatOpen)
}

// wake ends the wait for a command, for a shutdown. Other goroutines call it.
func (s *Session) wake() {
	if s.state.Load() == uint32(StateWaiting) {
		s.conn.SetReadDeadline(longAgo)
	}
}

// abort closes the connection. Other goroutines call it.
func (s *Session) abort() {
	s.aborted.Store(true)
	s.cancelContext(ErrServerClosed)
	s.conn.Close()
}

// maxDiscard is how much of a command line that is too long is read before the connection is closed.
const maxDiscard = 64 << 10

// dropLongLine reads the rest of a line that is too long, and answers it (RFC 5321 §4.5.3.1.4).
func (s *Session) dropLongLine() error {
	for total := 0; ; {
		n, end := s.in.dropLine(!s.cfg.strict)
		if end {
			s.waiting = 0
			s.reply(verbUnknown, replyLineTooLong)
			return nil
		}
		if total += n; total > maxDiscard {
			return ErrProtocol
		}
		if err := s.flush(); err != nil {
			return err
		}
		if err := s.waitCommand(false); err != nil {
			return err
		}
	}
}

// fail ends the session for a reason that is not a reply to a command: the client gets a 421 if it is still there.
func (s *Session) fail(err error) {
	s.leaving = true
	switch {
	case s.aborted.Load():
		s.reason = ErrServerClosed
		return
	case isTimeout(err) && s.timeIsUp():
		err = ErrSessionTime
	case isTimeout(err):
		err = ErrTimeout
	}
	switch err {
	case ErrShutdown:
		s.bye(replyShutdown, err)
	case ErrSessionTime:
		s.bye(replySessionTime, err)
	case ErrTimeout, ErrTooSlow:
		s.bye(replyTimeout, err)
	case ErrProtocol:
		s.bye(replyOutOfStep, err)
	default: // the connection is broken
		s.reason = err
	}
}

func (s *Session) timeIsUp() bool {
	limit := s.cfg.timeouts.Session
	return limit > 0 && s.elapsed() >= limit
}

// bye writes a last reply, and says why the session ends.
func (s *Session) bye(r Reply, why error) {
	s.reason = why
	s.leaving = true
	s.write(r, s.format())
	s.flush()
}

// finish ends the session, however it came to its end, a panic in the engine or a runtime.Goexit included; or, if it is dozing,
// only this goroutine.
func (s *Session) finish(dozing *bool) {
	if p := recover(); p != nil {
		s.logPanic("engine", p)
		s.reason = errPanic
	} else if *dozing {
		go s.doze()
		return
	}
	s.state.Store(uint32(StateClosed))
	if s.reason == errQuit {
		s.reason = nil
	}
	s.endTransaction()
	if !s.hijacked {
		s.hangUp()
	}
	s.in.release()
	s.giveOut()
	if s.h != nil {
		s.guard("Closed", func() { s.h.Closed(s, s.reason) })
	}
	s.cancelContext(errors.Join(context.Canceled, s.reason))
	s.srv.dismiss(s)
	s.logEnd()
	if s.done != nil {
		close(s.done)
	}
}

var (
	errPanic = errors.New("esmtp: panic")
	errQuit  = errors.New("esmtp: QUIT") // an end without a fault: Closed gets nil
	errDoze  = errors.New("esmtp: idle") // no end at all
)

// lingerTime and lingerOctets bound how long we listen to a client that we hang up on.
const (
	lingerTime   = time.Second
	lingerOctets = 1 << 20
)

// hangUp closes the connection. If the client may still be sending, closing at once would reset the connection, and the client could
// lose the reply that tells it why: so we stop sending first, and read a little.
func (s *Session) hangUp() {
	defer s.conn.Close()
	switch s.reason {
	case ErrRefused, ErrHangup, ErrProtocol, ErrTooMany, ErrTooManyErrors:
	default:
		return // it left, or is silent
	}
	c, ok := s.conn.(interface{ CloseWrite() error })
	if !ok || s.aborted.Load() {
		return
	}
	if c.CloseWrite() != nil {
		return
	}
	s.conn.SetReadDeadline(time.Now().Add(lingerTime))
	s.in.size = chunkBuffer
	for total := 0; total < lingerOctets; {
		s.in.r = s.in.w
		if s.in.fill() != nil {
			return
		}
		total += s.in.buffered()
	}
}

// guard runs code of a handler, and logs its panic.
func (s *Session) guard(hook string, f func()) {
	defer func() {
		if p := recover(); p != nil {
			s.logPanic(hook, p)
		}
	}()
	f()
}

func (s *Session) logPanic(hook string, p any) {
	s.Logger().Error("panic in a handler", "verb", hook, "panic", p, "stack", string(debug.Stack()))
}

// Hijack hands the connection over to a method of the handler, with what was read of it and not yet used. The replies that were still
// to be written are. From then on the connection belongs to the caller, who closes it; when the method returns its reply is dropped,
// and the session is over.
func (s *Session) Hijack() (conn net.Conn, read []byte, err error) {
	if s.hijacked {
		return nil, nil, ErrHijacked
	}
	s.stopWatch()
	if err := s.flush(); err != nil {
		return nil, nil, err
	}
	s.hijacked, s.leaving = true, true
	s.reason = ErrHijacked
	read = append(read, s.in.bytes()...)
	if s.in.hasPushed {
		read = append(read, s.in.pushed)
	}
	s.in.r = s.in.w
	s.conn.SetDeadline(time.Time{})
	return s.conn, read, nil
}
