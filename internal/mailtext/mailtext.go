// Package mailtext has what packages need that write mail themselves: lines that are short enough, and hold nothing that ends them.
package mailtext

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf8"
)

// DateTime is the form of RFC 5322 §3.3.
const DateTime = "Mon, 2 Jan 2006 15:04:05 -0700"

// MaxLine is how long a line may be, in octets without CRLF (RFC 5322 §2.1.1).
const MaxLine = 998

// Paragraph writes text in lines of up to 76 octets if its words allow, and an empty line.
func Paragraph(b *bytes.Buffer, indent, text string) {
	col := 0
	for word := range strings.FieldsSeq(text) {
		for word != "" {
			piece := Cut(word, 900)
			word = word[len(piece):]
			switch {
			case col == 0:
				b.WriteString(indent)
				col = len(indent)
			case col+1+len(piece) > 76:
				b.WriteString("\r\n" + indent)
				col = len(indent)
			default:
				b.WriteByte(' ')
				col++
			}
			b.WriteString(piece)
			col += len(piece)
		}
	}
	b.WriteString("\r\n\r\n")
}

// Cut shortens a text to n octets, or up to three less if else it would end within a rune.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for back := 1; back < utf8.UTFMax && back <= n; back++ {
		if !utf8.RuneStart(s[n-back]) {
			continue
		}
		if _, size := utf8.DecodeRuneInString(s[n-back:]); size > back {
			return s[:n-back]
		}
		break
	}
	return s[:n]
}

// Clean makes s safe to stand in a line: control characters become spaces, and what can't be there question marks. That is what is no UTF-8, and
// if allow8 is false all that isn't ASCII.
func Clean(s string, allow8 bool) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r < utf8.RuneSelf && r >= ' ' && r != 0x7f:
			return r
		case unicode.IsControl(r) || r == '\u2028' || r == '\u2029':
			return ' '
		case r == utf8.RuneError || !allow8:
			return '?'
		}
		return r
	}, s)
}

// IsASCII reports whether there is no octet over 127.
func IsASCII[T []byte | string](b T) bool {
	for i := range len(b) {
		if b[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// Has8Bit reports whether there is an octet over 127 in p. It is for whole messages: it looks at 32 octets at a time.
func Has8Bit(p []byte) bool {
	const high = 0x8080808080808080
	le := binary.LittleEndian
	for ; len(p) >= 32; p = p[32:] {
		if (le.Uint64(p)|le.Uint64(p[8:])|le.Uint64(p[16:])|le.Uint64(p[24:]))&high != 0 {
			return true
		}
	}
	return !IsASCII(p)
}
