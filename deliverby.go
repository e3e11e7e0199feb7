package esmtp

import (
	"strconv"
	"strings"
	"time"
)

// RequireTLS reports whether MAIL asked for TLS, with a server that is who it says, on every hop to come (RFC 8689 §4.2). Who takes a
// message with it must relay it so, or bounce it with 5.7.30 or 5.7.10.
func (p Path) RequireTLS() bool {
	_, ok := p.Param("REQUIRETLS")
	return ok
}

// DeliverBy is the BY parameter of MAIL: by when a message should be delivered, and what to do when it isn't (RFC 2852 §4).
type DeliverBy struct {
	// Within counts from the MAIL command, in whole seconds. With Return it is positive; else it can be zero or negative: the time
	// was over so long ago.
	Within time.Duration

	// Return says that the message goes back to the sender when the time is over. Without it the sender is told, and delivery goes on.
	Return bool

	// Trace asks for a "relayed" notification for each recipient when the message is relayed.
	Trace bool
}

// DeliverBy returns the BY parameter of MAIL, and whether there was one.
func (p Path) DeliverBy() (by DeliverBy, ok bool) {
	v, ok := p.Param("BY")
	if !ok {
		return by, false
	}
	return parseDeliverBy(v)
}

// parseDeliverBy reads by-time ";" by-mode [by-trace] (RFC 2852 §4).
func parseDeliverBy(v string) (by DeliverBy, ok bool) {
	digits, mode, ok := strings.Cut(v, ";")
	sign := time.Duration(1)
	if digits != "" && (digits[0] == '+' || digits[0] == '-') {
		if digits[0] == '-' {
			sign = -1
		}
		digits = digits[1:]
	}
	seconds, isNumber := parseDigits(digits, 9)
	if !ok || !isNumber || len(mode) == 0 || len(mode) > 2 {
		return by, false
	}
	by = DeliverBy{Within: sign * time.Duration(seconds) * time.Second, Return: lower(mode[0]) == 'r', Trace: len(mode) == 2}
	switch {
	case !by.Return && lower(mode[0]) != 'n', by.Trace && lower(mode[1]) != 't':
		return DeliverBy{}, false
	case by.Return && by.Within <= 0: // a syntax error, says RFC 2852 §4
		return DeliverBy{}, false
	}
	return by, true
}

func isDeliverBy(v string) bool {
	_, ok := parseDeliverBy(v)
	return ok
}

// allowDeliverBy holds a message that is to be returned against the advertised minimum (RFC 2852 §3).
func allowDeliverBy(s *Session, v string) Reply {
	params, _ := s.Offers("DELIVERBY")
	least, _ := parseMinBy(params)
	if by, _ := parseDeliverBy(v); by.Return && by.Within < least {
		return replyByTooSoon
	}
	return Reply{}
}

// parseMinBy reads the parameters of DELIVERBY: the least by-time, if any, and tokens that don't concern us (RFC 2852 §2 (3)).
func parseMinBy(params string) (least time.Duration, ok bool) {
	digits, tokens, more := strings.Cut(params, ",")
	for more {
		var token string
		if token, tokens, more = strings.Cut(tokens, ","); token == "" || !isVisible(token) {
			return 0, false
		}
	}
	if digits == "" {
		return 0, true
	}
	seconds, ok := parseDigits(digits, 9)
	return time.Duration(seconds) * time.Second, ok
}

// parseDigits reads 1*most DIGIT.
func parseDigits(s string, most int) (n int64, ok bool) {
	if s == "" || len(s) > most {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
