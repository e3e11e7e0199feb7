package mailtext

import (
	"bytes"
	"unicode/utf8"
)

// Look finds out, piece by piece, what a message is made of.
type Look struct {
	EightBit bool // there are octets over 127

	odd  bool // there is what isn't part of a line, or of one that is too long
	last byte
	line int // octets of the line that has no end yet
}

// Write looks at a piece. It never fails.
func (l *Look) Write(p []byte) (int, error) {
	for _, c := range p {
		switch {
		case c >= utf8.RuneSelf:
			l.EightBit = true
		case c == 0:
			l.odd = true
		}
		if (c == '\n') != (l.last == '\r') { // RFC 5322 §2.2: CR and LF only occur together
			l.odd = true
		}
		switch c {
		case '\n':
			l.line = 0
		case '\r':
		default:
			if l.line++; l.line > MaxLine {
				l.odd = true
			}
		}
		l.last = c
	}
	return len(p), nil
}

// Lines reports whether what was looked at is lines that end with CRLF, none of them too long, without a NUL: it can be sent by DATA as it is. The last
// one need not have an end.
func (l *Look) Lines() bool { return !l.odd && l.last != '\r' }

// Encoding is the Content-Transfer-Encoding of what was looked at, if it is to be sent as it is: 7bit, 8bit or binary (RFC 2045 §2.7 to §2.9).
func (l *Look) Encoding() string {
	switch {
	case !l.Lines():
		return "binary"
	case l.EightBit:
		return "8bit"
	}
	return "7bit"
}

// Finder looks for a text in what passes by, whatever pieces it comes in.
type Finder struct {
	Text  []byte
	Found bool

	tail []byte // the end of what came, too short to hold the text
}

// Write looks at a piece. It never fails.
func (f *Finder) Write(p []byte) (int, error) {
	n := len(f.Text) - 1
	seam := append(f.tail, p[:min(n, len(p))]...)
	f.Found = f.Found || bytes.Contains(seam, f.Text) || bytes.Contains(p, f.Text)
	if len(p) < n {
		f.tail = seam[max(0, len(seam)-n):]
	} else {
		f.tail = append(f.tail[:0], p[len(p)-n:]...)
	}
	return len(p), nil
}
