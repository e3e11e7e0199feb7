package esmtp

import (
	"bytes"
	"strconv"
)

// tinyBDAT is the size below which a chunk that is not the last is junk: a million of them would be a million commands.
const tinyBDAT = 64

// doBDAT carries out BDAT (RFC 3030 §2). Whatever the answer, exactly the octets that it announced are consumed, or the connection is
// closed: they are never read as commands.
func (s *Session) doBDAT(arg []byte) {
	size, last, ok := parseBDAT(arg)
	if !ok {
		s.outOfStep(ErrProtocol) // what follows may be content
		s.reply(verbBDAT, replySyntaxBDAT.Hangup())
		return
	}
	refusal := s.openBDAT()
	m := s.bdatMessage(refusal)
	if s.tooFar(m, size) {
		s.limited(LimitMessageBytes)
		s.outOfStep(ErrProtocol)
		s.reply(verbBDAT, replyTooBig.Hangup())
		return
	}
	if err := s.readChunk(m, size); err != nil {
		s.fail(err)
		return
	}
	switch {
	case m == nil:
		n := 1
		if s.cfg.lmtp && last && s.tx != nil {
			n = max(n, len(s.tx.recipients)) // RFC 2033 §4.3
		}
		s.endBDAT(last)
		s.replyTimes(verbBDAT, refusal, n)
	case last:
		s.finishMessage(m)
	case m.judged() && m.verdict.Code >= 400:
		r := m.verdict
		s.dataFailed(m)
		s.endBDAT(false)
		s.reply(verbBDAT, r)
	default:
		if size < tinyBDAT {
			s.junk++
		}
		s.reply(verbBDAT, Reply{Code: 250, Lines: s.line(strconv.FormatInt(size, 10), " octets received")})
	}
}

// parseBDAT reads chunk-size and the end marker.
func parseBDAT(arg []byte) (size int64, last, ok bool) {
	number, marker, more := bytes.Cut(arg, []byte{' '})
	if more && !equalFold(marker, "LAST") || !isSize(string(number)) {
		return 0, false, false
	}
	size, err := strconv.ParseInt(string(number), 10, 64)
	return size, more, err == nil
}

// openBDAT asks for leave to take a chunk. At the first of a message DATA is asked; its 354 isn't written.
func (s *Session) openBDAT() Reply {
	if r := s.barred(verbBDAT); !r.IsZero() {
		return r
	}
	switch {
	case !s.offered(extCHUNKING):
		return replyNoCHUNKING
	case s.tx != nil && s.tx.bdat == bdatFailed:
		return replyBDATFailed
	case s.tx != nil && s.tx.bdat == bdatOpen:
		return Reply{}
	}
	if r := s.noRecipients(); !r.IsZero() {
		return r
	}
	r := s.checkReply("DATA", s.callDATA(), isDATA)
	if r.Code != 354 {
		return r
	}
	return Reply{}
}

// bdatMessage returns the message that chunks go to, nil if they are refused.
func (s *Session) bdatMessage(refusal Reply) *message {
	if !refusal.IsZero() {
		return nil
	}
	if s.tx.bdat == bdatNone {
		s.tx.bdat = bdatOpen
		s.tx.msg = newMessage(s)
	}
	return s.tx.msg
}

// tooFar reports whether a chunk is so far over the limit that it isn't even read.
func (s *Session) tooFar(m *message, size int64) bool {
	switch {
	case m == nil:
		return size > s.patience()
	case s.maxSize == 0:
		return false
	}
	return size > s.patience()-m.octets
}

// readChunk consumes size octets, and hands them to m if there is one.
func (s *Session) readChunk(m *message, size int64) error {
	rate := s.newRate()
	for left := size; left > 0; {
		p := s.in.bytes()
		p = p[:min(int64(len(p)), left)]
		left -= int64(len(p))
		s.in.r += len(p)
		if m != nil && len(p) > 0 {
			m.writeBinary(p)
			if m.hopeless() {
				return s.giveUp(m)
			}
		}
		if left > 0 {
			if err := s.waitData(&rate, int64(len(p))); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeBinary takes a block of BDAT, in which a CRLF may be torn apart by the end of the block: a CR at the end is held back.
func (m *message) writeBinary(p []byte) {
	if m.halfCR {
		m.halfCR = false
		if p[0] == '\n' {
			m.bare = append(m.bare[:0], crlf...)
			m.write(m.bare, false)
			p = p[1:]
		} else {
			m.writeLoneCR()
		}
	}
	if n := len(p); n > 0 && p[n-1] == '\r' {
		m.halfCR = true
		p = p[:n-1]
	}
	if len(p) > 0 {
		m.write(p, !m.binary && !m.judged() && hasBare(p))
	}
}

// writeLoneCR takes a CR that turned out to be no half of a CRLF.
func (m *message) writeLoneCR() { m.write([]byte{'\r'}, true) }

// endBDAT ends the message of a refused chunk. LAST ends its transaction; without it everything up to LAST or RSET is refused.
func (s *Session) endBDAT(last bool) {
	switch {
	case s.tx == nil:
	case last:
		s.endTransaction()
	default:
		s.tx.bdat = bdatFailed
		if s.tx.msg != nil {
			s.tx.msg.release()
			s.tx.msg = nil
		}
	}
}
