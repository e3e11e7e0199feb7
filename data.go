package esmtp

import (
	"math"
	"slices"
	"time"
)

// doDATA carries out DATA (RFC 5321 §4.1.1.4).
func (s *Session) doDATA(arg []byte) {
	if len(arg) > 0 {
		s.reply(verbDATA, replyNoArg("DATA"))
		return
	}
	if r := s.noRecipients(); !r.IsZero() {
		s.reply(verbDATA, r)
		return
	}
	switch {
	case s.tx.bdat != bdatNone:
		s.reply(verbDATA, replyAfterBDAT)
		return
	case s.tx.from.Body() == BodyBinaryMIME: // RFC 3030 §3
		s.reply(verbDATA, replyBinaryData)
		return
	}
	r := s.checkReply("DATA", s.callDATA(), isDATA)
	s.reply(verbDATA, r)
	if r.Code == 354 && !s.leaving {
		s.receive()
	}
}

// receive takes the message that follows a 354, and answers it.
func (s *Session) receive() {
	m := newMessage(s)
	s.tx.msg = m
	if err := s.readDots(m); err != nil {
		s.fail(err)
		return
	}
	s.finishMessage(m)
}

// readDots reads to the end of the data, and not an octet further.
func (s *Session) readDots(m *message) error {
	var dots dotDecoder
	rate := s.newRate()
	for {
		p := s.in.bytes()
		text, n, bare, done := dots.decode(p)
		s.in.r += n
		if len(text) > 0 {
			m.write(text, bare)
		}
		switch {
		case done:
			return nil
		case m.hopeless():
			return s.giveUp(m)
		}
		if err := s.waitData(&rate, int64(n)); err != nil {
			return err
		}
	}
}

// rate watches how fast a message comes.
type rate struct {
	begin  time.Duration
	octets int64
}

func (s *Session) newRate() rate { return rate{begin: s.elapsed()} }

// waitData waits for more octets of a message; n have been taken since it was last called.
func (s *Session) waitData(r *rate, n int64) error {
	if err := s.flush(); err != nil {
		return err
	}
	s.in.size = chunkBuffer
	r.octets += n
	now, limit := s.elapsed(), s.hurried(s.cfg.timeouts.Data)
	if s.hijacked {
		return ErrHijacked
	}
	if minimum := s.cfg.limits.MinDataRate; minimum > 0 && limit > 0 {
		earned := time.Duration(r.octets/int64(minimum)) * time.Second
		left := r.begin + limit + earned - now
		if left <= 0 {
			s.limited(LimitDataRate)
			return ErrTooSlow
		}
		limit = min(limit, left)
	}
	return s.await(StateData, now, limit)
}

// maxRefused is how much of a message that was refused is read on, for servers without a size limit.
const maxRefused = 64 << 20

// hopeless reports whether reading a refused message to its end is more than can be asked for.
func (m *message) hopeless() bool {
	if !m.judged() {
		return false
	}
	if m.verdict.Code == 0 {
		return true // the handler said Drop
	}
	return m.octets > m.s.patience()
}

// patience is how many octets of a refused message are read on: half as many again as the limit.
func (s *Session) patience() int64 {
	switch n := s.maxSize; {
	case n == 0:
		return maxRefused
	case n > math.MaxInt64/2:
		return n
	default:
		return max(n+n/2, chunkBuffer)
	}
}

// giveUp ends the session in the middle of a message: what follows can't be told from commands.
func (s *Session) giveUp(m *message) error {
	if m.verdict.Code == 0 {
		s.leaving = true
		return ErrHangup
	}
	s.dataFailed(m)
	said := m.verdict // m goes back to its pool
	s.tx.cut = &said
	return ErrProtocol
}

// dataFailed tells of a message that was refused for its form.
func (s *Session) dataFailed(m *message) {
	if m.cause != nil {
		s.failed(ClassData, m.cause)
	}
}

// finishMessage ends the message and its transaction, and answers it.
func (s *Session) finishMessage(m *message) {
	ended := s.elapsed()
	s.noteData(m.octets)
	r := s.applyVerdict(s.checkReply("EOM", m.end(), isFinal))
	s.dataFailed(m)
	replies := s.outcomes(r)
	all := s.oneReply(r, replies)
	if !s.PerRecipient() {
		r, replies = all, nil
	}
	if slices.ContainsFunc(replies, func(r Reply) bool { return r.Code/100 == 2 }) || r.Code/100 == 2 && !s.cfg.lmtp {
		s.messages.Add(1)
		s.errors, s.junk = 0, 0
	} else {
		s.errors++ // if it was one too many, the next command hears of it: this reply is about the message
	}
	f := s.format()
	times := MessageTimes{Receive: ended - s.tx.begun, Handle: s.elapsed() - ended}
	s.logMessage(all, times)
	s.messageDone(all, times)
	s.replied("EOM", all, ended)
	s.endTransaction()
	s.answerMessage(r, replies, f)
}
