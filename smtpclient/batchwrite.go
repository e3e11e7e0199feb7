package smtpclient

import (
	"fmt"
	"io"

	"github.com/caddy-esmtp/esmtp"
)

// WriteBatch writes a message as a part of a batch: MAIL, RCPT and DATA, as [Replay] and other programs for batch SMTP (RFC 2442) read them. A whole batch
// has EHLO before the first and QUIT behind the last. The parameters of from and to are written as they are. The body has CRLF at the end
// of its lines; a bare CR or LF is [ErrBareNewline]. If from says BODY=BINARYMIME it goes by BDAT, and size must be its octets.
func WriteBatch(w io.Writer, from esmtp.Path, to []esmtp.Path, body io.Reader, size int64) error {
	if err := writePath(w, "MAIL FROM:", from); err != nil {
		return err
	}
	for _, rcpt := range to {
		if err := writePath(w, "RCPT TO:", rcpt); err != nil {
			return err
		}
	}
	block := blocks.Get().(*[]byte)
	defer blocks.Put(block)
	enc := encoder{buf: (*block)[:0], dots: true, send: func(b []byte) error { _, err := w.Write(b); return err }}
	if from.Body() == esmtp.BodyBinaryMIME {
		enc.dots, enc.raw = false, true
		if err := enc.put(fmt.Appendf(nil, "BDAT %d LAST\r\n", size)); err != nil {
			return err
		}
	} else if err := enc.put([]byte("DATA\r\n")); err != nil {
		return err
	}
	n, err := io.Copy(encoderWriter{&enc}, body)
	if err == nil && enc.raw && n != size {
		err = ErrSize
	}
	if err != nil {
		return err
	}
	return enc.end()
}

// encoderWriter is an encoder as an io.Writer.
type encoderWriter struct{ enc *encoder }

func (w encoderWriter) Write(p []byte) (int, error) { return len(p), w.enc.write(p) }

func writePath(w io.Writer, command string, p esmtp.Path) error {
	line := command + "<" + p.String() + ">"
	if params := p.Params(); params != "" {
		line += " " + params
	}
	if !isLine(line) {
		return fmt.Errorf("%w: %q", ErrArgument, line)
	}
	_, err := io.WriteString(w, line+"\r\n")
	return err
}
