package esmtp

import (
	"strconv"
	"strings"
)

// extension is a set of the extensions that this package knows, a bit each.
type extension uint16

const (
	extPIPELINING extension = 1 << iota // RFC 2920
	ext8BITMIME                         // RFC 6152
	extSMTPUTF8                         // RFC 6531
	extENHANCED                         // RFC 2034
	extCHUNKING                         // RFC 3030
	extBINARYMIME                       // RFC 3030
	extDSN                              // RFC 3461
	extSIZE                             // RFC 1870
	extLIMITS                           // RFC 9422
	extHELP                             // RFC 5321 §4.1.1.8
	extSTARTTLS                         // RFC 3207
	extAUTH                             // RFC 4954
	extPRDR                             // draft-hall-prdr
)

// keywords are the names of the extensions, in the order of their bits.
var keywords = [...]string{"PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "BINARYMIME", "DSN",
	"SIZE", "LIMITS", "HELP", "STARTTLS", "AUTH", "PRDR"}

// lookupExtension returns the extension of a keyword, 0 if it is none of ours.
func lookupExtension[T string | []byte](keyword T) extension {
	for i := range keywords {
		if equalFold(keyword, keywords[i]) {
			return 1 << i
		}
	}
	return 0
}

// offered reports whether one of these extensions is enabled.
func (s *Session) offered(e extension) bool { return s.offers&e != 0 }

// Offers reports whether an extension was offered in the reply to EHLO, and with what parameters.
func (s *Session) Offers(keyword string) (params string, ok bool) {
	for _, line := range s.ehlo {
		name, rest, _ := strings.Cut(line, " ")
		if equalFold(name, keyword) {
			return rest, true
		}
	}
	return "", s.offered(lookupExtension(keyword))
}

// offersCustom reports whether a keyword was offered that isn't one of ours: then it names a parameter too.
func (s *Session) offersCustom(name []byte) bool {
	if lookupExtension(name) != 0 {
		return false
	}
	_, ok := s.Offers(string(name))
	return ok
}

// withdraw forgets all offers.
func (s *Session) withdraw() { s.offers, s.ehlo = 0, nil }

// offer enables what EHLO returned, and returns what of it can be written.
func (s *Session) offer(lines []string) []string {
	greeting := s.Hostname()
	if len(lines) > 0 {
		greeting, _, _ = strings.Cut(lines[0], "\n")                           // a second line would be an extension
		greeting = greeting[:min(len(greeting), maxReplyLine-len("250-\r\n"))] // and so would the rest of a wrapped one
		lines = lines[1:]
	}
	kept := append(make([]string, 0, 1+len(lines)), greeting)
	for _, line := range lines {
		line = strings.TrimRight(line, " ")
		keyword, params, _ := strings.Cut(line, " ")
		if !isKeyword(keyword) || !clean(line) || len(line)+len("250-\r\n") > maxReplyLine || len(kept) == maxReplyLines {
			s.Logger().Error("EHLO returned a line that is no extension, or one too many", "line", line)
			continue
		}
		kept = append(kept, line)
		e := lookupExtension(keyword)
		s.offers |= e
		if e == 0 || params != "" {
			s.ehlo = append(s.ehlo, line)
		}
		s.limit(e, params)
	}
	return kept
}

// limit takes the limits that a line advertises as the ones to enforce.
func (s *Session) limit(e extension, params string) {
	switch e {
	case extSIZE: // RFC 1870 §4: 0 says that there is no fixed limit
		if n, err := strconv.ParseInt(params, 10, 64); err == nil && n >= 0 {
			s.maxSize = n
		}
	case extLIMITS: // RFC 9422 §4
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

// sizeKeyword is the SIZE line of a limit; 0 says that there is none that is fixed (RFC 1870 §4).
func sizeKeyword(n int64) string { return "SIZE " + strconv.FormatInt(n, 10) }

// limitsKeyword is the LIMITS line (RFC 9422 §3), empty if nothing is limited.
func limitsKeyword(l *Limits) string {
	var text string
	if l.Messages > 0 {
		text += " MAILMAX=" + strconv.Itoa(l.Messages)
	}
	if l.Recipients > 0 {
		text += " RCPTMAX=" + strconv.Itoa(l.Recipients)
	}
	if text != "" {
		text = "LIMITS" + text
	}
	return text
}
