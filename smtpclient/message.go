package smtpclient

import (
	"io"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// Message is what [Conn.Send] sends.
type Message struct {
	// From is the reverse-path; the zero Path is the null one, of bounces. Of its parameters those are passed on that say what the sender
	// wishes: RET and ENVID (RFC 3461), BY (RFC 2852), MT-PRIORITY (RFC 6710), REQUIRETLS (RFC 8689), SMTPUTF8 (RFC 6531), AUTH (RFC 4954),
	// and BODY. Its SIZE is not: see Size.
	From esmtp.Path

	// To are the recipients. Of their parameters NOTIFY and ORCPT (RFC 3461) are passed on, and RRVS (RFC 7293).
	To []esmtp.Path

	// Body is the message: header, empty line, body, with CRLF at the ends of lines. It is read once, as it is sent, and not at all if no
	// recipient was accepted.
	Body io.Reader

	// Size is how many octets Body has; 0 if that isn't known. If it is not true, the message fails with [ErrSize].
	Size int64

	// Type says what Body holds, as far as it is known. Body8BitMIME says that there are octets over 127; without it they are found on the
	// way, which costs the connection if the server can't take them. BodyBinaryMIME needs a server with BINARYMIME and CHUNKING.
	Type esmtp.BodyType

	// UTF8 says that there are octets over 127 in the header, so that the message needs SMTPUTF8 whatever its addresses.
	UTF8 bool

	// RequireTLS asks for REQUIRETLS, as the parameter of From does: verified TLS, and a server that goes on so. With the null path
	// that parameter is only a wish.
	RequireTLS bool

	// Deadline is when the time of From's BY parameter is over: it counts from when the message came (RFC 2852 §4.1.2). By default
	// the time that BY says counts from now.
	Deadline time.Time

	// Forwarded is sent in XFORWARD, if not nil and the server offers it. It is for own servers and filters.
	Forwarded *esmtp.Forwarded

	// FixNewlines makes CRLF of every bare CR and LF, instead of [ErrBareNewline].
	FixNewlines bool
}

// Result is what became of a message.
type Result struct {
	// Recipients has what became of each of Message.To, in that order.
	Recipients []Outcome

	// DSN tells that the server promised to honour NOTIFY, ORCPT, RET and ENVID. If it did not, who asked for
	// NOTIFY=SUCCESS is to be told that the message was relayed to where such notifications end (RFC 3461 §5.2.2).
	DSN bool

	// DeliverBy tells that the server took over BY, with what is left of its time.
	DeliverBy bool
}

// Outcome is what became of a message for a recipient.
type Outcome struct {
	// Reply is the server's last word: the reply to the message, or that by which the recipient, the sender or the message was refused. It is zero
	// if there was none.
	Reply esmtp.Reply

	// Err is nil if the server has taken over the message for this recipient.
	Err *Error

	final bool // Reply is to the message
}

// set is the reply that the server gave, if it gave one, and what to make of it.
func (o *Outcome) set(reply esmtp.Reply, err error) {
	o.Reply, o.Err = reply, asError(err, "message")
	if o.Err != nil && !o.Err.Local {
		o.Reply = o.Err.Reply
	}
}

// Delivered reports whether the server has taken over the message for at least one recipient.
func (r *Result) Delivered() bool {
	for i := range r.Recipients {
		if r.Recipients[i].Err == nil {
			return true
		}
	}
	return false
}
