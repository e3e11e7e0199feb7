package esmtp

import (
	"bytes"
	"time"
)

// verb is a verb of the protocol. A new one gets a constant, a name and a case in dispatch.
type verb uint8

const (
	verbUnknown verb = iota
	verbHELO
	verbEHLO
	verbMAIL
	verbRCPT
	verbDATA
	verbBDAT
	verbRSET
	verbVRFY
	verbEXPN
	verbHELP
	verbNOOP
	verbQUIT
	verbSTARTTLS
	verbAUTH
	verbLHLO
	verbETRN
	verbXCLIENT
	verbXFORWARD
)

// verbNames are the names as on the wire.
var verbNames = [...]string{"", "HELO", "EHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "VRFY", "EXPN", "HELP", "NOOP", "QUIT", "STARTTLS", "AUTH", "LHLO", "ETRN",
	"XCLIENT", "XFORWARD"}

// word packs four letters, in upper case, into a word, so that verbs are compared at once.
func word[T string | []byte](s T) uint32 {
	return (uint32(s[0])<<24 | uint32(s[1])<<16 | uint32(s[2])<<8 | uint32(s[3])) &^ 0x20202020
}

var verbWords = func() (words [len(verbNames)]uint32) {
	for v := verbHELO; int(v) < len(verbNames); v++ {
		words[v] = word(verbNames[v])
	}
	return words
}()

// lookupVerb finds a verb by its name, in any case.
func lookupVerb(name []byte) verb {
	if len(name) < 4 {
		return verbUnknown
	}
	w := word(name)
	for v := verbHELO; int(v) < len(verbWords); v++ {
		if verbWords[v] == w && equalFold(name, verbNames[v]) {
			return v
		}
	}
	return verbUnknown
}

// command carries out a command line. Exactly one reply is written, whatever happens (RFC 5321 §4.2); but for an empty line, if that is passed over.
func (s *Session) command(line []byte) {
	s.begin(verbUnknown)
	if hasControl(line) {
		s.noteCommand(verbUnknown, line)
		s.badLine(verbUnknown, line, replyControl)
		return
	}
	length := len(line) + 2           // as it came, however many octets came at a time
	line = bytes.TrimRight(line, " ") // RFC 5321 §4.1.1: trailing white space is tolerated
	name, arg, _ := bytes.Cut(line, []byte{' '})
	v := lookupVerb(name)
	s.verb = v
	s.noteCommand(v, line)
	if length > s.cfg.limits.CommandLine && length > s.cfg.limits.CommandLine+s.commandRoom(v) {
		s.limited(LimitCommandLine)
		s.badLine(v, line, replyLineTooLong)
		return
	}
	if v != verbBDAT && v != verbVRFY && v != verbEXPN && v != verbMAIL && v != verbRCPT && !isASCII(line) {
		s.badLine(v, line, replyNotASCII)
		return
	}
	if length == 2 && s.cfg.noEmpty {
		if s.junk++; !over(s.junk, s.cfg.limits.Junk) {
			return
		}
	}
	if len(name) == 0 {
		s.badLine(v, line, replyBadSyntax)
		return
	}
	if r := s.barred(v); !r.IsZero() && v != verbBDAT { // BDAT has octets to consume first
		s.reply(v, r)
		return
	}
	if s.tooEarly(v) {
		s.outOfStep(ErrEarlyTalker)
		s.reply(v, replyEarlyTalker)
		return
	}
	s.dispatch(v, name, arg)
}

// barred is the reply to a verb that can't be used now whatever its arguments, the zero Reply if it can.
func (s *Session) barred(v verb) Reply {
	switch {
	case v == verbQUIT:
	case s.refused:
		return replyRefused // RFC 5321 §3.1
	case s.cfg.requireTLS && !s.secure && v != verbEHLO && v != verbLHLO && v != verbNOOP && v != verbSTARTTLS:
		return replyNeedTLS // RFC 3207 §4
	case s.cfg.requireAuth && s.authMechanism == "" && (v == verbMAIL || v == verbBDAT || v == verbVRFY || v == verbEXPN || v == verbETRN):
		return replyNeedAUTH // RFC 4954 §6
	}
	return Reply{}
}

// badLine answers a line that can't be read as a command. If it may have been meant as a BDAT, what follows may be content, and
// there is no way to go on; a TLS client that thinks it found TLS doesn't want to.
func (s *Session) badLine(v verb, line []byte, r Reply) {
	if v == verbQUIT {
		v = verbUnknown // it is none, however many octets came at a time
	}
	switch {
	case isBDAT(line):
		s.outOfStep(ErrProtocol)
		r.Close = true
	case len(line) > 0 && line[0] == tlsHandshake:
		s.outOfStep(ErrNotSMTP)
		r.Close = true
	}
	s.reply(v, r)
}

