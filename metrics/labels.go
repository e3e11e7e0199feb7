package metrics

import (
	"crypto/tls"
	"errors"
	"strconv"

	"github.com/caddy-esmtp/esmtp"
)

// verbs are the labels of verbs. The first one stands for all others.
var verbs = [...]string{"unknown", "CONNECT", "HELO", "EHLO", "LHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "EOM", "RSET", "VRFY", "EXPN",
	"HELP", "NOOP", "QUIT", "ETRN", "XCLIENT", "XFORWARD"}

// verbIndex finds a verb in verbs.
func verbIndex(verb string) int {
	for i := 1; i < len(verbs); i++ {
		if verbs[i] == verb {
			return i
		}
	}
	return 0
}

// codes are the labels of reply codes: those of the standards (RFC 5321 §4.2.3, RFC 4954 §6, RFC 3207 §4, RFC 5248 and what they refer to), and one for
// the rest of each class. The first one is for a connection that was dropped without a reply.
var codes = [...]string{"none", "2xx", "3xx", "4xx", "5xx",
	"211", "214", "220", "221", "235", "250", "251", "252", "334", "353", "354",
	"421", "430", "432", "450", "451", "452", "453", "454", "455", "458", "459",
	"500", "501", "502", "503", "504", "521", "523", "524", "525", "530", "533", "534", "535", "538",
	"550", "551", "552", "553", "554", "555", "556", "557", "571"}

// codeIndexes finds a code in codes.
var codeIndexes = func() (indexes [600]uint8) {
	for code := 200; code < len(indexes); code++ {
		indexes[code] = uint8(code/100) - 1
	}
	for i, label := range codes {
		if code, err := strconv.Atoi(label); err == nil {
			indexes[code] = uint8(i)
		}
	}
	return indexes
}()

func codeIndex(code int) int {
	if code < 0 || code >= len(codeIndexes) {
		return 0
	}
	return int(codeIndexes[code])
}

// The results of recipients.
const (
	resultAccepted = iota
	resultRefusedTemporarily
	resultRefusedPermanently
)

var results = [...]string{"accepted", "refused_temporarily", "refused_permanently"}

func resultIndex(code int) int {
	switch {
	case code/100 == 2:
		return resultAccepted
	case code/100 == 5:
		return resultRefusedPermanently
	}
	return resultRefusedTemporarily
}

// verdicts are what [esmtp.Verdict.Outcome] can say.
var verdicts = [...]string{"accepted", "refused_temporarily", "refused_permanently", "sent", "held", "quarantined", "discarded", "consumed"}

// Reason is the label of why a connection was refused, as [esmtp.Observer].Refused tells it.
func Reason(why error) string {
	switch {
	case errors.Is(why, esmtp.ErrTooMany):
		return "too_many"
	case errors.Is(why, esmtp.ErrEarlyTalker):
		return "early_talker"
	}
	return "handler"
}

// Class is the label of what went wrong: as in [esmtp.ErrorClass], but for two that are worth watching by themselves.
func Class(e esmtp.SessionError) string {
	switch {
	case errors.Is(e.Err, esmtp.ErrNotSMTP):
		return "not_smtp"
	case errors.Is(e.Err, esmtp.ErrEarlyTalker):
		return "early_talker"
	}
	return e.Class.String()
}

// tlsVersion is the label of a version, as crypto/tls numbers them.
func tlsVersion(version uint16) string {
	switch version {
	case tls.VersionTLS12:
		return "1.2"
	case tls.VersionTLS13:
		return "1.3"
	}
	return "other"
}

// mechanism is the label of a SASL mechanism. One that only a handler knows is "other".
func mechanism(name string) string {
	switch name {
	case "PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER", "XOAUTH2", "EXTERNAL",
		"ANONYMOUS":
		return name
	}
	return "other"
}

// authResult is the label of the reply to an AUTH.
func authResult(code int) string {
	switch code {
	case 235:
		return "success"
	case 535, 421: // 421: it was one failure too many
		return "failure"
	case 501:
		return "cancelled"
	}
	return "error"
}
