package wrap

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/caddy-esmtp/esmtp/internal/mailtext"
)

// New makes the message around an original, which it reads once to find out how it can be sent; [Message.WriteTo] reads it again. It keeps no more of
// it than its header. Its errors are those of original.
func New(n Notice, original io.ReadSeeker) (*Message, error) { return compose(n, original, rand.Text) }

// compose takes boundaries from next until one occurs nowhere.
func compose(n Notice, original io.ReadSeeker, next func() string) (*Message, error) {
	if n.Now.IsZero() {
		n.Now = time.Now()
	}
	text := n.text()
	for {
		unique := next()
		l, err := look(original, text, unique)
		if err != nil {
			return nil, fmt.Errorf("wrap: %w", err)
		}
		if !l.boundary.Found {
			return n.around(original, l, text, unique), nil
		}
	}
}

// around writes what is before and after the original.
func (n *Notice) around(original io.ReadSeeker, l *looked, text []byte, unique string) *Message {
	m := &Message{original: original, EightBit: l.octets.EightBit, Binary: !l.octets.Lines(), UTF8: n.UTF8 && l.global()}
	encoding := l.octets.Encoding()
	mediaType, file := "message/rfc822", "message.eml" // not to be encoded (RFC 2046 §5.2.1)
	if m.UTF8 {
		mediaType, file = "message/global", "message.u8msg" // RFC 6532 §3.7
	}
	to := n.headerTo()
	if !mailtext.IsASCII(to) {
		m.UTF8, m.EightBit = true, true
	}
	n.header(m, to, l.subject(), encoding, unique)
	charset, textEncoding := "us-ascii", "7bit"
	if !mailtext.IsASCII(text) {
		charset, textEncoding, text = "utf-8", "quoted-printable", quoted(text)
	}
	b := &m.before
	fmt.Fprintf(b, "\r\n--%s\r\nContent-Type: text/plain; charset=%s\r\nContent-Transfer-Encoding: %s\r\nContent-Disposition: inline\r\n\r\n", unique, charset, textEncoding)
	b.Write(text)
	fmt.Fprintf(b, "\r\n--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\nContent-Disposition: attachment; filename=\"%s\"\r\n", unique, mediaType, encoding, file)
	b.WriteString("Content-Description: Message from quarantine\r\n\r\n")
	fmt.Fprintf(&m.after, "\r\n--%s--\r\n", unique)
	return m
}

// header writes the header, with the encoding of the part that needs most (RFC 2045 §6.4).
func (n *Notice) header(m *Message, to, subject, encoding, unique string) {
	b := &m.before
	host := mailtext.Cut(mailtext.Clean(n.Hostname, false), maxHost)
	fmt.Fprintf(b, "From: Quarantine <postmaster@%s>\r\n", host)
	fmt.Fprintf(b, "To: %s\r\n", to)
	fmt.Fprintf(b, "Subject: %s\r\n", encodeSubject(subject))
	fmt.Fprintf(b, "Date: %s\r\n", n.Now.Format(mailtext.DateTime))
	fmt.Fprintf(b, "Message-ID: <%s@%s>\r\n", unique, host)
	b.WriteString("Auto-Submitted: auto-generated\r\n") // RFC 3834 §5: a vacation notice would go to the sender of the original
	b.WriteString("MIME-Version: 1.0\r\n")
	fmt.Fprintf(b, "Content-Type: multipart/mixed; boundary=\"%s\"\r\n", unique)
	if encoding != "7bit" {
		fmt.Fprintf(b, "Content-Transfer-Encoding: %s\r\n", encoding)
	}
}

// headerTo is the field To.
func (n *Notice) headerTo() string {
	if len(n.Recipients) == 1 {
		if to := n.Recipients[0].String(); len(to) <= maxAddress {
			return "<" + mailtext.Clean(to, true) + ">"
		}
	}
	return "undisclosed-recipients:;"
}

// looked is what there is to know of the original.
type looked struct {
	octets   mailtext.Look
	boundary mailtext.Finder
	head     []byte // the header, or the beginning of it
}

// maxHead is how much of a header is looked at.
const maxHead = 64 << 10

// look reads the original from its beginning to its end.
func look(original io.ReadSeeker, text []byte, unique string) (*looked, error) {
	if _, err := original.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	l := &looked{boundary: mailtext.Finder{Text: []byte(unique)}}
	l.boundary.Write(text)
	buf := make([]byte, 32<<10)
	for {
		n, err := original.Read(buf)
		l.octets.Write(buf[:n])
		l.boundary.Write(buf[:n])
		l.head = append(l.head, buf[:min(n, maxHead-len(l.head))]...)
		if errors.Is(err, io.EOF) {
			l.head = header(l.head)
			return l, nil
		} else if err != nil {
			return nil, err
		}
	}
}

// global reports whether the header is one that only a message/global has.
func (l *looked) global() bool { return !mailtext.IsASCII(l.head) && utf8.Valid(l.head) }
