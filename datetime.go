package esmtp

import "time"

// parseDateTime reads a date-time (RFC 3339 §5.6) to the letter, which time.Parse doesn't: it takes a comma for the point, and no leap
// second. fraction allows a time-secfrac.
func parseDateTime(s string, fraction bool) (t time.Time, ok bool) {
	const form = "0000-00-00T00:00:00" // a digit for each 0
	if len(s) <= len(form) {
		return t, false
	}
	for i := range len(form) {
		if c := s[i]; form[i] == '0' && (c < '0' || c > '9') || form[i] != '0' && c != form[i] && (form[i] != 'T' || c != 't') {
			return t, false
		}
	}
	nanos, n := scanFraction(s[len(form):])
	offset, ok := parseOffset(s[len(form)+n:])
	if !ok || n > 0 && !fraction {
		return t, false
	}
	year, month, day := digits2(s)*100+digits2(s[2:]), digits2(s[5:]), digits2(s[8:])
	hour, minute, second := digits2(s[11:]), digits2(s[14:]), digits2(s[17:])
	if month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 60 {
		return t, false
	}
	t = time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC).Add(-offset)
	if second == 60 && !isLeapSecond(t) {
		return time.Time{}, false
	}
	return t, true
}

// isLeapSecond reports whether t, the begin of the second behind it, is the begin of a month: a leap second is the last of one
// (RFC 3339 §5.7).
func isLeapSecond(t time.Time) bool {
	t = t.Truncate(time.Second)
	return t.Equal(time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC))
}

// scanFraction reads time-secfrac from the front of s, to the nanosecond, and returns its length, 0 if there is none.
func scanFraction(s string) (nanos, length int) {
	if s == "" || s[0] != '.' {
		return 0, 0
	}
	n := 1
	for unit := 100_000_000; n < len(s) && '0' <= s[n] && s[n] <= '9'; n++ {
		nanos += int(s[n]-'0') * unit
		unit /= 10
	}
	if n == 1 {
		return 0, 0
	}
	return nanos, n
}

// parseOffset reads time-offset: "Z", or a sign, hours and minutes.
func parseOffset(s string) (offset time.Duration, ok bool) {
	if s == "Z" || s == "z" {
		return 0, true
	}
	if len(s) != 6 || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return 0, false
	}
	for _, i := range []int{1, 2, 4, 5} {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	hours, minutes := digits2(s[1:]), digits2(s[4:])
	offset = time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if s[0] == '-' {
		offset = -offset
	}
	return offset, hours <= 23 && minutes <= 59
}

// digits2 is the number of two digits at the front of s.
func digits2(s string) int { return int(s[0]-'0')*10 + int(s[1]-'0') }

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}
