package esmtp

import (
	"strings"
	"time"
)

// HoldFor returns the HOLDFOR parameter of MAIL, whole seconds for which the message is to be held before it is released, and whether
// there was one (RFC 4865 §3).
func (p Path) HoldFor() (d time.Duration, ok bool) {
	v, ok := p.Param("HOLDFOR")
	if !ok {
		return 0, false
	}
	return parseHoldFor(v)
}

// HoldUntil returns the HOLDUNTIL parameter of MAIL, the moment until which the message is to be held, and whether there was one
// (RFC 4865 §3). It can have passed.
func (p Path) HoldUntil() (t time.Time, ok bool) {
	v, ok := p.Param("HOLDUNTIL")
	if !ok {
		return t, false
	}
	return parseHoldUntil(v)
}

// ReleaseAt returns when a message whose MAIL came at the given time is to be released, by HOLDFOR or HOLDUNTIL, and whether either was
// there.
func (p Path) ReleaseAt(came time.Time) (t time.Time, ok bool) {
	if d, ok := p.HoldFor(); ok {
		return came.Add(d), true
	}
	return p.HoldUntil()
}

// parseHoldFor reads future-release-integer: 1 to 999999999, no zero in front.
func parseHoldFor(v string) (d time.Duration, ok bool) {
	n, ok := parseDigits(v, 9)
	if !ok || v[0] == '0' {
		return 0, false
	}
	return time.Duration(n) * time.Second, true
}

// parseHoldUntil reads a date-time that is normalized to UTC (RFC 4865 §3, erratum 2040).
func parseHoldUntil(v string) (t time.Time, ok bool) {
	t, ok = parseDateTime(v, true)
	if !ok || !isUTC(v) {
		return time.Time{}, false
	}
	return t, true
}

// isUTC reports whether a date-time names UTC as its offset.
func isUTC(v string) bool {
	return strings.HasSuffix(v, "Z") || strings.HasSuffix(v, "z") || strings.HasSuffix(v, "+00:00") || strings.HasSuffix(v, "-00:00")
}

func isHoldFor(v string) bool {
	_, ok := parseHoldFor(v)
	return ok
}

func isHoldUntil(v string) bool {
	_, ok := parseHoldUntil(v)
	return ok
}

// parseMaxHold reads the two parameters of FUTURERELEASE: the longest HOLDFOR and the last HOLDUNTIL (RFC 4865 §3 (2)).
func parseMaxHold(params string) (longest time.Duration, last time.Time, ok bool) {
	interval, date, _ := strings.Cut(params, " ")
	longest, ok = parseHoldFor(interval)
	if ok {
		last, ok = parseHoldUntil(date)
	}
	return longest, last, ok
}

// maxHold returns what FUTURERELEASE advertised in this session.
func (s *Session) maxHold() (longest time.Duration, last time.Time) {
	params, _ := s.Offers("FUTURERELEASE")
	longest, last, _ = parseMaxHold(params)
	return longest, last
}

// allowHoldFor enforces max-future-release-interval (RFC 4865 §4.2 (7)).
func allowHoldFor(s *Session, v string) Reply {
	longest, _ := s.maxHold()
	if d, _ := parseHoldFor(v); d > longest {
		return replyHoldTooLong
	}
	return Reply{}
}

// allowHoldUntil enforces max-future-release-date-time (RFC 4865 §4.2 (8)).
func allowHoldUntil(s *Session, v string) Reply {
	_, last := s.maxHold()
	if t, _ := parseHoldUntil(v); t.After(last) {
		return replyHoldTooLong
	}
	return Reply{}
}

// checkHold looks at what parameters say together: only one hold (RFC 4865 §4.2 (9)), and none beyond the time for delivery
// (RFC 4865 §5.2.2).
func checkHold(from Path, now time.Time) Reply {
	_, isFor := from.HoldFor()
	_, isUntil := from.HoldUntil()
	if isFor && isUntil {
		return replyTwoHolds
	}
	release, held := from.ReleaseAt(now)
	if by, ok := from.DeliverBy(); ok && held && release.After(now.Add(by.Within)) {
		return replyHoldPastBy
	}
	return Reply{}
}
