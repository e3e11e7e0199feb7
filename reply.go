package esmtp

import (
	"errors"
	"strconv"
	"strings"
)

// Enhanced is an enhanced mail system status code, class.subject.detail (RFC 3463).
// The zero Enhanced stands for X.0.0, where X is the first digit of the reply code.
type Enhanced [3]uint16

// NoEnhanced leaves the enhanced status code out of a reply. RFC 2034 §4 asks for one on every
// 2xx, 4xx and 5xx reply after EHLO, so this is for extensions that say otherwise.
var NoEnhanced = Enhanced{^uint16(0), ^uint16(0), ^uint16(0)}

// Reply answers a command. It is plain data: the engine writes it, in one place, and makes sure that
// it is one well-formed reply whatever it holds (RFC 5321 §4.2).
//
// The zero Reply means "the usual": the success reply of the verb that returns it, and for HEADER, EOH
// and BODY "go on".
//
// A Reply is also an error, so that code below a handler can return one through error values; see [ReplyOf].
type Reply struct {
	// Code is the reply code, 200 to 559, its second digit 0 to 5 (RFC 5321 §4.2). A code that the verb can't have (a 354 from RCPT, say) is a
	// bug of the handler: the client gets 451 and the log says why.
	Code int

	// Enh is the enhanced status code. Its class always becomes the first digit of Code. It is not
	// written in the greeting, in replies to HELO and EHLO, nor on 3xx (RFC 2034 §4).
	Enh Enhanced

	// Lines is the text, a line each. Line breaks inside a line split it, control characters become
	// spaces, and lines that would pass 512 octets are wrapped (RFC 5321 §4.5.3.1.5). For EHLO the
	// first line is the greeting and each other one an extension. Without lines a standard text is used.
	Lines []string

	// Close hangs up after this reply. With a zero Code it hangs up without a word.
	Close bool
}

// NoReply answers nothing and goes on. Only UNKNOWN and verbs added by [Session.Handle] may return it,
// for protocols in which the client expects no answer; anywhere else it is a bug and becomes 451.
var NoReply = Reply{Code: -1}

// Drop hangs up without a word.
var Drop = Reply{Close: true}

// OK is a 250 reply with the given text, or the standard one without any.
func OK(lines ...string) Reply { return Reply{Code: 250, Lines: lines} }

// Say is a reply with the given code and text, and the enhanced status code X.0.0.
func Say(code int, lines ...string) Reply { return Reply{Code: code, Lines: lines} }

// Deny is a reply with the given code, enhanced status code a.b.c and text.
//
//	esmtp.Deny(550, 5, 7, 1, "we do not relay")
func Deny(code int, a, b, c uint16, lines ...string) Reply {
	return Reply{Code: code, Enh: Enhanced{a, b, c}, Lines: lines}
}

// Hangup returns r with Close set.
func (r Reply) Hangup() Reply {
	r.Close = true
	return r
}

// IsZero reports whether r is the zero Reply, "the usual".
func (r Reply) IsZero() bool { return r.Code == 0 && !r.Close }

// Accepted reports whether r is a success: 2xx, or the 354 of DATA.
func (r Reply) Accepted() bool { return r.Code/100 == 2 || r.Code == 354 }

// Error returns the reply as one line: code, enhanced code and text.
func (r Reply) Error() string {
	b := strconv.AppendInt(nil, int64(r.Code), 10)
	if enh, ok := r.enhanced(); ok {
		b = append(b, ' ')
		b = enh.append(b)
	}
	if len(r.Lines) > 0 {
		b = append(b, ' ')
		b = append(b, strings.Join(r.Lines, " / ")...)
	}
	return string(b)
}

// ReplyOf turns an error into a reply: nil into the zero Reply, an error that is or wraps a Reply into
// that, and any other into 451 4.3.0. The text of another error never reaches the client: log it.
func ReplyOf(err error) Reply {
	if err == nil {
		return Reply{}
	}
	var r Reply
	if errors.As(err, &r) {
		return r
	}
	return replyLocalError
}

// enhanced is the status code to write with r: the class follows the reply code, and there is none on 3xx.
func (r Reply) enhanced() (Enhanced, bool) {
	class := uint16(r.Code / 100)
	if r.Enh == NoEnhanced || class != 2 && class != 4 && class != 5 {
		return Enhanced{}, false
	}
	return Enhanced{class, min(r.Enh[1], 999), min(r.Enh[2], 999)}, true
}

func (e Enhanced) append(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(e[0]), 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(e[1]), 10)
	b = append(b, '.')
	return strconv.AppendUint(b, uint64(e[2]), 10)
}

// String returns the code in dotted form, "5.7.1".
func (e Enhanced) String() string { return string(e.append(nil)) }

// standardText is what a reply says that has a code and no lines.
func standardText(code int) string {
	switch code {
	case 211, 214:
		return "Help"
	case 220:
		return "Service ready"
	case 221:
		return "Closing connection"
	case 235:
		return "Authentication succeeded"
	case 354:
		return `Enter mail, end with "." on a line by itself`
	case 421:
		return "Service not available, closing connection"
	case 450, 550:
		return "Mailbox unavailable"
	case 451:
		return "Local error in processing"
	case 452, 552:
		return "Insufficient storage"
	case 500:
		return "Syntax error, command unrecognized"
	case 501:
		return "Syntax error in parameters"
	case 502:
		return "Command not implemented"
	case 503:
		return "Bad sequence of commands"
	case 555:
		return "Parameters not recognized"
	}
	switch code / 100 {
	case 2:
		return "OK"
	case 4:
		return "Temporary failure"
	}
	return "Transaction failed"
}
