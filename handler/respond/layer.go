package respond

import "github.com/caddy-esmtp/esmtp"

// layer answers one verb. It overrides all that a rule can be for: all but HEADER and BODY, so that it costs a message nothing.
type layer struct {
	esmtp.Handler
	r *Responder
}

// is reports whether the rule is for a verb, and for what is known of the transaction.
func (l *layer) is(verb string, s *esmtp.Session) bool {
	if verb != l.r.verb {
		return false
	}
	tx := s.Transaction()
	if l.r.from != nil && (tx == nil || !l.r.from.Match(tx.From())) {
		return false
	}
	return l.r.to == nil || verb == "RCPT" || tx != nil && l.anyRecipient(tx)
}

func (l *layer) anyRecipient(tx *esmtp.Transaction) bool {
	for _, rcpt := range tx.Recipients() {
		if l.r.to.Match(rcpt.Path) {
			return true
		}
	}
	return false
}

func (l *layer) CONNECT(s *esmtp.Session) esmtp.Reply {
	if l.is("CONNECT", s) {
		return l.r.reply
	}
	return l.Handler.CONNECT(s)
}

func (l *layer) HELO(s *esmtp.Session, domain string) esmtp.Reply {
	if l.is("HELO", s) {
		return l.r.reply
	}
	return l.Handler.HELO(s, domain)
}

func (l *layer) EHLO(s *esmtp.Session, domain string) esmtp.Reply {
	if l.is("EHLO", s) {
		return l.r.reply
	}
	return l.Handler.EHLO(s, domain)
}

func (l *layer) STARTTLS(s *esmtp.Session) esmtp.Reply {
	if l.is("STARTTLS", s) {
		return l.r.reply
	}
	return l.Handler.STARTTLS(s)
}

func (l *layer) AUTH(s *esmtp.Session, mechanism string, x *esmtp.Exchange) esmtp.Reply {
	if l.is("AUTH", s) {
		return l.r.reply
	}
	return l.Handler.AUTH(s, mechanism, x)
}

func (l *layer) MAIL(s *esmtp.Session, from esmtp.Path) esmtp.Reply {
	if l.is("MAIL", s) {
		return l.r.reply
	}
	return l.Handler.MAIL(s, from)
}

func (l *layer) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	if l.is("RCPT", s) && (l.r.to == nil || l.r.to.Match(to)) {
		return l.r.reply
	}
	return l.Handler.RCPT(s, to)
}

func (l *layer) DATA(s *esmtp.Session) esmtp.Reply {
	if l.is("DATA", s) {
		return l.r.reply
	}
	return l.Handler.DATA(s)
}

func (l *layer) EOH(s *esmtp.Session, why esmtp.HeaderEnd) esmtp.Reply {
	if l.is("EOH", s) {
		return l.r.reply
	}
	return l.Handler.EOH(s, why)
}

func (l *layer) EOM(s *esmtp.Session) esmtp.Reply {
	if l.is("EOM", s) {
		return l.r.reply
	}
	return l.Handler.EOM(s)
}

func (l *layer) RSET(s *esmtp.Session) esmtp.Reply {
	if l.is("RSET", s) {
		return l.r.reply
	}
	return l.Handler.RSET(s)
}

func (l *layer) VRFY(s *esmtp.Session, arg string) esmtp.Reply {
	if l.is("VRFY", s) {
		return l.r.reply
	}
	return l.Handler.VRFY(s, arg)
}

func (l *layer) EXPN(s *esmtp.Session, arg string) esmtp.Reply {
	if l.is("EXPN", s) {
		return l.r.reply
	}
	return l.Handler.EXPN(s, arg)
}

func (l *layer) HELP(s *esmtp.Session, arg string) esmtp.Reply {
	if l.is("HELP", s) {
		return l.r.reply
	}
	return l.Handler.HELP(s, arg)
}

func (l *layer) NOOP(s *esmtp.Session, arg string) esmtp.Reply {
	if l.is("NOOP", s) {
		return l.r.reply
	}
	return l.Handler.NOOP(s, arg)
}

func (l *layer) ETRN(s *esmtp.Session, arg string) esmtp.Reply {
	if l.is("ETRN", s) {
		return l.r.reply
	}
	return l.Handler.ETRN(s, arg)
}

func (l *layer) QUIT(s *esmtp.Session) esmtp.Reply {
	if l.is("QUIT", s) {
		return l.r.reply
	}
	return l.Handler.QUIT(s)
}

func (l *layer) UNKNOWN(s *esmtp.Session, verb, arg string) esmtp.Reply {
	if l.is("UNKNOWN", s) {
		return l.r.reply
	}
	return l.Handler.UNKNOWN(s, verb, arg)
}
