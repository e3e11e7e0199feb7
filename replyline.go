package esmtp

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/caddy-esmtp/esmtp/internal/mailtext"
)

// maxReplyLine is the longest reply line, CRLF included (RFC 5321 §4.5.3.1.5).
const maxReplyLine = 512

// maxReplyLines bounds what a handler's text can grow a reply to.
const maxReplyLines = 100

// replyFormat says how a reply is written at this point of the session.
type replyFormat struct {
	enhanced bool // write enhanced status codes (not in the greeting, nor for HELO and EHLO)
	utf8     bool // the client asked for SMTPUTF8, so text may be UTF-8 (RFC 6531 §3.7.4.2)
	keywords bool // the lines after the first are EHLO keywords: drop what doesn't fit, wrap nothing
}

// appendReply appends r to b as it goes on the wire. This is the only place that writes replies: here
// control characters go, lines are wrapped, and every line gets the code (RFC 5321 §4.2.1).
func appendReply(b []byte, r Reply, f replyFormat) []byte {
	var buf [20]byte
	head := strconv.AppendInt(buf[:0], int64(r.Code), 10)
	head = append(head, '-')
	if enh, ok := r.enhanced(); ok && f.enhanced {
		head = enh.append(head)
		head = append(head, ' ')
	}
	if len(r.Lines) == 1 && clean(r.Lines[0]) && len(head)+len(r.Lines[0])+2 <= maxReplyLine {
		b = append(b, head...)
		b[len(b)-len(head)+3] = ' '
		b = append(b, r.Lines[0]...)
		return append(b, '\r', '\n')
	}
	last, lines := -1, 0 // where the last line began: its '-' becomes a space at the end
	line := func(text string) {
		if lines < maxReplyLines {
			last = len(b)
			lines++
			b = append(b, head...)
			b = appendClean(b, text, f.utf8)
			b = append(b, '\r', '\n')
		}
	}
	room := maxReplyLine - len(head) - 2
	for i, text := range r.Lines {
		text = strings.TrimSuffix(text, "\n") // the end of the line, not the begin of another
		for part := range strings.SplitSeq(text, "\n") {
			part = strings.TrimSuffix(part, "\r")
			if f.keywords && i > 0 && len(part) > room {
				continue
			}
			for len(part) > room {
				n := wrapAt(part, room)
				line(part[:n])
				part = strings.TrimLeft(part[n:], " ")
			}
			line(part)
		}
	}
	if last < 0 {
		line(standardText(r.Code))
	}
	b[last+3] = ' '
	return b
}

// wrapAt finds where to break a text that is longer than room: after the last space, else before a rune.
func wrapAt(s string, room int) int {
	if i := strings.LastIndexByte(s[:room], ' '); i > room/2 {
		return i
	}
	return len(mailtext.Cut(s, room))
}

// printable makes a control character a space, and what isn't ASCII a question mark.
func printable(r rune) rune {
	switch {
	case r < ' ' || r == 0x7f:
		return ' '
	case r > 0x7f:
		return '?'
	}
	return r
}

// clean reports whether s can be written as it is: printable ASCII.
func clean(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// appendClean appends s without its control characters, and without what isn't ASCII unless it is UTF-8
// and the client can read that. It never grows s.
func appendClean(b []byte, s string, utf8ok bool) []byte {
	for len(s) > 0 {
		c := s[0]
		switch {
		case c < ' ' || c == 0x7f:
			b = append(b, ' ')
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRuneInString(s)
			if utf8ok && r != utf8.RuneError && r >= 0xa0 { // no C1 controls
				b = append(b, s[:n]...)
			} else {
				b = append(b, '?')
			}
			s = s[n:]
			continue
		}
		s = s[1:]
	}
	return b
}
