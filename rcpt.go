package esmtp

// doRCPT carries out RCPT (RFC 5321 §4.1.1.3).
func (s *Session) doRCPT(arg []byte) {
	switch {
	case s.tx == nil:
		s.reply(verbRCPT, replyNeedMAIL)
	case s.tx.bdat != bdatNone:
		s.reply(verbRCPT, replyAfterBDAT)
	case over(len(s.tx.recipients)+1, s.maxRcpts):
		s.limited(LimitRecipients)
		s.overLimit(verbRCPT, replyTooManyRcpts)
	case s.overRate(eventRecipient, s.cfg.rates.Recipients):
		s.overLimit(verbRCPT, replyTooFast)
	default:
		s.reply(verbRCPT, s.addRecipient(arg))
	}
}

// addRecipient checks the arguments of RCPT and asks the handler.
func (s *Session) addRecipient(arg []byte) Reply {
	p, there, ok := s.cutPath(arg, "TO:")
	switch {
	case !there:
		return replySyntaxRCPT
	case !ok, len(p.raw) == 0, len(p.domain) == 0 && !equalFold(p.raw, "postmaster"): // RFC 5321 §4.5.1
		return replyBadRecipient
	}
	if r := s.parseParams(verbRCPT, p.rest); !r.IsZero() {
		return r
	}
	to, ok := s.arena.makePath(&p, p.rest)
	tx := s.tx
	switch {
	case !ok:
		return replyBadRecipient
	case !p.ascii && !tx.SMTPUTF8():
		return replyNeedUTF8To
	}
	r := s.checkReply("RCPT", s.callRCPT(to), isFinal)
	switch {
	case r.Code/100 == 2:
		if n := len(tx.recipients); n == 1 && n == cap(tx.recipients) && s.lastRcpts > 2 {
			more := append(make([]Recipient, 0, s.lastRcpts), tx.recipients...)
			s.mu.Lock()
			tx.recipients = more
			s.mu.Unlock()
		}
		s.mu.Lock()
		tx.recipients = append(tx.recipients, Recipient{to, r})
		s.mu.Unlock()
	case !over(len(tx.refused)+1, max(s.cfg.limits.Recipients, defaultRecipients)):
		tx.refused = append(tx.refused, Recipient{to, r})
	}
	return r
}

// noRecipients is the reply to DATA and BDAT when there is nobody to send to, the zero Reply if there is somebody.
func (s *Session) noRecipients() Reply {
	switch {
	case s.tx == nil:
		return replyNeedMAILFirst
	case len(s.tx.recipients) > 0:
		return Reply{}
	case len(s.tx.refused) == 0:
		return replyNeedRCPT
	}
	r := replyNoValidRcpt
	if s.cfg.lmtp {
		r.Code = 503 // RFC 2033 §4.2
	}
	first := s.tx.refused[0].Reply
	for _, rcpt := range s.tx.refused {
		if rcpt.Reply.Code != first.Code || len(rcpt.Reply.Lines) != 1 || rcpt.Reply.Lines[0] != first.Lines[0] {
			return r
		}
	}
	r.Lines = []string{r.Lines[0] + ", all were refused: " + first.Lines[0]}
	return r
}
