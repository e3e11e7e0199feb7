package esmtp

import (
	"net"
	"time"
)

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
