package dsn

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"fmt"
	"io"
	"mime/quotedprintable"
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
	if m.From, err = esmtp.NewPath("", params(r)); err != nil {
		return nil, fmt.Errorf("dsn: %w", err)
	}
	w.header(&m.content, r, unique)
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

// newPart makes a part of lines. Those that are not ASCII are of another type, one that can be encoded: message/global and its kin can, as message/rfc822
// can't (RFC 6532 §3.5).
func newPart(mediaType, otherType, about string, body []byte) part {
	if mailtext.IsASCII(body) {
		return part{mediaType: mediaType, encoding: "7bit", about: about, body: body}
	}
	var b bytes.Buffer
	q := quotedprintable.NewWriter(&b)
	q.Write(body)
	q.Close()
	return part{mediaType: otherType, encoding: "quoted-printable", about: about, body: b.Bytes()}
}

// writer knows whether the parts of the report may be in UTF-8: so they are if the original was (RFC 6533 §3).
type writer struct{ utf8 bool }

// params are the parameters of MAIL for the report. It is the last word: nobody is told if a server on its way can't take it. So it asks for nothing that
// it can do without, which is UTF-8 in the address that it goes to (RFC 6531 §3.6).
func params(r Report) string {
	var params []string
	if !mailtext.IsASCII(r.From.String()) {
		params = append(params, "BODY=8BITMIME", "SMTPUTF8")
	}
	if r.From.RequireTLS() {
		params = append(params, "REQUIRETLS") // RFC 8689 §5
	}
	return strings.Join(params, " ")
}

// header writes the header of the report: all of it is ASCII, but for an address of the sender that isn't.
func (w *writer) header(b *bytes.Buffer, r Report, unique string) {
	host := mailtext.Clean(w.clean(r.Hostname), false)
	fmt.Fprintf(b, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\n", host)
	fmt.Fprintf(b, "To: <%s>\r\n", w.clean(r.From.String()))
	fmt.Fprintf(b, "Subject: %s\r\n", subject(r.Recipients))
	fmt.Fprintf(b, "Date: %s\r\n", r.Now.Format(mailtext.DateTime))
	fmt.Fprintf(b, "Message-ID: <%s@%s>\r\n", unique, host)
	b.WriteString("Auto-Submitted: auto-replied\r\n") // RFC 3834 §5
	b.WriteString("MIME-Version: 1.0\r\n")
	fmt.Fprintf(b, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n", unique)
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
