package esmtp

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var dateTime = regexp.MustCompile(`^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// FuzzDateTime: a date-time is one for us exactly if it has the form of RFC 3339 §5.6 and time.Parse takes it, but for leap seconds, and
// then it is the same moment.
func FuzzDateTime(f *testing.F) {
	for _, s := range []string{"2029-02-28T23:59:59Z", "2016-12-31T23:59:60Z", "2016-12-31T15:59:60.5-08:00", "2024-02-29t00:00:00.123456789123z",
		"2029-06-01T12:00:00,5Z", "2029-06-01T12:00:00+24:00", "0000-01-01T00:00:00-23:59", "2029-06-01T12:00:00.Z", "9999-12-31T23:59:60Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseDateTime(s, true)
		plain := strings.ToUpper(s)
		leap := len(s) > 18 && s[17:19] == "60"
		if leap {
			plain = plain[:17] + "59" + plain[19:]
		}
		want, err := time.Parse(time.RFC3339, plain)
		want = want.UTC()
		if leap {
			want = want.Add(time.Second)
			if err == nil && want.Add(-time.Duration(want.Nanosecond())).AddDate(0, 0, -1).Month() == want.Month() {
				err = strconv.ErrRange // no leap second: it is not the last one of a month
			}
			if err == nil && (want.Hour() != 0 || want.Minute() != 0 || want.Second() != 0) {
				err = strconv.ErrRange
			}
		}
		if ok != (err == nil && dateTime.MatchString(s)) || ok && !got.Equal(want) {
			t.Fatalf("%q: got %v, %v; want %v, %v", s, got, ok, want, err)
		}
		if _, whole := parseDateTime(s, false); whole != (ok && !strings.Contains(s, ".")) {
			t.Fatalf("%q: without fractions %v", s, whole)
		}
	})
}

// What the RFCs' ABNF says of each value.
var values = map[string]*regexp.Regexp{
	"BY":          regexp.MustCompile(`^[+-]?\d{1,9};[NnRr][Tt]?$`),
	"HOLDFOR":     regexp.MustCompile(`^[1-9]\d{0,8}$`),
	"MT-PRIORITY": regexp.MustCompile(`^(-?[1-9]|0)$`),
	"SOLICIT":     regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._:-]*(,[A-Za-z][A-Za-z0-9._:-]*)*$`),
	"DELIVERBY":   regexp.MustCompile(`^\d{0,9}(,[!-+\--~]+)*$`),
	"profile":     regexp.MustCompile(`^[A-Za-z0-9._-]{1,20}$`),
}

// FuzzParameterValues: what a check takes has the form that the RFC gives, and the typed value written out again means the same.
func FuzzParameterValues(f *testing.F) {
	for _, s := range []string{"120;RT", "-1;N", "+0;R", "000000120;R", "1;", "86400", "0", "-9", "10", "a,b:c", "a,,b", "240,x", ",", "2030-01-01T00:00:00Z",
		"2020-01-01T00:00:00+05:30;C", "0123456789;R", "MIXER"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		by, isBy := parseDeliverBy(v)
		seconds, mode, _ := strings.Cut(v, ";")
		n, _ := strconv.Atoi(seconds)
		if isBy != (values["BY"].MatchString(v) && (n > 0 || lower(mode[0]) == 'n')) || isBy && by.Within != time.Duration(n)*time.Second {
			t.Fatalf("BY=%q: %+v, %v", v, by, isBy)
		}
		d, isFor := parseHoldFor(v)
		if isFor != values["HOLDFOR"].MatchString(v) || isFor && strconv.Itoa(int(d/time.Second)) != v {
			t.Fatalf("HOLDFOR=%q: %v, %v", v, d, isFor)
		}
		level, isLevel := parsePriority(v)
		if isLevel != values["MT-PRIORITY"].MatchString(v) || isLevel && strconv.Itoa(level) != v {
			t.Fatalf("MT-PRIORITY=%q: %d, %v", v, level, isLevel)
		}
		if isSolicit(v) != (values["SOLICIT"].MatchString(v) && len(v) <= 1000) {
			t.Fatalf("SOLICIT=%q: %v", v, isSolicit(v))
		}
		if _, ok := parseMinBy(v); ok != values["DELIVERBY"].MatchString(v) {
			t.Fatalf("DELIVERBY %q: %v", v, ok)
		}
		if isPriorityProfile(v) != values["profile"].MatchString(v) {
			t.Fatalf("MT-PRIORITY %q: %v", v, isPriorityProfile(v))
		}
		date, action, _ := strings.Cut(v, ";")
		_, isDate := parseDateTime(date, false)
		if r, ok := parseRRVS(v); ok != (isDate && (date == v || equalFold(action, "C") || equalFold(action, "R"))) || r.Continue && !ok {
			t.Fatalf("RRVS=%q: %v, %v", v, r, ok)
		}
		if until, ok := parseHoldUntil(v); ok && !isHoldUntil(until.Format(time.RFC3339Nano)) {
			t.Fatalf("HOLDUNTIL=%q: %v", v, until)
		}
	})
}

// FuzzETRN: what is no queue's name is a domain name with a dot in it.
func FuzzETRN(f *testing.F) {
	for _, s := range []string{"a.example", "@a.example", "#q", "@", "#", "@#a.b", "a", "[IPv6:::1.2.3.4]", "-a.b", "a.b."} {
		f.Add(s)
	}
	plain := regexp.MustCompile(`^[a-z]{1,9}(\.[a-z]{1,9}){1,9}$`)
	name := regexp.MustCompile(`^@?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+$|^#[!-~]+$`)
	f.Fuzz(func(t *testing.T, arg string) {
		if isETRN(arg) && !name.MatchString(arg) {
			t.Fatalf("%q was taken", arg)
		}
		if plain.MatchString(arg) && !isETRN(arg) {
			t.Fatalf("%q was refused", arg)
		}
	})
}
