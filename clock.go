package esmtp

import (
	"errors"
	"net"
	"os"
	"time"
)

// clock sets the deadlines of a connection, and as seldom as it can: setting one for each line shows in a profile. A deadline
// is set somewhat later than asked for, and left alone while it is not too early and not much too late.
type clock struct {
	read, write time.Duration // the deadlines that are set, from the start of the session; 0: none
}

// deadlineUnknown stands for a read deadline that another goroutine has set.
const deadlineUnknown = -1

// stressTime is the longest that a client is waited for while the server is near its limit of connections.
const stressTime = 10 * time.Second

// hurried is a time limit, cut short while the server is under stress.
func (s *Session) hurried(limit time.Duration) time.Duration {
	if s.srv.stressed.Load() && (limit <= 0 || limit > stressTime) {
		return stressTime
	}
	return limit
}

// slack is how much later than asked for a deadline may be.
func slack(d time.Duration) time.Duration { return min(d/16, 10*time.Second) }

// longAgo is a deadline that ends a read at once.
var longAgo = time.Unix(1, 0)

// elapsed is the time since the session began.
func (s *Session) elapsed() time.Duration { return time.Since(s.started) }

// expectRead sets the read deadline: limit after begin, but not past the session's time, which counts exactly.
func (s *Session) expectRead(begin, limit time.Duration) error {
	at, room := begin+limit, slack(limit)
	if limit <= 0 {
		at, room = 0, 0
	}
	if end := s.cfg.timeouts.Session; end > 0 && (at == 0 || end < at+room) {
		at, room = end, 0
	}
	if s.clock.read == at || at > 0 && s.clock.read > at && s.clock.read <= at+room {
		return nil
	}
	if at == 0 {
		s.clock.read = 0
		return s.conn.SetReadDeadline(time.Time{})
	}
	s.clock.read = at + room
	return s.conn.SetReadDeadline(s.started.Add(s.clock.read))
}

// passed reports whether the read deadline is over.
func (c *clock) passed(now time.Duration) bool { return c.read > 0 && now >= c.read }

// expectWrite sets the write deadline.
func (s *Session) expectWrite() error {
	limit := s.cfg.timeouts.Write
	if limit <= 0 {
		return nil
	}
	at := s.elapsed() + limit
	if s.clock.write >= at && s.clock.write <= at+slack(limit) {
		return nil
	}
	s.clock.write = at + slack(limit)
	return s.conn.SetWriteDeadline(s.started.Add(s.clock.write))
}

func isTimeout(err error) bool {
	if err == nil {
		return false // before t costs an allocation
	}
	var t net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
