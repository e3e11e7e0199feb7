package dsn

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/internal/mailtext"
)

// status makes the part for programs (RFC 3464 §2.1): fields about the message, then a block about each recipient.
func (w *writer) status(r Report) part {
	var b bytes.Buffer
	if id := r.From.EnvID(); id != "" {
		fmt.Fprintf(&b, "Original-Envelope-Id: %s\r\n", w.clean(id))
	}
	fmt.Fprintf(&b, "Reporting-MTA: dns; %s\r\n", w.clean(r.Hostname))
	if !r.Arrived.IsZero() {
		fmt.Fprintf(&b, "Arrival-Date: %s\r\n", r.Arrived.Format(mailtext.DateTime))
	}
	for _, rcpt := range r.Recipients {
		b.WriteString("\r\n")
		w.recipient(&b, rcpt)
	}
	return newPart("message/delivery-status", "message/global-delivery-status", "Delivery report", b.Bytes()) // RFC 6533 §4
}

// recipient writes the fields of RFC 3464 §2.3 in their order.
func (w *writer) recipient(b *bytes.Buffer, rcpt Recipient) {
	if kind, addr := rcpt.To.ORcpt(); addr != "" {
		fmt.Fprintf(b, "Original-Recipient: %s\r\n", w.address(kind, addr))
	}
	fmt.Fprintf(b, "Final-Recipient: %s\r\n", w.address("rfc822", rcpt.To.String()))
	fmt.Fprintf(b, "Action: %s\r\n", rcpt.Action)
	fmt.Fprintf(b, "Status: %s\r\n", statusOf(rcpt))
	if rcpt.RemoteMTA != "" {
		fmt.Fprintf(b, "Remote-MTA: dns; %s\r\n", mtaName(w.clean(rcpt.RemoteMTA)))
	}
	w.diagnostic(b, rcpt)
	if !rcpt.LastAttempt.IsZero() {
		fmt.Fprintf(b, "Last-Attempt-Date: %s\r\n", rcpt.LastAttempt.Format(mailtext.DateTime))
	}
	if rcpt.Action == Delayed && !rcpt.RetryUntil.IsZero() {
		fmt.Fprintf(b, "Will-Retry-Until: %s\r\n", rcpt.RetryUntil.Format(mailtext.DateTime))
	}
}

// address writes an address with its type: one of type rfc822 that isn't ASCII is of type utf-8, and where UTF-8 can't stand it has escapes
// (RFC 6533 §3).
func (w *writer) address(kind, addr string) string {
	switch {
	case mailtext.IsASCII(addr):
		return w.clean(kind + "; " + addr)
	case w.utf8:
		return w.clean("utf-8; " + addr)
	}
	var b strings.Builder
	b.WriteString("utf-8; ")
	for _, r := range addr {
		if r < utf8.RuneSelf && r != '\\' && r != '+' && r != '=' && r > ' ' && r != 0x7f {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		}
	}
	return w.clean(b.String())
}

// statusOf is the enhanced status code that goes with the reply, of a class that the action can have.
func statusOf(rcpt Recipient) esmtp.Enhanced {
	class := uint16(rcpt.Reply.Code / 100)
	switch rcpt.Action {
	case Failed:
		if class != 4 {
			class = 5 // 4: it was temporary once too often
		}
	case Delayed:
		class = 4
	default:
		class = 2
	}
	enh := rcpt.Reply.Enh
	if enh == esmtp.NoEnhanced || rcpt.Reply.Code != 0 && int(class) != rcpt.Reply.Code/100 {
		enh = esmtp.Enhanced{}
	}
	if rcpt.Expired && enh[1] == 0 {
		return esmtp.Enhanced{5, 4, 7} // what was in the way would be better, if it were known (RFC 3463 §3.5)
	}
	return esmtp.Enhanced{class, min(enh[1], 999), min(enh[2], 999)}
}

// mtaName writes a host that has only an address as a literal.
func mtaName(s string) string {
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return s
	case addr.Is4():
		return "[" + s + "]"
	}
	return "[IPv6:" + s + "]"
}

// maxDiagnostic bounds what a remote server can make us repeat, in octets.
const maxDiagnostic = 2000

// diagnostic writes what the remote server has said, a line each, as it was on the wire; or, with a type that nobody takes for SMTP, what we
// have to say.
func (w *writer) diagnostic(b *bytes.Buffer, rcpt Recipient) {
	lines := w.replyLines(rcpt.Reply)
	if len(lines) == 0 {
		return
	}
	kind := "smtp"
	if rcpt.RemoteMTA == "" {
		kind = "x-local"
	}
	fmt.Fprintf(b, "Diagnostic-Code: %s; %s\r\n", kind, strings.Join(lines, "\r\n\t"))
}

// replyLines returns a reply as it is on the wire.
func (w *writer) replyLines(r esmtp.Reply) (lines []string) {
	head, texts := w.replyParts(r)
	for i, text := range texts {
		mark := "-"
		if i == len(texts)-1 {
			mark = " "
		}
		lines = append(lines, strings.TrimSpace(strings.Replace(head, " ", mark, 1)+text))
	}
	return lines
}

// replyParts returns what each line of a reply begins with, "550 5.1.1 ", and the text of its lines, clean and bounded: at least one, unless
// there is no reply.
func (w *writer) replyParts(r esmtp.Reply) (head string, texts []string) {
	if r.Code == 0 {
		return "", nil
	}
	head = strconv.Itoa(r.Code) + " "
	if class := r.Code / 100; r.Enh != esmtp.NoEnhanced && r.Enh != (esmtp.Enhanced{}) && class > 1 {
		head += esmtp.Enhanced{uint16(class), r.Enh[1], r.Enh[2]}.String() + " "
	}
	room := maxDiagnostic
	for _, text := range r.Lines {
		for line := range strings.Lines(text) {
			line = mailtext.Cut(strings.TrimSpace(w.clean(line)), room)
			if line != "" {
				texts = append(texts, line)
				room -= len(line) + len(head)
			}
			if room <= 0 {
				return head, texts
			}
		}
	}
	if len(texts) == 0 {
		texts = append(texts, "")
	}
	return head, texts
}
