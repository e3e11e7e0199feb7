package esmtptest

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/caddy-esmtp/esmtp"
)

// endOfData finds the end of the data: CRLF "." CRLF and nothing else (RFC 5321 §4.1.1.4). whole is false if it isn't there.
func endOfData(raw []byte) (content, rest []byte, whole bool) {
	if bytes.HasPrefix(raw, []byte(".\r\n")) {
		return nil, raw[3:], true
	}
	if i := bytes.Index(raw, []byte("\r\n.\r\n")); i >= 0 {
		return raw[:i+2], raw[i+5:], true
	}
	return raw, nil, false
}

// unstuff takes the dots out (RFC 5321 §4.5.2).
func unstuff(content []byte) (text []byte) {
	for line := range bytes.SplitAfterSeq(content, []byte("\r\n")) {
		text = append(text, bytes.TrimPrefix(line, []byte("."))...)
	}
	return text
}

var newline = regexp.MustCompile(`\r\n|\r|\n`)

// repair does with a CR or LF that is no CRLF what the policy says.
func repair(text []byte, policy esmtp.BareNewlines) []byte {
	return newline.ReplaceAllFunc(text, func(nl []byte) []byte {
		switch {
		case len(nl) == 2 || policy == esmtp.PassBare || policy == esmtp.RejectBare:
			return nl
		case policy == esmtp.FixBare:
			return []byte("\r\n")
		}
		return nil
	})
}

func hasBare(text []byte) bool {
	return bytes.ContainsAny(bytes.ReplaceAll(text, []byte("\r\n"), nil), "\r\n")
}

// header is the header of a message, as far as it is known.
type header struct {
	fields []string // as they came, CRLF included
	ended  bool
	why    esmtp.HeaderEnd
	body   int // where the body begins
}

var (
	field  = regexp.MustCompile(`^[!-9;-~]+[ \t]*:`) // RFC 5322 §2.2, §4.5
	folded = regexp.MustCompile(`^[ \t]`)            // RFC 5322 §2.2.3
)

// splitHeader finds the fields. If text is not whole, only what no further octet can change is in the result.
func splitHeader(text string, whole bool, maxBytes, maxFields int) (h header) {
	for {
		rest := text[h.body:]
		lines := strings.SplitAfter(rest, "\r\n")
		n := len(lines[0])
		complete := strings.HasSuffix(lines[0], "\r\n")
		end := func(why esmtp.HeaderEnd) header {
			h.ended, h.why = true, why
			return h
		}
		switch {
		case lines[0] == "\r\n":
			h.body += 2
			return end(esmtp.HeaderBlank)
		case rest == "" && whole:
			return end(esmtp.HeaderEOM)
		case !complete && !whole && rest != "\r" && over(h.body+len(rest), maxBytes):
			return end(esmtp.HeaderLimit)
		case !complete && !whole:
			return h
		case !field.MatchString(lines[0]) && over(h.body+n, maxBytes):
			return end(esmtp.HeaderLimit)
		case !field.MatchString(lines[0]):
			return end(esmtp.HeaderMalformed)
		}
		for i := 1; i < len(lines) && folded.MatchString(lines[i]); i++ {
			n += len(lines[i])
			complete = strings.HasSuffix(lines[i], "\r\n")
		}
		undecided := !whole && (!complete || n == len(rest))
		switch {
		case over(h.body+n, maxBytes), !undecided && over(len(h.fields)+1, maxFields):
			return end(esmtp.HeaderLimit)
		case undecided:
			return h
		}
		h.fields = append(h.fields, rest[:n])
		h.body += n
	}
}

// splitField returns name and value as HEADER gets them: unfolded, without a CR or LF.
func splitField(raw string) (name, value string) {
	name, value, _ = strings.Cut(raw, ":")
	value = strings.ReplaceAll(strings.TrimSuffix(value, "\r\n"), "\r\n", "")
	value = strings.NewReplacer("\r", " ", "\n", " ").Replace(value)
	return strings.TrimRight(name, " \t"), strings.TrimLeft(value, " \t")
}
