package esmtp

import "bytes"

// dotDecoder finds the end of the data and takes the stuffed dots out (RFC 5321 §4.5.2). Its contract:
//
//   - The end is CRLF "." CRLF and nothing else; the CRLF before the dot belongs to the message. The
//     decoder starts as if behind a CRLF, so ".\r\n" first is the end of an empty message.
//   - A dot that begins a line goes if more follows. Only a CRLF begins a line: a lone CR or LF doesn't.
//   - A CR is never handed out before the octet behind it is known, so no CRLF is torn apart.
//
// It works on whole blocks and in place: what it hands out is a slice of what it got.
type dotDecoder struct {
	midLine bool // the last octet consumed did not end a line
}

// decode consumes n octets of p, and returns what they say. More octets have to follow those that it did not
// consume (at most two) before it can go on. bare tells that text has a CR or LF that is no CRLF.
func (d *dotDecoder) decode(p []byte) (text []byte, n int, bare, done bool) {
	out, run := 0, 0 // p[:out] is decoded; p[run:i] still has to be moved behind it
	i, lines := 0, 0
	for i < len(p) {
		if !d.midLine && p[i] == '.' {
			if i+1 == len(p) || p[i+1] == '\r' && i+2 == len(p) {
				break // an end or not: the next octets tell
			}
			out += move(p, out, run, i)
			if p[i+1] == '\r' && p[i+2] == '\n' {
				return p[:out], i + 3, bare || hasLoneCR(p[:out], lines), true
			}
			i++
			run = i
			d.midLine = true
		}
		begin := i
		j := bytes.IndexByte(p[i:], '\n')
		if j < 0 {
			if i = len(p); p[i-1] == '\r' && i > begin {
				i-- // half a CRLF, perhaps
			}
			d.midLine = d.midLine || i > begin
			break
		}
		i += j + 1
		if i-2 >= begin && p[i-2] == '\r' {
			d.midLine = false
			lines++
		} else {
			d.midLine = true
			bare = true
		}
	}
	out += move(p, out, run, i)
	return p[:out], i, bare || hasLoneCR(p[:out], lines), false
}

// move copies p[from:to] to p[out:], and returns its length.
func move(p []byte, out, from, to int) int {
	if out != from {
		copy(p[out:], p[from:to])
	}
	return to - from
}

// hasLoneCR reports whether p, which has so many CRLF, has any other CR. Counting is several times faster than
// looking behind each.
func hasLoneCR(p []byte, crlf int) bool { return bytes.Count(p, cr) != crlf }

var (
	cr   = []byte{'\r'}
	lf   = []byte{'\n'}
	crlf = []byte("\r\n")
)

// hasBare reports whether p has a CR or LF that is no CRLF. p doesn't begin in the middle of a CRLF.
//
// Lines of base64 are all as long: after two of a length the next is only looked at where its CRLF should be. A line is then
// skipped that was shorter, perhaps, but no CR or LF goes unseen: the counts at the end don't fit, and p is searched again.
func hasBare(p []byte) bool {
	i, last, guess, lines := 0, 0, 0, 0
	for {
		if next := i + guess; guess > 1 && next <= len(p) && p[next-1] == '\n' && p[next-2] == '\r' {
			i = next
			lines++
			continue
		}
		n := bytes.IndexByte(p[i:], '\n') + 1
		if n == 0 {
			break
		}
		if i += n; i < 2 || p[i-2] != '\r' {
			return true
		}
		lines++
		if guess = 0; n == last {
			guess = n
		}
		last = n
	}
	return (hasLoneCR(p, lines) || bytes.Count(p, lf) != lines) && searchBare(p)
}

// searchBare is hasBare line by line.
func searchBare(p []byte) bool {
	lines := 0
	for i := 0; ; lines++ {
		j := bytes.IndexByte(p[i:], '\n')
		if j < 0 {
			return hasLoneCR(p, lines)
		}
		if i += j + 1; i < 2 || p[i-2] != '\r' {
			return true
		}
	}
}

// BareNewlines says what happens to a CR or LF in a message that is not part of a CRLF (RFC 5321 §2.3.8). It is
// applied after the end of the data was found, so none of them can make a line or an end out of what was none:
// that would let a sender smuggle a second message into the first.
type BareNewlines uint8

// The policies.
const (
	RejectBare BareNewlines = iota // 554 5.6.0, after the message was read to its end
	FixBare                        // each becomes CRLF
	StripBare                      // each is dropped
	PassBare                       // handed on as it is: only for handlers that can't be confused by it
)

// repairBare returns p with its lone CR and LF replaced by CRLF, or dropped, in dst.
func repairBare(dst, p []byte, policy BareNewlines) []byte {
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == '\r' && i+1 < len(p) && p[i+1] == '\n':
			dst = append(dst, crlf...)
			i++
		case c != '\r' && c != '\n':
			dst = append(dst, c)
		case policy == FixBare:
			dst = append(dst, crlf...)
		}
	}
	return dst
}
