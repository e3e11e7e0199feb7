package esmtp

import (
	"bytes"
	"strings"
)

// HeaderEnd says what ended the header of a message.
type HeaderEnd uint8

// The ends of a header. For all but HeaderBlank and HeaderEOM the body begins with the line that ended it.
const (
	HeaderBlank     HeaderEnd = iota // the blank line, as it should be
	HeaderMalformed                  // a line that is no header field; see [BadHeader]
	HeaderEOM                        // the end of the message: it has no body
	HeaderLimit                      // more octets or fields than [Limits] allows
	HeaderSwitched                   // a HEADER method switched to chunk mode
)

// String names the end: "blank line", "malformed line", "end of message", "limit", "switched".
func (e HeaderEnd) String() string {
	return [...]string{"blank line", "malformed line", "end of message", "limit", "switched"}[e]
}

// BadHeader says what to do when a line where a header field should be is none (RFC 5322 §2.2).
type BadHeader uint8

// The policies. With each the header ends there and EOH is told.
const (
	// InsertBlank makes the line the first of the body, behind a blank line that is put in: see
	// [Session.Separator].
	InsertBlank BadHeader = iota
	// KeepBad makes the line the first of the body, with nothing in between.
	KeepBad
	// RejectBad refuses the message with 550 5.6.0.
	RejectBad
)

// headerParser finds the fields in a header that comes in pieces.
type headerParser struct {
	held   []byte // what came of a field that isn't whole yet
	seen   int    // so much of it is whole lines
	looked int    // so much of it was searched for the end of a line
	fields int
	octets int
}

// next takes a field from the front of p, and returns its length with its CRLF. Length 0 means that more octets are
// needed to tell, or, if ended, that no field stands there but the end of the header, skip octets long. last says
// that no more will come.
func (h *headerParser) next(p []byte, last bool) (n int, ended bool, why HeaderEnd, skip int) {
	for {
		if h.seen > 0 && h.seen < len(p) && p[h.seen] != ' ' && p[h.seen] != '\t' {
			break // no folded line follows (RFC 5322 §2.2.3): the field is whole
		}
		eol := h.lineEnd(p)
		switch {
		case eol > 0:
		case !last:
			return 0, false, 0, 0
		case h.seen < len(p):
			eol = len(p)
		}
		if eol == 0 {
			break
		}
		if h.seen == 0 {
			if eol == 2 && p[0] == '\r' && p[1] == '\n' {
				return 0, true, HeaderBlank, 2
			}
			if nameLength(p[:eol]) == 0 {
				return 0, true, HeaderMalformed, 0
			}
		}
		h.seen = eol
	}
	if h.seen == 0 {
		return 0, true, HeaderEOM, 0
	}
	n = h.seen
	h.seen, h.looked = 0, 0
	h.octets += n
	h.fields++
	return n, false, 0, 0
}

// lineEnd returns where the line ends that begins at p[h.seen:], behind its CRLF; 0 if the end isn't there yet.
func (h *headerParser) lineEnd(p []byte) int {
	for i := max(h.seen, h.looked); ; {
		j := bytes.IndexByte(p[i:], '\n')
		if j < 0 {
			h.looked = len(p)
			return 0
		}
		if i += j + 1; i-2 >= h.seen && p[i-2] == '\r' {
			return i
		}
	}
}

// nameLength returns the length of the field name that begins a line, 0 if it has none. White space before the
// colon is obsolete, but must be read (RFC 5322 §4.5).
func nameLength(line []byte) int {
	n := 0
	for n < len(line) && line[n] > ' ' && line[n] < 0x7f && line[n] != ':' {
		n++
	}
	i := n
	for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
		i++
	}
	if i == len(line) || line[i] != ':' {
		return 0
	}
	return n
}

// splitField returns the name and the unfolded value of a raw field: CRLFs removed, white space kept but for what
// stands before the value (RFC 5322 §2.2.3). Other control characters of a line ending become spaces, so a value
// never holds a CR or LF.
func (a *arena) splitField(raw []byte) (name, value string) {
	n := nameLength(raw)
	v := raw[n:]
	v = v[bytes.IndexByte(v, ':')+1:]
	v = bytes.TrimSuffix(v, crlf)
	return fieldName(raw[:n]), a.unfold(bytes.TrimLeft(v, " \t"))
}

// unfold copies the value of a field without its line ends.
func (a *arena) unfold(v []byte) string {
	a.room(len(v))
	begin := a.block.Len()
	for line := range bytes.SplitSeq(v, crlf) {
		a.block.Write(line)
	}
	value := a.block.String()[begin:]
	if strings.ContainsAny(value, "\r\n") { // only where they are let pass
		value = strings.NewReplacer("\r", " ", "\n", " ").Replace(value)
	}
	return strings.TrimLeft(value, " \t")
}

// fieldName returns a name as a string; for the common ones that costs no allocation.
func fieldName(p []byte) string {
	if name, ok := commonFields[string(p)]; ok {
		return name
	}
	return string(p)
}

var commonFields = func(names ...string) map[string]string {
	m := make(map[string]string, len(names))
	for _, name := range names {
		m[name] = name
	}
	return m
}("Received", "Return-Path", "Delivered-To", "From", "To", "Cc", "Bcc", "Sender", "Reply-To", "Subject", "Date",
	"Message-ID", "Message-Id", "In-Reply-To", "References", "MIME-Version", "Mime-Version", "Content-Type",
	"Content-Transfer-Encoding", "Content-Disposition", "Content-ID", "Content-Language", "DKIM-Signature",
	"ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results", "Authentication-Results", "Received-SPF",
	"List-ID", "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Post", "Auto-Submitted", "Precedence",
	"User-Agent", "X-Mailer", "X-Priority", "Importance", "Errors-To", "X-Spam-Status", "Feedback-ID")
