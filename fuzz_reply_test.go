package esmtp

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// slowText is the reference for the text of a reply: what of it a client may see, without the line breaks that wrapping made of spaces.
func slowText(r Reply, utf8ok bool) string {
	text := strings.Join(r.Lines, "\n")
	if utf8ok {
		text = strings.ToValidUTF8(text, "?")
	}
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c < ' ' || c == 0x7f || c == '?':
			return -1 // compared elsewhere
		case c == ' ':
			return -1
		case c > 0x7f && !utf8ok, 0x7f < c && c < 0xa0, c == utf8.RuneError:
			return -1
		}
		return c
	}, text)
}

// FuzzReply: whatever a handler returns is written as one well-formed reply: lines of 512 octets at most, no control characters, the
// same code and the same enhanced status code on each, "-" behind all but the last; and no text that can be shown is lost.
func FuzzReply(f *testing.F) {
	f.Add(250, uint16(2), uint16(0), uint16(0), "ok", true, false, false)
	f.Add(550, uint16(5), uint16(7), uint16(1), "no\r\n220 injected\nb\x00\x7f\x1b[31m", true, false, false)
	f.Add(451, uint16(65535), uint16(65535), uint16(65535), strings.Repeat("long ", 400), false, true, false)
	f.Add(250, uint16(9), uint16(9999), uint16(1), strings.Repeat("é", 1000)+"\xff\u0085", true, true, false)
	f.Add(250, uint16(0), uint16(0), uint16(0), "mx\nSIZE 1\n"+strings.Repeat("X", 600)+"\nDSN", true, true, true)
	f.Add(550, uint16(5), uint16(7), uint16(1), strings.Repeat("x", 2000), true, true, false)
	f.Add(250, uint16(2), uint16(0), uint16(0), "x"+strings.Repeat("é", 248)+strings.Repeat("\xa7", 9), true, true, false) // breaks in what is no UTF-8
	f.Add(354, uint16(0), uint16(0), uint16(0), strings.Repeat("\n", 300), true, true, false)
	f.Fuzz(func(t *testing.T, code int, a, b, c uint16, text string, enhanced, utf8ok, keywords bool) {
		if code < 200 || code > 599 {
			return // checkReply doesn't let it pass
		}
		r := Reply{Code: code, Enh: Enhanced{a, b, c}, Lines: strings.Split(text, "\n")}
		if strings.HasPrefix(text, "-") {
			r.Lines = []string{text} // breaks within a line
		}
		out := appendReply([]byte("before"), r, replyFormat{enhanced: enhanced, utf8: utf8ok, keywords: keywords})
		out, ok := bytes.CutPrefix(out, []byte("before"))
		if !ok {
			t.Fatalf("%q does not append", out)
		}
		shown := checkLines(t, out, r, enhanced, utf8ok)
		want := slowText(r, utf8ok)
		if got := slowText(Reply{Lines: []string{shown}}, true); !keywords && got != want && strings.Count(string(out), "\n") < maxReplyLines && want != "" {
			t.Fatalf("%q is written as %q: %q, want %q", text, out, got, want)
		}
	})
}

// checkLines checks each line of a reply, and returns their text.
func checkLines(t *testing.T, out []byte, r Reply, enhanced, utf8ok bool) (text string) {
	lines := strings.SplitAfter(string(out), "\r\n")
	if len(lines) < 2 || len(lines) > maxReplyLines+1 || lines[len(lines)-1] != "" {
		t.Fatalf("%q is no reply", out)
	}
	lines = lines[:len(lines)-1]
	head := string(appendReply(nil, Reply{Code: r.Code, Enh: r.Enh, Lines: []string{"x"}}, replyFormat{enhanced: enhanced}))
	head = strings.TrimSuffix(head, "x\r\n")
	if _, has := r.enhanced(); enhanced && has && (len(head) < 10 || head[4] != head[0] || head[5] != '.') {
		t.Fatalf("%q has no enhanced status code of its class", head)
	}
	for i, line := range lines {
		separator := "-"
		if i == len(lines)-1 {
			separator = " "
		}
		body, ok := strings.CutPrefix(line, head[:3]+separator+head[4:])
		body = strings.TrimSuffix(body, "\r\n")
		switch {
		case !ok || len(line) > maxReplyLine:
			t.Fatalf("line %q of %d octets, want %q", line, len(line), head)
		case hasControlText(body) || !utf8.ValidString(body) || !utf8ok && !isASCII(body):
			t.Fatalf("line %q shows what it must not", line)
		}
		text += body
	}
	return text
}
