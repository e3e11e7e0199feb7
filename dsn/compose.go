package dsn

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/internal/mailtext"
)

// New makes the message. It reads from original, which must begin with the header, no more than it can use, and keeps that in memory; it can
// be nil. Its errors are [ErrNobody] and those of original.
func New(r Report, original io.Reader) (*Message, error) { return compose(r, original, rand.Text()) }

func compose(r Report, original io.Reader, unique string) (*Message, error) {
	r.Recipients = slices.DeleteFunc(slices.Clone(r.Recipients), func(rcpt Recipient) bool { return !r.wanted(rcpt) })
	if r.From.IsNull() || len(r.Recipients) == 0 {
		return nil, ErrNobody
	}
	if r.Now.IsZero() {
		r.Now = time.Now()
	}
	w := &writer{utf8: r.From.SMTPUTF8() || !mailtext.IsASCII(r.From.Raw())}
	third, err := w.original(r, original)
	if err != nil {
		return nil, fmt.Errorf("dsn: %w", err)
	}
	parts := []part{w.text(r, third), w.status(r)}
	if third.body != nil {
		parts = append(parts, third)
	}
	m := new(Message)
	if m.To, err = esmtp.NewPath(r.From.String(), "NOTIFY=NEVER"); err != nil {
		return nil, fmt.Errorf("dsn: %w", err)
	}
	eightBit := slices.ContainsFunc(parts, func(p part) bool { return p.encoding == "8bit" })
	if m.From, err = esmtp.NewPath("", w.params(r, eightBit)); err != nil {
		return nil, fmt.Errorf("dsn: %w", err)
	}
	w.header(&m.content, r, eightBit, unique)
	for _, p := range parts {
		fmt.Fprintf(&m.content, "\r\n--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\nContent-Description: %s\r\n\r\n", unique, p.mediaType, p.encoding, p.about)
		m.content.Write(p.body)
	}
	fmt.Fprintf(&m.content, "\r\n--%s--\r\n", unique)
	return m, nil
}

// part is one of the parts of a report.
type part struct {
	mediaType, encoding, about string
	body                       []byte
	whole                      bool // it is all of the original
}

// writer knows whether the report may be in UTF-8: so it is if the original was (RFC 6533 §3).
type writer struct{ utf8 bool }

// params are the parameters of MAIL for the report.
func (w *writer) params(r Report, eightBit bool) string {
	var params []string
	if eightBit {
		params = append(params, "BODY=8BITMIME")
	}
	if w.utf8 {
		params = append(params, "SMTPUTF8")
	}
	if r.From.RequireTLS() {
		params = append(params, "REQUIRETLS") // RFC 8689 §5
	}
	return strings.Join(params, " ")
}

// header writes the header of the report, with the encoding of its parts (RFC 2045 §6.4).
func (w *writer) header(b *bytes.Buffer, r Report, eightBit bool, unique string) {
	host := w.clean(r.Hostname)
	fmt.Fprintf(b, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\n", host)
	fmt.Fprintf(b, "To: <%s>\r\n", w.clean(r.From.String()))
	fmt.Fprintf(b, "Subject: %s\r\n", subject(r.Recipients))
	fmt.Fprintf(b, "Date: %s\r\n", r.Now.Format(mailtext.DateTime))
	fmt.Fprintf(b, "Message-ID: <%s@%s>\r\n", unique, host)
	b.WriteString("Auto-Submitted: auto-replied\r\n") // RFC 3834 §5
	b.WriteString("MIME-Version: 1.0\r\n")
	fmt.Fprintf(b, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n", unique)
	if eightBit {
		b.WriteString("Content-Transfer-Encoding: 8bit\r\n")
	}
	b.WriteString("\r\nThis is a delivery status notification in MIME format.\r\n")
}

// subject says the worst that there is to say.
func subject(rcpts []Recipient) string {
	worst := slices.MinFunc(rcpts, func(a, b Recipient) int { return cmp.Compare(a.Action, b.Action) })
	switch worst.Action {
	case Failed:
		return "Your message could not be delivered"
	case Delayed:
		return "Your message is late"
	case Delivered:
		return "Your message was delivered"
	}
	return "Your message was passed on"
}
