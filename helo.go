package esmtp

import (
	"strconv"
	"strings"
)

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
		s.ehlo = nil
		s.enhanced, s.utf8 = true, false
		if s.esmtp {
			r.Lines = s.offer(r.Lines)
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

// offer enables what EHLO returned, and returns what of it can be written.
func (s *Session) offer(lines []string) []string {
	kept := make([]string, 0, len(lines)+1)
	greeting := s.Hostname()
	if len(lines) > 0 {
		greeting, _, _ = strings.Cut(lines[0], "\n") // a second line would be an extension
		lines = lines[1:]
	}
	kept = append(kept, greeting)
	for _, line := range lines {
		line = strings.TrimRight(line, " ")
		keyword, params, _ := strings.Cut(line, " ")
		if !isKeyword(keyword) || !clean(line) || len(line)+len("250-\r\n") > maxReplyLine {
			s.Logger().Error("EHLO returned a line that is no extension", "line", line)
			continue
		}
		kept = append(kept, line)
		s.enable(keyword, params)
	}
	s.ehlo = kept
	s.enhanced = s.offered("ENHANCEDSTATUSCODES")
	s.utf8 = s.offered("SMTPUTF8")
	return kept
}

// enable takes the limits that a line advertises as the ones to enforce.
func (s *Session) enable(keyword, params string) {
	switch {
	case equalFold(keyword, "SIZE"): // RFC 1870 §4: 0 says that there is no fixed limit
		if n, err := strconv.ParseInt(params, 10, 64); err == nil && n >= 0 {
			s.maxSize = n
		}
	case equalFold(keyword, "LIMITS"): // RFC 9422 §4
		for limit := range strings.FieldsSeq(params) {
			name, value, _ := strings.Cut(limit, "=")
			n, err := strconv.Atoi(value)
			switch {
			case err != nil || n <= 0:
			case equalFold(name, "RCPTMAX"):
				s.maxRcpts = n
			case equalFold(name, "MAILMAX"):
				s.maxMails = n
			}
		}
	}
}
