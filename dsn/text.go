package dsn

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-esmtp/esmtp/internal/mailtext"
)

// text makes the part for people.
func (w *writer) text(r Report, original part) part {
	var b bytes.Buffer
	mailtext.Paragraph(&b, "", "This is the mail server "+w.clean(r.Hostname)+".")
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
	mailtext.Paragraph(&b, "", attached)
	return newPart("text/plain; charset=us-ascii", "text/plain; charset=utf-8", "Notification", b.Bytes())
}

// action writes about all recipients of one action; those that share a reason stand together.
func (w *writer) action(b *bytes.Buffer, r Report, a Action) {
	rcpts := slices.DeleteFunc(slices.Clone(r.Recipients), func(rcpt Recipient) bool { return rcpt.Action != a })
	if len(rcpts) == 0 {
		return
	}
	mailtext.Paragraph(b, "", w.intro(r, rcpts))
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
			mailtext.Paragraph(b, "      ", reason)
		} else {
			b.WriteString("\r\n")
		}
	}
}

// intro says in a sentence what has happened, and what the sender should do.
func (w *writer) intro(r Report, rcpts []Recipient) string {
	what := "Your message"
	if !r.Arrived.IsZero() {
		what += " of " + r.Arrived.Format(mailtext.DateTime)
	}
	switch rcpts[0].Action {
	case Failed:
		return "I'm sorry. " + what + " could not be delivered to the recipients below, and I have given up. " +
			"The reason follows the addresses. Check them, and ask the recipients by other means if you can't tell what is wrong."
	case Delayed:
		text := what + " has not yet been delivered to the recipients below. You need not send it again: "
		if until := rcpts[0].RetryUntil; !until.IsZero() {
			return text + "I will go on trying until " + until.Format(mailtext.DateTime) + "."
		}
		return text + "it is kept here."
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
	if rcpt.RemoteMTA != "" {
		said = w.clean(rcpt.RemoteMTA) + " said: " + said
	}
	if rcpt.Expired {
		said = "There is no time left to try again. " + said
	}
	return said
}

// maxValue is how long a name, an address or a line of a reply may be, in octets, so that the line that it stands in is short enough.
const maxValue = 900

// clean makes s safe to stand in a line of the report.
func (w *writer) clean(s string) string { return mailtext.Cut(mailtext.Clean(s, w.utf8), maxValue) }
