package esmtp

// doHELO carries out HELO and EHLO (RFC 5321 §4.1.1.1), and LHLO, which is LMTP's EHLO (RFC 2033 §4.1).
func (s *Session) doHELO(v verb, arg []byte) {
	if (v == verbLHLO) != s.cfg.lmtp {
		s.reply(v, s.wrongHELO())
		return
	}
	if !s.isHELOName(arg) {
		name := verbNames[v]
		s.reply(v, Reply{Code: 501, Lines: []string{name + " requires domain address"}})
		return
	}
	domain := string(arg)
	var r Reply
	if v != verbHELO {
		r = s.checkReply("EHLO", s.callEHLO(domain), is250)
	} else {
		r = s.checkReply("HELO", s.callHELO(domain), is250)
	}
	if r.Code == 250 {
		s.endTransaction() // RFC 5321 §4.1.4: as if by RSET
		s.introduce(domain, v != verbHELO)
		s.withdraw()
		s.enhanced = true
		if s.esmtp {
			r.Lines = s.offer(r.Lines)
			s.enhanced = s.offered(extENHANCED)
		}
	}
	s.reply(v, r)
}

// introduce notes who the client says it is.
func (s *Session) introduce(name string, esmtp bool) {
	s.mu.Lock()
	s.helo, s.esmtp = name, esmtp
	s.mu.Unlock()
}

// forget drops what the client said of itself.
func (s *Session) forget() {
	s.introduce("", false)
	s.mu.Lock()
	s.user, s.authMechanism = "", ""
	s.mu.Unlock()
	s.enhanced = true
}

// wrongHELO answers a client that speaks SMTP where LMTP is spoken, or the other way round.
func (s *Session) wrongHELO() Reply {
	if s.cfg.lmtp {
		return Reply{Code: 500, Lines: []string{"This is LMTP, say LHLO"}}
	}
	return Reply{Code: 500, Lines: []string{"This is SMTP, say EHLO"}}
}

// isHELOName checks the name that a client gives: a domain or an address literal. Only strict mode asks for more than printable
// text without spaces: too many clients don't know their name.
func (s *Session) isHELOName(arg []byte) bool {
	if s.cfg.strict {
		return isDomainOrLiteral(string(arg))
	}
	for _, c := range arg {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(arg) > 0 && len(arg) <= maxDomain
}

func isDomainOrLiteral(name string) bool {
	_, rest, ok := scanDomain([]byte(name), false)
	return ok && len(rest) == 0 && isASCII(name)
}
