package dsn

import (
	"bytes"
	"io"
	"slices"

	"github.com/caddy-esmtp/esmtp/internal/mailtext"
)

// usualOriginal bounds the original.
const usualOriginal = 64 << 10

// original makes the third part of a report: the original, whole or only its header; no part if there is no original.
func (w *writer) original(r Report, original io.Reader) (part, error) {
	if original == nil {
		return part{}, nil
	}
	limit := r.MaxOriginal
	if limit <= 0 {
		limit = usualOriginal
	}
	content, err := io.ReadAll(io.LimitReader(original, int64(limit)+1))
	if err != nil {
		return part{}, err
	}
	if r.wantsWhole() && len(content) <= limit && isMail(content) {
		p := newPart("message/rfc822", "message/global", "Your message", content) // RFC 6532 §3.7
		p.whole = true
		return p, nil
	}
	return w.headerPart(cleanHeader(content[:min(len(content), limit)], len(content) > limit)), nil
}

// wantsWhole reports whether the sender gets the message back. RET is about failures only; other reports have the header (RFC 3461 §4.3).
func (r Report) wantsWhole() bool {
	failed := slices.ContainsFunc(r.Recipients, func(rcpt Recipient) bool { return rcpt.Action == Failed })
	return failed && r.From.Ret() != "HDRS" && r.MaxOriginal >= 0
}

// isMail reports whether content can be sent by DATA as it is: a message of type message/rfc822 can't be encoded to make it so. Binary mail,
// and what a lenient server has taken, may not be.
func isMail(content []byte) bool {
	var l mailtext.Look
	l.Write(content)
	return l.Lines()
}

// headerPart makes a part of a header (RFC 6522 §4, RFC 6533 §6).
func (w *writer) headerPart(header []byte) part {
	const usual, about = "text/rfc822-headers", "Header of your message"
	if w.utf8 {
		return newPart(usual, "message/global-headers", about, bytes.ToValidUTF8(header, []byte("?")))
	}
	return newPart(usual, usual, about, header)
}

// cleanHeader returns the header at the front of a message as lines that may be sent: they end with CRLF whatever they ended with, control
// characters are spaces, and long ones are folded. With cut, the last line may be incomplete, and is left out.
func cleanHeader(content []byte, cut bool) []byte {
	header := []byte{}
	for line := range bytes.Lines(content) {
		text, complete := bytes.CutSuffix(line, []byte("\n"))
		text = bytes.TrimSuffix(text, []byte("\r"))
		if len(text) == 0 || !complete && cut {
			break
		}
		header = appendFolded(header, text)
	}
	return header
}

// appendFolded appends a line, in pieces that are short enough, without control characters.
func appendFolded(b, text []byte) []byte {
	room := mailtext.MaxLine
	for _, c := range text {
		if c < ' ' && c != '\t' || c == 0x7f {
			c = ' '
		}
		if room == 0 || room < 4 && c >= 0xc0 { // not within a rune
			b = append(b, "\r\n "...)
			room = mailtext.MaxLine - 1
		}
		b = append(b, c)
		room--
	}
	return append(b, "\r\n"...)
}
