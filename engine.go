package esmtp

import "time"

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
	return false
}

// dozeAfter is how long a session waits for a command before it dozes.
const dozeAfter = time.Second

// doze goes on with an idle session, on a goroutine of its own. The stack of the one before has grown by what the session
// did, and never shrinks back to the little that waiting takes: with thousands of idle sessions it is most of their memory.
func (s *Session) doze() {
	dozing := false
	defer s.finish(&dozing)
	s.atBoundary = true
	if err := s.await(StateWaiting, s.waiting, s.hurried(s.cfg.timeouts.Command)); err != nil && err != errPosted {
		s.fail(err)
		return
	}
	dozing = s.converse()
}

// readCommand returns the next command line. It returns nil for a line that was too long and has been answered.
func (s *Session) readCommand() ([]byte, error) {
	s.atBoundary = true
	for {
		if s.hasPosted.Load() && !s.inMessage() {
			if s.takePosted(); s.leaving {
				return nil, nil
			}
		}
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
		if err := s.waitCommand(!s.in.pending()); err != nil && err != errPosted {
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
	if s.in.buffered() >= lineBuffer-1 {
		s.in.size = chunkBuffer // a line that is longer
	}
	limit := s.hurried(s.cfg.timeouts.Command)
	if limit > 0 && limit <= 2*dozeAfter || s.elapsed() > s.waiting+dozeAfter {
		return s.await(StateWaiting, s.waiting, limit)
	}
	err := s.await(StateWaiting, s.waiting, dozeAfter) // for the rest of a command too: that leaves the deadline alone
	switch {
	case !isTimeout(err) || s.timeIsUp():
		return err
	case mayDoze:
		return errDoze
	}
	return s.await(StateWaiting, s.waiting, limit)
}

// await waits for octets until limit after begin. A wait that was cut short from outside, but that is not to end now, goes on.
func (s *Session) await(state SessionState, begin, limit time.Duration) error {
	s.state.Store(uint32(state))
	defer s.endWait()
	for {
		if err := s.expectRead(begin, limit); err != nil {
			return err
		}
		if state == StateWaiting && s.endsNow() {
			return ErrShutdown
		}
		if s.atBoundary && s.hasPosted.Load() && !s.inMessage() {
			return errPosted
		}
		err := s.in.fill()
		if err == nil || !isTimeout(err) || s.clock.passed(s.elapsed()) || !s.wasWoken() {
			return err
		}
	}
}

// maxDiscard is how much of a command line that is too long is read before the connection is closed.
const maxDiscard = 64 << 10

// dropLongLine reads the rest of a line that is too long, and answers it (RFC 5321 §4.5.3.1.4).
func (s *Session) dropLongLine() error {
	s.begin(verbUnknown)
	s.limited(LimitCommandLine)
	if isBDAT(s.in.bytes()) {
		return ErrProtocol // what follows may be content
	}
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
