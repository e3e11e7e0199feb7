package esmtp

import (
	"bytes"
	"regexp"
	"testing"
)

// parseHeader runs the parser over a header that comes in two pieces, cut at a given offset.
func parseHeader(text []byte, cut int) (fields []string, why HeaderEnd, body []byte) {
	var h headerParser
	var p []byte
	for i, piece := range [][]byte{text[:cut], text[cut:]} {
		p = append(p, piece...)
		for {
			n, ended, why, skip := h.next(p, i == 1)
			if ended {
				return fields, why, append(p[skip:], text[cut:][len(text[cut:])*i:]...)
			}
			if n == 0 {
				break
			}
			fields = append(fields, string(p[:n]))
			p = p[n:]
		}
	}
	return fields, HeaderLimit, nil // it never ends: wrong
}

var (
	wholeField = regexp.MustCompile(`^[!-9;-~]+[ \t]*:`)
	headerLine = regexp.MustCompile(`(?s)^.*?(\r\n|$)`)
)

// slowHeader is the reference: lines, and those that begin with white space belong to the one before (RFC 5322 §2.2.3).
func slowHeader(text []byte) (fields []string, why HeaderEnd, body []byte) {
	for len(text) > 0 {
		line := headerLine.Find(text)
		switch {
		case string(line) == "\r\n":
			return fields, HeaderBlank, text[2:]
		case len(fields) > 0 && (line[0] == ' ' || line[0] == '\t'):
			fields[len(fields)-1] += string(line)
		case wholeField.Match(line):
			fields = append(fields, string(line))
		default:
			return fields, HeaderMalformed, text
		}
		text = text[len(line):]
	}
	return fields, HeaderEOM, nil
}

// FuzzHeader: wherever a header is torn apart, its fields, its end and the rest are those of the reference.
func FuzzHeader(f *testing.F) {
	for _, s := range []string{"A: b\r\n c\r\n\td\r\nE: f\r\n\r\nbody", "A: b", "A : b\r\n\r", "\r\n", "\rX", "x\r\n", ": x\r\n", "A: \r\n \r\n\r\n", "A:\rb\nc\r\n\n", " a: b\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 2000 {
			return
		}
		fields, why, body := slowHeader(text)
		for cut := range len(text) + 1 {
			gotFields, gotWhy, gotBody := parseHeader(text, cut)
			if !equalStrings(gotFields, fields) || gotWhy != why || !bytes.Equal(gotBody, body) {
				t.Fatalf("%q cut at %d: got %q %v %q, want %q %v %q", text, cut, gotFields, gotWhy, gotBody, fields, why, body)
			}
		}
	})
}

func equalStrings(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
