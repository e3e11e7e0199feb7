// Package wrap sends what was in quarantine as an attachment: its recipient gets a message of ours that says why the other was held, who sent it and
// when, and has it attached as it came. So it is opened by somebody who has been warned, and not shown by a mail program at once.
//
// The one idea: the message is ours. Its From is our postmaster and not who wrote the other, for whom we can't speak: DMARC would fail, a mail
// program would show it with the trust that the address has, and a reply would go to whom it is a warning of. Whoever wants to reply to the other
// opens it.
//
//	err := wrap.Release(ctx, s, id, wrap.Options{Hostname: "mx.example.org"}, nil)
//
// [Release] does all of it with a spool, in one durable step. [New] makes the message alone.
package wrap

import (
	"bytes"
	"io"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// Notice is what a wrapping message says.
type Notice struct {
	// Hostname is our name: the domain of From and Message-ID.
	Hostname string

	// Reason is why the original was held, in any language; it is shortened after 2000 octets. Empty: nothing is said.
	Reason string

	// From is the sender of the original, and To whom it was for, by its envelope.
	From esmtp.Path
	To   []esmtp.Path

	// Arrived is when we took the original. Zero: left out.
	Arrived time.Time

	// Recipients get the message. One is named in its header; of several none is, as they need not know of each other.
	Recipients []esmtp.Path

	// UTF8 says that the original was sent with SMTPUTF8: if its header isn't ASCII it is a message/global.
	UTF8 bool

	// Now is the time of the message. Zero: the time.
	Now time.Time
}

// Message is a wrapping message that is ready to be sent.
type Message struct {
	// What the next hop must be able to take: octets over 127 (8BITMIME), what isn't lines (BINARYMIME), and a header with UTF-8 (SMTPUTF8).
	EightBit, Binary, UTF8 bool

	before, after bytes.Buffer // what is around the original
	original      io.ReadSeeker
}

// WriteTo writes the message: our lines end with CRLF, dots are not stuffed, and the original is as it is. It reads the original from its beginning, and
// can be called again.
func (m *Message) WriteTo(w io.Writer) (int64, error) {
	if _, err := m.original.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	return io.Copy(w, io.MultiReader(bytes.NewReader(m.before.Bytes()), m.original, bytes.NewReader(m.after.Bytes())))
}
