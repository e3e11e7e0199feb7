// Package dsn writes delivery status notifications (RFC 3461, RFC 3464, and RFC 6533 for internationalised mail): the message that tells a
// sender that the mail was not delivered, is late, or has arrived.
//
// The one idea: a [Report] is what the queue knows, and [New] makes of it the message that the sender gets, or [ErrNobody] if nobody wants
// it. Whatever the remote server has said, and whatever is in the original, comes out as well-formed mail that any server on its way can take.
//
//	message, err := dsn.New(dsn.Report{Hostname: "mx.example.org", From: from, Recipients: failed}, original)
//	if errors.Is(err, dsn.ErrNobody) {
//		return nil
//	}
//	// message.From and message.To are its envelope
//	_, err = message.WriteTo(draft)
package dsn

import (
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// Action is what has become of a message for one recipient (RFC 3464 §2.3.3).
type Action uint8

// The actions.
const (
	Failed    Action = iota
	Delayed          // there will be more attempts
	Delivered        // in the mailbox
	Relayed          // to a server that will not report delivery
	Expanded         // to the members of a list
)

// String returns the action as it stands in a report.
func (a Action) String() string {
	return [...]string{"failed", "delayed", "delivered", "relayed", "expanded"}[a]
}

// Recipient is what has become of a message for one recipient.
type Recipient struct {
	// To is the recipient with the parameters of RCPT, of which NOTIFY and ORCPT count.
	To esmtp.Path

	Action Action

	// Reply is what the remote server has answered, or what we say if it has not come to that. Its enhanced status code is the Status
	// of the recipient; without one it is X.0.0.
	Reply esmtp.Reply

	// Expired says that the message failed because time ran out, and that Reply is what was in the way last.
	Expired bool

	// RemoteMTA is the mail server that gave Reply, by its name in the DNS or its address; "" if Reply is our own, or that of a part of our system
	// that has neither.
	RemoteMTA string

	// LastAttempt is when that was. Zero: left out.
	LastAttempt time.Time

	// RetryUntil is when we give up, for Delayed. Zero: left out, and the text doesn't say that there will be more attempts.
	RetryUntil time.Time
}

// Report is what has become of a message.
type Report struct {
	// Hostname is our name: Reporting-MTA, and the domain of From and Message-ID.
	Hostname string

	// From is the sender of the original, with the parameters of MAIL, of which RET, ENVID, SMTPUTF8 and REQUIRETLS count.
	From esmtp.Path

	// Arrived is when we took the original. Zero: left out.
	Arrived time.Time

	// Recipients are those that there is something to say about. Who doesn't want to hear it is left out by [New].
	Recipients []Recipient

	// MaxOriginal is how long the original may be, in octets, to be returned whole; of a longer one it is the header. The header is
	// cut there too. Zero: 64 KiB; negative: nothing but the header, of up to 64 KiB.
	MaxOriginal int

	// Now is the time of the report. Zero: the time.
	Now time.Time
}

// ErrNobody is what [New] returns if nobody wants the report: the sender is the null path (RFC 5321 §4.5.5, RFC 3461 §6), or no recipient's
// NOTIFY asks for it.
var ErrNobody = errors.New("dsn: nobody wants a report")

// Message is a report that is ready to be sent.
type Message struct {
	// From is the null path, with the parameters of MAIL that it has to be sent with: REQUIRETLS, and if To is in UTF-8 SMTPUTF8 and BODY=8BITMIME;
	// any other report is 7-bit, whatever it is about. That a server doesn't know REQUIRETLS is no reason to drop a report (RFC 8689 §5).
	From esmtp.Path

	// To is the sender of the original, with NOTIFY=NEVER: nobody wants a report about a report.
	To esmtp.Path

	content bytes.Buffer
}

// Wanted reports whether a recipient's NOTIFY asks for a report of that action. A client that didn't say wants to hear of failures and
// delays (RFC 3461 §4.1).
func Wanted(to esmtp.Path, a Action) bool {
	n := to.Notify()
	switch {
	case n&esmtp.NotifyNever != 0:
		return false
	case a == Failed:
		return n == 0 || n&esmtp.NotifyFailure != 0
	case a == Delayed:
		return n == 0 || n&esmtp.NotifyDelay != 0
	}
	return n&esmtp.NotifySuccess != 0
}

// wanted is Wanted; who asked with DELIVERBY for a trace hears of each server on the way, unless NOTIFY is NEVER (RFC 2852 §4).
func (r Report) wanted(rcpt Recipient) bool {
	if by, ok := r.From.DeliverBy(); ok && by.Trace && rcpt.Action == Relayed {
		return rcpt.To.Notify()&esmtp.NotifyNever == 0
	}
	return Wanted(rcpt.To, rcpt.Action)
}

// WriteTo writes the message: lines end with CRLF, dots are not stuffed. It can be called again.
func (m *Message) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(m.content.Bytes())
	return int64(n), err
}

// Len returns how long the message is, in octets.
func (m *Message) Len() int { return m.content.Len() }
