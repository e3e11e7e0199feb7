package esmtp

// The calls of the handler's methods. Each is wrapped so that a panic becomes a reply, and the zero Reply becomes the usual one,
// which is Default's.

// returned is deferred around each call of a method.
func (s *Session) returned(hook string, r *Reply) {
	if p := recover(); p != nil {
		s.logPanic(hook, p)
		*r = replyLocalError
	}
	if s.watch != nil {
		s.stopWatch()
	}
}

func (s *Session) callCONNECT() (r Reply) {
	defer s.returned("CONNECT", &r)
	if r = s.h.CONNECT(s); r.IsZero() {
		r = Default{}.CONNECT(s)
	}
	return r
}

func (s *Session) callHELO(domain string) (r Reply) {
	defer s.returned("HELO", &r)
	if r = s.h.HELO(s, domain); r.IsZero() {
		r = Default{}.HELO(s, domain)
	}
	return r
}

func (s *Session) callEHLO(domain string) (r Reply) {
	defer s.returned("EHLO", &r)
	if r = s.h.EHLO(s, domain); r.IsZero() {
		r = Default{}.EHLO(s, domain)
	}
	return r
}

func (s *Session) callSTARTTLS() (r Reply) {
	defer s.returned("STARTTLS", &r)
	if r = s.h.STARTTLS(s); r.IsZero() {
		r = Default{}.STARTTLS(s)
	}
	return r
}

func (s *Session) callAUTH(mechanism string, x *Exchange) (r Reply) {
	defer s.returned("AUTH", &r)
	if r = s.h.AUTH(s, mechanism, x); r.IsZero() {
		r = Default{}.AUTH(s, mechanism, x)
	}
	return r
}

func (s *Session) callMechanisms() (list []string) {
	s.guard("Mechanisms", func() { list = s.h.Mechanisms(s) })
	return list
}

func (s *Session) callMAIL(from Path) (r Reply) {
	defer s.returned("MAIL", &r)
	if r = s.h.MAIL(s, from); r.IsZero() {
		r = Default{}.MAIL(s, from)
	}
	return r
}

func (s *Session) callRCPT(to Path) (r Reply) {
	defer s.returned("RCPT", &r)
	if r = s.h.RCPT(s, to); r.IsZero() {
		r = Default{}.RCPT(s, to)
	}
	return r
}

func (s *Session) callDATA() (r Reply) {
	defer s.returned("DATA", &r)
	if r = s.h.DATA(s); r.IsZero() {
		r = replyDATA
	}
	return r
}

// callHEADER makes strings only if somebody looks at them.
func (s *Session) callHEADER(raw []byte) (r Reply) {
	if !s.wantsHeader {
		return Reply{}
	}
	defer s.returned("HEADER", &r)
	name, value := s.arena.splitField(raw)
	s.field = rawField{name, value, raw[:len(raw):len(raw)]}
	defer func() { s.field = rawField{} }()
	return s.h.HEADER(s, name, value)
}

func (s *Session) callEOH(why HeaderEnd) (r Reply) {
	defer s.returned("EOH", &r)
	return s.h.EOH(s, why)
}

func (s *Session) callBODY(chunk []byte) (r Reply) {
	defer s.returned("BODY", &r)
	return s.h.BODY(s, chunk[:len(chunk):len(chunk)]) // an append must not write over what was not yet read
}

func (s *Session) callEOM() (r Reply) {
	defer s.returned("EOM", &r)
	if r = s.h.EOM(s); r.IsZero() {
		r = replyEOM
	}
	return r
}

func (s *Session) callRSET() (r Reply) {
	defer s.returned("RSET", &r)
	if r = s.h.RSET(s); r.IsZero() {
		r = replyOK
	}
	return r
}

func (s *Session) callVRFY(arg string) (r Reply) {
	defer s.returned("VRFY", &r)
	if r = s.h.VRFY(s, arg); r.IsZero() {
		r = replyVRFY
	}
	return r
}

func (s *Session) callEXPN(arg string) (r Reply) {
	defer s.returned("EXPN", &r)
	if r = s.h.EXPN(s, arg); r.IsZero() {
		r = replyEXPN
	}
	return r
}

func (s *Session) callHELP(arg string) (r Reply) {
	defer s.returned("HELP", &r)
	if r = s.h.HELP(s, arg); r.IsZero() {
		r = Default{}.HELP(s, arg)
	}
	return r
}

func (s *Session) callNOOP(arg string) (r Reply) {
	defer s.returned("NOOP", &r)
	if r = s.h.NOOP(s, arg); r.IsZero() {
		r = replyOK
	}
	return r
}

func (s *Session) callQUIT() (r Reply) {
	defer s.returned("QUIT", &r)
	if r = s.h.QUIT(s); r.IsZero() {
		r = replyQUIT
	}
	return r
}

func (s *Session) callUNKNOWN(verb, arg string) (r Reply) {
	defer s.returned("UNKNOWN", &r)
	if r = s.h.UNKNOWN(s, verb, arg); r.IsZero() {
		r = Default{}.UNKNOWN(s, verb, arg)
	}
	return r
}

func (s *Session) callAdded(hook func(*Session, string) Reply, name, arg string) (r Reply) {
	defer s.returned(name, &r)
	if r = hook(s, arg); r.IsZero() {
		r = replyOK
	}
	return r
}
