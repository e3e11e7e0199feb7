package esmtp

import "sync"

// outputBuffer is how many octets of replies are gathered before they are written. They are written earlier when the input has run dry.
const outputBuffer = 4 << 10

var outputBuffers = sync.Pool{New: func() any { return new([outputBuffer]byte) }}

// format says how replies look now.
func (s *Session) format() replyFormat {
	return replyFormat{enhanced: s.enhanced, utf8: s.tx != nil && s.tx.SMTPUTF8()}
}

// write puts a reply into the output.
func (s *Session) write(r Reply, f replyFormat) {
	if r.Close {
		s.leaving = true
		if s.reason == nil {
			s.reason = ErrHangup
		}
	}
	if r.Code <= 0 || s.hijacked {
		return
	}
	s.noteReply(r)
	if s.out == nil {
		s.out = outputBuffers.Get().(*[outputBuffer]byte)[:0]
	}
	s.out = appendReply(s.out, r, f)
	if len(s.out) > outputBuffer-maxReplyLine {
		s.flush()
	}
}

// flush writes what was gathered. An error shows in the next read too, so only a caller that reads next has to look at it.
func (s *Session) flush() error {
	if len(s.out) == 0 || s.hijacked {
		return nil
	}
	defer s.giveOut()
	if s.writeErr != nil {
		return s.writeErr // a second try would only wait again
	}
	err := s.expectWrite()
	if err == nil {
		_, err = s.conn.Write(s.out)
		s.octetsOut.Add(int64(len(s.out)))
	}
	if err == nil {
		return nil
	}
	if isTimeout(err) {
		err = ErrTimeout
	}
	s.leaving = true
	s.writeErr = err
	if s.reason == nil {
		s.reason = err
	}
	return err
}

func (s *Session) giveOut() {
	if cap(s.out) == outputBuffer {
		outputBuffers.Put((*[outputBuffer]byte)(s.out[:outputBuffer]))
	}
	s.out = nil
}
