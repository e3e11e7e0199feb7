package esmtp

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"time"
)

// endsNow reports whether the server is shutting down and no message is half here.
func (s *Session) endsNow() bool {
	return s.srv.draining.Load() && !s.inMessage()
}

// inMessage reports whether a message is half here, between two BDAT commands.
func (s *Session) inMessage() bool { return s.tx != nil && s.tx.bdat == bdatOpen }

// wake ends the wait for a command, for a shutdown or what was posted. Other goroutines call it. The lock holds the session at its wait: a
// deadline that came later would break a handshake, or what has hijacked the connection.
func (s *Session) wake() {
	s.waking.Lock()
	defer s.waking.Unlock()
	if s.state.Load() == uint32(StateWaiting) {
		s.woken = true
		s.socket.SetReadDeadline(longAgo)
	}
}

// wasWoken reports whether a deadline was wake's doing. It is called on the session's goroutine.
func (s *Session) wasWoken() bool {
	s.waking.Lock()
	defer s.waking.Unlock()
	return s.forgetWake()
}

// endWait is called at the end of a wait: from now on nobody wakes the session.
func (s *Session) endWait() {
	s.waking.Lock()
	defer s.waking.Unlock()
	s.state.Store(uint32(StateBusy))
	s.forgetWake()
}

// forgetWake has the deadline set anew if it was wake's. It is called with the lock held.
func (s *Session) forgetWake() (woken bool) {
	if woken = s.woken; woken {
		s.woken = false
		s.clock.read = deadlineUnknown
	}
	return woken
}

// abort closes the connection. Other goroutines call it. A connection that was hijacked belongs to somebody else once the session is over.
func (s *Session) abort() {
	s.mu.Lock()
	foreign := s.over && s.hijacked
	s.mu.Unlock()
	if foreign {
		return
	}
	s.aborted.Store(true)
	s.cancelContext(ErrServerClosed)
	s.socket.Close()
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
	if err != ErrShutdown && err != ErrHijacked && err != ErrHangup {
		s.failedWith(err)
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
	s.write(s.signed(r), s.format())
	s.flush()
}

// signed puts our name before the text of a 421 (RFC 5321 §4.2.2).
func (s *Session) signed(r Reply) Reply {
	r.Lines = []string{s.Hostname() + " " + r.Lines[0]}
	return r
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
	s.closeMailbox()
	if s.writeErr != nil {
		s.failed(ClassWrite, s.writeErr)
	}
	s.reason = s.whyEnded()
	s.endTransaction()
	if !s.hijacked {
		s.hangUp()
	}
	s.srv.uncount(s)
	s.in.release()
	s.giveOut()
	if s.h != nil {
		s.guard("Closed", func() { s.h.Closed(s, s.reason) })
	}
	s.ended()
	s.cancelContext(errors.Join(context.Canceled, s.reason))
	s.logEnd()
	s.srv.dismiss(s) // last, as Shutdown returns now
	if s.done != nil {
		close(s.done)
	}
}

// whyEnded is what Closed is told.
func (s *Session) whyEnded() error {
	switch {
	case s.reason == errQuit:
		return nil
	case s.aborted.Load():
		return ErrServerClosed // whatever broke first because of that
	case s.reason == nil:
		return ErrHangup
	}
	return s.reason
}

var (
	errPanic  = errors.New("esmtp: panic")
	errQuit   = errors.New("esmtp: QUIT")                 // an end without a fault: Closed gets nil
	errDoze   = errors.New("esmtp: idle")                 // no end at all
	errPosted = errors.New("esmtp: something was posted") // nor is this
)

// lingerTime and lingerOctets bound how long we listen to a client that we hang up on.
const (
	lingerTime   = time.Second
	lingerOctets = 1 << 20
)

// lingers reports whether the client may still be sending. One that said nothing lately isn't: idle ones are not to hold up an exit.
func (s *Session) lingers() bool {
	switch s.reason {
	case ErrRefused, ErrHangup, ErrEarlyTalker, ErrNotSMTP, ErrProtocol, ErrTooMany, ErrTooManyErrors:
		return !s.aborted.Load()
	case ErrShutdown, ErrSessionTime:
		return s.in.pending() || s.waiting == 0 || s.elapsed()-s.waiting < lingerTime
	}
	return false // it left, or is silent
}

// hangUp closes the connection. If the client may still be sending, closing at once would reset the connection, and the client could
// lose the reply that tells it why, and the 250 of a message before that: so we stop sending first, and read a little.
func (s *Session) hangUp() {
	defer s.conn.Close()
	c, ok := s.conn.(interface{ CloseWrite() error })
	if !ok || !s.lingers() || c.CloseWrite() != nil {
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
		s.stopWatch()
	}()
	f()
}

func (s *Session) logPanic(hook string, p any) {
	if s.cfg.log.Enabled(context.Background(), slog.LevelError) { // the stack costs more than a message
		s.Logger().Error("panic in a handler", "verb", hook, "panic", p, "stack", string(debug.Stack()))
	}
}
