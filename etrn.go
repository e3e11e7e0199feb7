package esmtp

import "strings"

// doETRN carries out ETRN (RFC 1985 §5).
func (s *Session) doETRN(arg []byte) {
	switch {
	case !s.esmtp:
		s.reply(verbETRN, replyNeedEHLO)
	case !s.offered(extETRN):
		s.reply(verbETRN, replyNoETRN)
	case s.tx != nil:
		s.reply(verbETRN, replyInMail)
	case !isETRN(string(arg)):
		s.reply(verbETRN, replySyntaxETRN)
	default:
		s.reply(verbETRN, s.checkReply("ETRN", s.callETRN(string(arg)), isFinal))
	}
}

// isETRN checks the argument of ETRN: a fully qualified domain name, that with an '@' for all below it, or a queue's name behind a '#',
// whose syntax is the server's own affair (RFC 1985 §5, §5.3).
func isETRN(arg string) bool {
	if arg == "" {
		return false
	}
	switch arg[0] {
	case '#':
		return len(arg) > 1 && isVisible(arg)
	case '@':
		arg = arg[1:]
	}
	return isQualified(arg)
}

// isQualified reports whether a name is a domain name of two labels at least: one alone names no node for everybody.
func isQualified(name string) bool {
	return strings.Contains(name, ".") && name[0] != '[' && isDomainOrLiteral(name)
}

// isVisible reports whether s is printable ASCII without spaces.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
