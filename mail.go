package esmtp

import (
	"bytes"
	"time"
)

// doMAIL carries out MAIL (RFC 5321 §4.1.1.2).
func (s *Session) doMAIL(arg []byte) {
	switch {
	case s.cfg.needHELO && s.helo == "":
		s.reply(verbMAIL, replyNeedHELO)
	case s.tx != nil:
		s.reply(verbMAIL, replyNestedMAIL)
	case over(s.mails+1, s.maxMails):
		s.limited(LimitMessages)
		s.overLimit(verbMAIL, replyTooManyMails)
	case s.overRate(eventMessage, s.cfg.rates.Messages):
		s.reply(verbMAIL, replyTooFast)
	default:
		s.reply(verbMAIL, s.beginTransaction(arg))
	}
}

// beginTransaction checks the arguments of MAIL and asks the handler. Only a success leaves a transaction.
func (s *Session) beginTransaction(arg []byte) Reply {
	p, there, ok := s.cutPath(arg, "FROM:")
	switch {
	case !there:
		return replySyntaxMAIL
	case !ok, len(p.raw) > 0 && len(p.domain) == 0: // only RCPT knows <postmaster>
		return replyBadSender
	}
	if r := s.parseParams(verbMAIL, p.rest); !r.IsZero() {
		return r
	}
	from, ok := s.arena.makePath(&p, p.rest)
	switch {
	case !ok:
		return replyBadSender
	case !p.ascii && !from.SMTPUTF8():
		return replyNeedUTF8From
	}
	if s.offered(extFUTURERELEASE) {
		if r := checkHold(from, time.Now()); !r.IsZero() {
			return r
		}
	}
	if size, ok := from.Size(); ok && over(size, s.maxSize) {
		s.limited(LimitMessageBytes)
		return replyTooBig // RFC 1870 §6.1
	}
	s.transactions++
	s.setTransaction(newTransaction(s, from))
	r := s.checkReply("MAIL", s.callMAIL(from), isFinal)
	if r.Code/100 == 2 {
		s.mails++
	} else {
		s.dropTransaction() // what XFORWARD said still waits for one
	}
	return r
}

// cutPath reads "FROM:" or "TO:" and the path behind it; what is left are the parameters. there tells whether something stands where
// the path should, ok whether it is one.
func (s *Session) cutPath(arg []byte, keyword string) (p parsedPath, there, ok bool) {
	if len(arg) < len(keyword) || !equalFold(arg[:len(keyword)], keyword) {
		return p, false, false
	}
	arg = arg[len(keyword):]
	if !s.cfg.strict {
		arg = bytes.TrimLeft(arg, " ")
	}
	there = len(arg) > 0 && (arg[0] == '<' || !s.cfg.strict)
	if p, ok = parsePath(arg, !s.cfg.strict); ok {
		p.rest = bytes.TrimLeft(p.rest, " ")
	}
	return p, there, ok
}

// endTransaction drops the transaction, if there is one, and what XFORWARD said of it. It is the only way out of one, whatever ended it.
func (s *Session) endTransaction() {
	s.dropTransaction()
	s.forwarded = nil
}

// dropTransaction drops the transaction alone.
func (s *Session) dropTransaction() {
	tx := s.tx
	if tx == nil {
		return
	}
	s.logDropped(tx)
	s.setTransaction(nil)
	s.lastRcpts = len(tx.recipients)
	s.separator = ""
	s.chunkMode = false
	tx.end()
}

func (s *Session) setTransaction(tx *Transaction) {
	s.mu.Lock()
	s.tx = tx
	s.mu.Unlock()
}

// overLimit answers a command that is over an announced limit. A client that doesn't mind is told to go (RFC 9422 §3).
func (s *Session) overLimit(v verb, r Reply) {
	if s.overshoot++; s.overshoot <= maxOvershoot {
		s.errors-- // it may not have known
	}
	s.reply(v, r)
}

// maxOvershoot is how many commands over a limit are answered before they count as errors.
const maxOvershoot = 1000