// tlsHandshake is the first octet of a TLS connection (RFC 8446 §5.1).
const tlsHandshake = 22

// isBDAT reports whether a line that is broken somewhere begins as a BDAT.
func isBDAT(line []byte) bool {
	line = bytes.TrimLeft(line, " \t\r\n\x00")
	return len(line) >= 4 && equalFold(line[:4], "BDAT") && (len(line) == 4 || !isAlnum(line[4]))
}

func (s *Session) dispatch(v verb, name, arg []byte) {
	switch v {
	case verbHELO, verbEHLO, verbLHLO:
		s.doHELO(v, arg)
	case verbMAIL:
		s.doMAIL(arg)
	case verbRCPT:
		s.doRCPT(arg)
	case verbDATA:
		s.doDATA(arg)
	case verbBDAT:
		s.doBDAT(arg)
	case verbRSET:
		s.doRSET(arg)
	case verbVRFY, verbEXPN:
		s.doVRFY(v, arg)
	case verbHELP:
		s.reply(v, s.checkReply("HELP", s.callHELP(string(arg)), isFinal))
	case verbNOOP:
		s.reply(v, s.checkReply("NOOP", s.callNOOP(string(arg)), isFinal))
	case verbQUIT:
		s.doQUIT(arg)
	case verbSTARTTLS:
		s.doSTARTTLS(arg)
	case verbAUTH:
		s.doAUTH(arg)
	case verbETRN:
		s.doETRN(arg)
	case verbXCLIENT:
		s.doXCLIENT(arg)
	case verbXFORWARD:
		s.doXFORWARD(arg)
	default:
		s.doUnknown(name, arg)
	}
}

// hasControl reports whether a line has a control character: a CR, a lone LF, a NUL, a tab, DEL.
func hasControl(line []byte) bool {
	for _, c := range line {
		if c < ' ' || c == 0x7f {
			return true
		}
	}
	return false
}

// flushAfter are the verbs whose replies must not wait for those of later commands (RFC 2920 §3.2 (3), (4)).
const flushAfter = 1<<verbEHLO | 1<<verbLHLO | 1<<verbDATA | 1<<verbVRFY | 1<<verbEXPN | 1<<verbNOOP | 1<<verbQUIT | 1<<verbSTARTTLS | 1<<verbAUTH |
	1<<verbUnknown

// junkVerbs are the verbs that do nothing for the mail, and are counted.
const junkVerbs = 1<<verbHELO | 1<<verbEHLO | 1<<verbLHLO | 1<<verbRSET | 1<<verbVRFY | 1<<verbEXPN | 1<<verbHELP | 1<<verbNOOP | 1<<verbETRN

// reply writes the reply to a command, and counts it. One that is over the budget is answered with 421 instead.
func (s *Session) reply(v verb, r Reply) { s.replyTimes(v, r, 1) }

// replyTimes writes the reply to one command that gets it n times: LMTP's last BDAT.
func (s *Session) replyTimes(v verb, r Reply, n int) {
	switch {
	case r.Code >= 400:
		s.errors++
	case junkVerbs&(1<<v) != 0:
		s.junk++
	}
	if r.Code == 503 {
		s.failed(ClassOutOfOrder, ErrOutOfOrder)
	}
	if limit, over := s.overBudget(); over && v != verbQUIT && r.Code != 421 {
		s.limited(limit)
		r = s.signed(replyTooManyErrors)
		s.reason = ErrTooManyErrors
	}
	if r.Code >= 400 && v != verbAUTH { // that has a delay of its own
		s.tarpit()
	}
	f := s.format()
	if v == verbHELO || v == verbEHLO || v == verbLHLO {
		f.enhanced = false // RFC 2034 §4
		f.keywords = v != verbHELO && r.Code == 250
	}
	for range n {
		s.write(r, f)
	}
	s.replied(verbNames[s.verb], r, s.begun)
	if flushAfter&(1<<v) != 0 {
		s.flush()
	}
}

// tarpit holds back the reply to one error too many, and longer each time. The goroutine sleeps: it costs us nothing but memory.
func (s *Session) tarpit() {
	limit, delay := s.cfg.limits.Errors, s.cfg.timeouts.ErrorDelay
	if n := s.errors - (limit+1)/2; limit > 0 && delay > 0 && n > 0 && s.flush() == nil {
		s.pause(min(time.Duration(n), 10) * delay)
	}
}

// overBudget reports whether a session has done too much that is of no use.
func (s *Session) overBudget() (limit Limit, yes bool) {
	if over(s.errors, s.cfg.limits.Errors) {
		return LimitErrors, true
	}
	return LimitJunk, over(s.junk, s.cfg.limits.Junk)
}
