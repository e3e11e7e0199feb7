package esmtp

import (
	"strings"
	"time"
)

// RRVS is the RRVS parameter of RCPT: the message is for who has had the mailbox since a given time, and for nobody else (RFC 7293 §3.1).
type RRVS struct {
	// Since is the time since when the mailbox must have had the same owner. If it hasn't, the answer to RCPT is 550 5.7.17.
	Since time.Time

	// Continue says that the message may be relayed to a server that doesn't know RRVS; without it that must be refused.
	Continue bool
}

// RRVS returns the RRVS parameter of RCPT, and whether there was one. Ignore it for a role account such as postmaster (RFC 7293 §5.1).
func (p Path) RRVS() (r RRVS, ok bool) {
	v, ok := p.Param("RRVS")
	if !ok {
		return r, false
	}
	return parseRRVS(v)
}

// parseRRVS reads date-time [";" ("C" / "R")] (RFC 7293 §3.1): no fractions of a second.
func parseRRVS(v string) (r RRVS, ok bool) {
	date, action, hasAction := strings.Cut(v, ";")
	if r.Since, ok = parseDateTime(date, false); !ok || hasAction && !equalFold(action, "C") && !equalFold(action, "R") {
		return RRVS{}, false
	}
	r.Continue = equalFold(action, "C")
	return r, true
}

func isRRVS(v string) bool {
	_, ok := parseRRVS(v)
	return ok
}
