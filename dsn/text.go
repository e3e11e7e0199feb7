package dsn

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// text makes the part for people.
func (w *writer) text(r Report, original part) part {
	var b bytes.Buffer
	w.paragraph(&b, "", "This is the mail server "+w.clean(r.Hostname)+".")
	for _, a := range []Action{Failed, Delayed, Delivered, Relayed, Expanded} {
		w.action(&b, r, a)
	}
	attached := "A report for programs is attached."
	switch {
	case original.whole:
		attached = "A report for programs and your message are attached."
	case original.body != nil:
		attached = "A report for programs and the header of your message are attached."
	}
	w.paragraph(&b, "", attached)
	p := part{mediaType: "text/plain; charset=us-ascii", encoding: "7bit", about: "Notification", body: b.Bytes()}
	if p.encoding = encodingOf(p.body); p.encoding == "8bit" {
		p.mediaType = "text/plain; charset=utf-8"
	}
	return p
}

// action writes about all recipients of one action; those that share a reason stand together.
func (w *writer) action(b *bytes.Buffer, r Report, a Action) {
	rcpts := slices.DeleteFunc(slices.Clone(r.Recipients), func(rcpt Recipient) bool { return rcpt.Action != a })
	if len(rcpts) == 0 {
		return
	}
	w.paragraph(b, "", w.intro(r, rcpts))
	var reasons []string
	byReason := map[string][]string{}
	for _, rcpt := range rcpts {
		reason := w.reason(rcpt)
		if _, ok := byReason[reason]; !ok {
			reasons = append(reasons, reason)
		}
		byReason[reason] = append(byReason[reason], rcpt.To.String())
	}
	for _, reason := range reasons {
		for _, addr := range byReason[reason] {
			fmt.Fprintf(b, "  <%s>\r\n", w.clean(addr))
		}
		if reason != "" {
			w.paragraph(b, "      ", reason)
		} else {
			b.WriteString("\r\n")
		}
	}
}

// intro says in a sentence what has happened, and what the sender should do.
func (w *writer) intro(r Report, rcpts []Recipient) string {
	what := "Your message"
	if !r.Arrived.IsZero() {
		what += " of " + r.Arrived.Format(dateTime)
	}
	switch rcpts[0].Action {
	case Failed:
		return "I'm sorry. " + what + " could not be delivered to the recipients below, and I have given up. " +
			"The reason follows the addresses. Check them, and ask the recipients by other means if you can't tell what is wrong."
	case Delayed:
		text := what + " has not yet been delivered to the recipients below. You need not send it again: I will go on trying"
		if until := rcpts[0].RetryUntil; !until.IsZero() {
			text += " until " + until.Format(dateTime)
		}
		return text + "."
	case Delivered:
		return what + " has been delivered to:"
	case Relayed:
		return what + " has been passed on to a server that doesn't report whether it delivers. There may be no further report about:"
	}
	return what + " has been passed on to the members of:"
}

// reason is who said what.
func (w *writer) reason(rcpt Recipient) string {
	head, texts := w.replyParts(rcpt.Reply)
	said := head + strings.Join(texts, " / ")
	if rcpt.RemoteMTA == "" {
		return said
	}
	return w.clean(rcpt.RemoteMTA) + " said: " + said
}

// paragraph writes text in lines of up to 76 octets if its words allow, and an empty line.
func (w *writer) paragraph(b *bytes.Buffer, indent, text string) {
	col := 0
	for word := range strings.FieldsSeq(text) {
		for word != "" {
			piece := w.cut(word, 900)
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

// clean makes s safe to stand in a line of the report: control characters become spaces, and what can't be there question marks.
func (w *writer) clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r < utf8.RuneSelf && r >= ' ' && r != 0x7f:
			return r
		case unicode.IsControl(r) || r == '\u2028' || r == '\u2029':
			return ' '
		case r == utf8.RuneError || !w.utf8:
			return '?'
		}
		return r
	}, s)
}

func isASCII(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c >= utf8.RuneSelf })
}

func encodingOf(b []byte) string {
	if isASCII(b) {
		return "7bit"
	}
	return "8bit"
}
