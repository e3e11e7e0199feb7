package smtpclient

import (
	"errors"
	"fmt"

	"github.com/caddy-esmtp/esmtp"
)

// Class tells what kind of failure an [Error] is, and with it what to do.
type Class uint8

// The classes.
const (
	// Temporary: the server answered 4xx, or something of ours failed for now. Try again later.
	Temporary Class = iota + 1

	// Permanent: the server answered 5xx, or the message can't be sent as it is. Don't try again.
	Permanent

	// Network: no connection, a lost one, a timeout, a failed TLS handshake. Try another host, or again later.
	Network

	// MissingRequirement: the server lacks what the message or the options need, such as SMTPUTF8 or TLS. Another host may have it.
	MissingRequirement

	// Unexpected: the server said what makes no sense, or too much of it. Try another host, or again later.
	Unexpected
)

// String returns the class in words.
func (c Class) String() string {
	switch c {
	case Temporary:
		return "temporary failure"
	case Permanent:
		return "permanent failure"
	case Network:
		return "network failure"
	case MissingRequirement:
		return "missing requirement"
	case Unexpected:
		return "unexpected response"
	}
	return "unknown failure"
}

// Error is what every method of this package returns as error.
type Error struct {
	Class Class

	// Verb is the command that failed: "MAIL". "connect" and "greeting" stand for what comes before the first; "message" is the message itself.
	Verb string

	// Reply is the server's reply. Where it gave none, it is one to tell the sender: 451 4.4.2, say, for a lost connection, or
	// 550 5.6.7 for a missing SMTPUTF8; Local tells which. It never holds the text of Err.
	Reply esmtp.Reply

	// Local says that Reply is ours, and not from the server.
	Local bool

	// Err is the cause, if there is one besides the Reply.
	Err error
}

// Error returns the failure in a line. What the server said is in it, without control characters.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("smtpclient: %s: %s: %v", e.Verb, e.Class, e.Err)
	}
	return fmt.Sprintf("smtpclient: %s: %s: %v", e.Verb, e.Class, e.Reply)
}

// Unwrap returns the Reply, so that [esmtp.ReplyOf] finds what to answer one's own client, and the cause.
func (e *Error) Unwrap() []error {
	if e.Err != nil {
		return []error{e.Reply, e.Err}
	}
	return []error{e.Reply}
}

// Causes of errors, for [errors.Is].
var (
	// ErrHandshake is a TLS handshake that failed. With Opportunistic the caller may try a new connection without TLS.
	ErrHandshake = errors.New("TLS handshake failed")

	// ErrBareNewline is a message with a CR or LF that is not part of CRLF. It was not sent.
	ErrBareNewline = errors.New("message has a bare CR or LF")

	// Err8Bit is a message with octets over 127 for a server without 8BITMIME, or with such header fields for one without SMTPUTF8.
	Err8Bit = errors.New("message has octets that the server can't take")

	// ErrNoAnswer is a message that was sent to its end, and no reply came that makes sense: the server may have taken it, and to send it
	// at once to another would make it two (RFC 1047).
	ErrNoAnswer = errors.New("no answer to the whole message")

	// ErrSize is a message with more or fewer octets than [Message.Size] said. It was not sent.
	ErrSize = errors.New("message is not of the size that was declared")

	// ErrClosed is a connection that is closed, by [Conn.Close] or after a failure.
	ErrClosed = errors.New("connection is closed")

	// ErrInjection is a server, or somebody between, that sent more in the clear behind its reply to STARTTLS.
	ErrInjection = errors.New("octets in the clear behind the reply to STARTTLS")

	// ErrBadReply is a reply that is not one (RFC 5321 §4.2), or that nobody asked for.
	ErrBadReply = errors.New("bad reply")

	// ErrReplyTooLong is a reply over the [Limits].
	ErrReplyTooLong = errors.New("reply too long")

	// ErrArgument is an argument that can't be part of a command.
	ErrArgument = errors.New("bad argument")
)

// What to tell a sender when the server said nothing that can be passed on.
var (
	replyConnect    = esmtp.Deny(451, 4, 4, 1, "no answer from the next host")
	replyLost       = esmtp.Deny(451, 4, 4, 2, "bad connection to the next host")
	replyUnexpected = esmtp.Deny(451, 4, 5, 0, "the next host does not follow the protocol")
	replyLocal      = esmtp.Deny(451, 4, 3, 0, "local error in processing")
	replyBare       = esmtp.Deny(554, 5, 6, 0, "message has a bare CR or LF")
	replyTLS        = esmtp.Deny(451, 4, 7, 5, "no secure connection to the next host")
	replyNoTLS      = esmtp.Deny(451, 4, 7, 4, "the next host does not offer TLS")
	replyNoAuth     = esmtp.Deny(451, 4, 7, 4, "the next host offers no way to log in")
	replyNoXCLIENT  = esmtp.Deny(451, 4, 7, 0, "the next host does not offer XCLIENT")
	replyNo8Bit     = esmtp.Deny(554, 5, 6, 3, "the next host takes no 8-bit mail")
	replyNoBinary   = esmtp.Deny(554, 5, 6, 3, "the next host takes no binary mail")
	replyNoUTF8     = esmtp.Deny(550, 5, 6, 7, "the next host takes no internationalized mail")
	replyNoREQTLS   = esmtp.Deny(550, 5, 7, 30, "the next host does not offer REQUIRETLS")
	replyUnverified = esmtp.Deny(550, 5, 7, 10, "no verified TLS with the next host")
	replyTooBig     = esmtp.Deny(552, 5, 3, 4, "message too big for the next host")
	replyByTooSoon  = esmtp.Deny(554, 5, 4, 7, "delivery time expired")
)

func missing(verb string, reply esmtp.Reply) *Error {
	return &Error{Class: MissingRequirement, Verb: verb, Reply: reply, Local: true}
}

func localError(verb string, err error) *Error {
	return &Error{Class: Temporary, Verb: verb, Reply: replyLocal, Local: true, Err: err}
}
