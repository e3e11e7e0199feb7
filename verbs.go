package esmtp

import "strings"

type addedVerb struct {
	name string
	hook func(s *Session, arg string) Reply
}

// Handle adds a verb to this session, or replaces or, with a nil hook, removes one that was added. HELP lists it. The verb is letters,
// digits and '-'; hook gets the rest of the line, and may return [NoReply]. Verbs of [Handler] can't be replaced: Handle
// reports false for them and for what is no verb.
//
//	func (m *Mine) CONNECT(s *esmtp.Session) esmtp.Reply {
//		s.Handle("PING", func(s *esmtp.Session, arg string) esmtp.Reply { return esmtp.OK("pong") })
//		return m.Default.CONNECT(s)
//	}
func (s *Session) Handle(verb string, hook func(s *Session, arg string) Reply) bool {
	verb = strings.ToUpper(verb)
	if !isKeyword(verb) || lookupVerb([]byte(verb)) != verbUnknown {
		return false
	}
	for i := range s.verbs {
		if s.verbs[i].name == verb {
			s.verbs = append(s.verbs[:i:i], s.verbs[i+1:]...)
			break
		}
	}
	if hook != nil {
		s.verbs = append(s.verbs, addedVerb{verb, hook})
	}
	return true
}

// verbList names all verbs of this session, for HELP.
func (s *Session) verbList() string {
	var list []string
	for v := verbHELO; int(v) < len(verbNames); v++ {
		if s.speaks(v) {
			list = append(list, verbNames[v])
		}
	}
	for _, v := range s.verbs {
		list = append(list, v.name)
	}
	return strings.Join(list, " ")
}

// speaks reports whether a verb is of use here.
func (s *Session) speaks(v verb) bool {
	switch v {
	case verbHELO, verbEHLO:
		return !s.cfg.lmtp
	case verbLHLO:
		return s.cfg.lmtp
	case verbSTARTTLS:
		return s.cfg.tls != nil
	case verbAUTH:
		return len(s.callMechanisms()) > 0
	case verbETRN:
		return s.offered(extETRN)
	case verbXCLIENT:
		return s.trusts(s.cfg.trustXCLIENT)
	case verbXFORWARD:
		return s.trusts(s.cfg.trustXFORWARD)
	}
	return true
}
