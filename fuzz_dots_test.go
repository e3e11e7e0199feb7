package esmtp

import (
	"bytes"
	"regexp"
	"testing"
)

// slowDots is the reference: octet by octet, looking back and ahead as far as it likes (RFC 5321 §4.5.2).
func slowDots(p []byte) (text []byte, n int, done bool) {
	for i := 0; i < len(p); i++ {
		begins := i == 0 || i > 1 && p[i-2] == '\r' && p[i-1] == '\n'
		switch {
		case begins && bytes.HasPrefix(p[i:], []byte(".\r\n")):
			return text, i + 3, true
		case begins && p[i] == '.':
		default:
			text = append(text, p[i])
		}
	}
	return text, len(p), false
}

var lone = regexp.MustCompile(`\r\n|\r|\n`)

// slowRepair is the reference for hasBare and repairBare.
func slowRepair(p []byte, policy BareNewlines) (fixed []byte, bare bool) {
	fixed = lone.ReplaceAllFunc(p, func(nl []byte) []byte {
		bare = bare || len(nl) == 1
		switch {
		case len(nl) == 1 && policy == FixBare:
			return crlf
		case len(nl) == 1 && policy == StripBare:
			return nil
		}
		return nl
	})
	return fixed, bare
}

// decodeAll runs the decoder as readDots does, over pieces, and checks the contract on the way.
func decodeAll(t *testing.T, pieces ...[]byte) (text []byte, n int, bare, done bool) {
	var d dotDecoder
	var p []byte
	for _, piece := range pieces {
		p = append(bytes.Clone(p), piece...)
		out, taken, b, end := d.decode(p)
		if len(p)-taken > 2 && !end || taken < 0 {
			t.Fatalf("%d octets of %q were not consumed", len(p)-taken, pieces)
		}
		if bytes.HasSuffix(text, cr) && bytes.HasPrefix(out, []byte("\n")) {
			t.Fatalf("%q: a CRLF was torn apart", pieces)
		}
		if _, want := slowRepair(out, PassBare); b != want {
			t.Fatalf("%q: bare is %v for %q", pieces, b, out)
		}
		text, n, bare = append(text, out...), n+taken, bare || b
		if end {
			return text, n, bare, true
		}
		p = p[taken:]
	}
	return text, n, bare, false
}

// FuzzDots: however the octets come, the decoder says what the reference says: where the data ends, what it is, and whether it
// has bare newlines; and it leaves at most two octets waiting.
func FuzzDots(f *testing.F) {
	for _, s := range []string{".\r\n", "a\r\n.\r\nb", "..\r\n.\r\n", "a\n.\n\r\n.\r\n", "\r\n.\r", "\r.\r\n", "a\r\n.\r\r\n.\r\n", "\r\r\n.\r\n", "\r\n.\n.\r\n", ".\r.\r\n", ".\n\r\n.\r\n", "a\r\n.b\r\n\r\r\r\n.\r\n", "\r\n.\r\n.\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 300 {
			return
		}
		want, wantN, wantDone := slowDots(data)
		_, wantBare := slowRepair(want, PassBare)
		check := func(pieces ...[]byte) {
			text, n, bare, done := decodeAll(t, pieces...)
			switch {
			case done != wantDone, done && (n != wantN || bare != wantBare || !bytes.Equal(text, want)):
				t.Fatalf("%q: %q, %d octets, bare %v, done %v; want %q, %d, %v, %v", pieces, text, n, bare, done, want, wantN, wantBare, wantDone)
			case !bytes.HasPrefix(want, text), !done && len(want)-len(text) > 2:
				t.Fatalf("%q: %q is no beginning of %q", pieces, text, want)
			}
		}
		octets := make([][]byte, len(data))
		for i := range data {
			octets[i] = data[i : i+1]
			check(data[:i], data[i:])
			check(data[:i/2], data[i/2:i], data[i:])
		}
		check(octets...)
	})
}

// FuzzBareNewlines: hasBare and repairBare say what the reference says; what was fixed or stripped has no bare newline left, and
// stripping changes nothing but newlines.
func FuzzBareNewlines(f *testing.F) {
	for _, s := range []string{"", "\r", "\n", "\r\n", "\n\r", "\r\r\n", "\r\n\n", "a\rb\nc\r\nd", "\n\n\r\r"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		for _, policy := range []BareNewlines{FixBare, StripBare} {
			want, bare := slowRepair(p, policy)
			got := repairBare([]byte("x"), p, policy)[1:]
			if hasBare(p) != bare || !bytes.Equal(got, want) || hasBare(got) {
				t.Fatalf("%q under %d is %q, bare %v; want %q, %v", p, policy, got, hasBare(p), want, bare)
			}
		}
	})
}
