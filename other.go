package esmtp

import (
	"bytes"
	"strings"
)

// doRSET carries out RSET (RFC 5321 §4.1.1.5). The transaction is gone before the handler hears of it.
func (s *Session) doRSET(arg []byte) {
	if len(arg) > 0 {
		s.reply(verbRSET, replyNoArg("RSET"))
		return
	}
	s.endTransaction()
	s.reply(verbRSET, s.checkReply("RSET", s.callRSET(), isFinal))
}

// doVRFY carries out VRFY and EXPN (RFC 5321 §3.5). A SMTPUTF8 parameter allows UTF-8 in them (RFC 6531 §3.7.4.2).
func (s *Session) doVRFY(v verb, arg []byte) {
	name := verbNames[v]
	arg, utf8 := cutUTF8(arg)
	switch {
	case utf8 && !s.offered(extSMTPUTF8):
		s.reply(v, s.replyUnknownParam([]byte("SMTPUTF8")))
	case len(arg) == 0:
		s.reply(v, Deny(501, 5, 5, 4, "Syntax: "+name+" address"))
	case !isASCII(arg) && (!utf8 || !isText(arg)):
		s.reply(v, replyNotASCII)
	case v == verbVRFY:
		s.reply(v, s.checkReply(name, s.callVRFY(string(arg)), isFinal))
	default:
		s.reply(v, s.checkReply(name, s.callEXPN(string(arg)), isFinal))
	}
}

// cutUTF8 takes the parameter off the end of the argument.
func cutUTF8(arg []byte) ([]byte, bool) {
	i := bytes.LastIndexByte(arg, ' ')
	if i < 0 || !equalFold(arg[i+1:], "SMTPUTF8") {
		return arg, false
	}
	return bytes.TrimRight(arg[:i], " "), true
}

// doQUIT carries out QUIT (RFC 5321 §4.1.1.10).
func (s *Session) doQUIT(arg []byte) {
	if len(arg) > 0 {
		s.reply(verbQUIT, replyNoArg("QUIT"))
		return
	}
	s.leaving = true
	r := s.checkReply("QUIT", s.callQUIT(), isFinal)
	if s.leaving {
		s.endTransaction()
		s.reason = errQuit
	}
	s.reply(verbQUIT, r)
}

// doUnknown carries out verbs that were added by Handle, and asks UNKNOWN for all others.
func (s *Session) doUnknown(name, arg []byte) {
	verb := strings.ToUpper(string(name))
	for i := range s.verbs {
		if v := &s.verbs[i]; v.name == verb {
			s.junk++
			s.reply(verbUnknown, s.checkReply(verb, s.callAdded(v.hook, verb, string(arg)), isAny))
			return
		}
	}
	if isHTTP(verb) {
		s.outOfStep(ErrNotSMTP)
		s.reply(verbUnknown, s.signed(replyHTTP))
		return
	}
	s.reply(verbUnknown, s.checkReply("UNKNOWN", s.callUNKNOWN(verb, string(arg)), isAny))
}

// isHTTP reports whether a verb is one of HTTP: a web page that made its browser talk to us says that, and what follows are commands
// of the page's author (ALPACA, and older tricks).
func isHTTP(verb string) bool {
	switch verb {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PRI":
		return true
	}
	return false
}
