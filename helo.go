package esmtp

// doHELO carries out HELO and EHLO (RFC 5321 §4.1.1.1). LHLO will come this way too.
func (s *Session) doHELO(v verb, arg []byte) {
	if !s.isHELOName(arg) {
		name := verbNames[v]
		s.reply(v, Reply{Code: 501, Lines: []string{name + " requires domain address"}})
		return
	}
	domain := string(arg)
	var r Reply
	if v == verbEHLO {
		r = s.checkReply("EHLO", s.callEHLO(domain), is250)
	} else {
		r = s.checkReply("HELO", s.callHELO(domain), is250)
	}
	if r.Code == 250 {
		s.endTransaction() // RFC 5321 §4.1.4: as if by RSET
		s.helo = domain
		s.esmtp = v == verbEHLO
		s.withdraw()
		s.enhanced = true
		if s.esmtp {
			r.Lines = s.offer(r.Lines)
			s.enhanced = s.offered(extENHANCED)
		}
	}
	s.reply(v, r)
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
