package esmtp

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// SessionError is something that went wrong in a session.
type SessionError struct {
	Class ErrorClass
	Verb  string // of the command at hand, "" while one is waited for, "DATA" or "BDAT" while a message comes
	Err   error
}

// Error returns class, verb and cause in a line.
func (e SessionError) Error() string {
	text := "esmtp: " + e.Class.String()
	if e.Verb != "" {
		text += " in " + e.Verb
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e SessionError) Unwrap() error { return e.Err }

// ErrorClass is the kind of a [SessionError].
type ErrorClass uint8

// The classes. After those up to ClassWrite the session is over whatever [Handler].Failed decides: there is no connection to go on with.
const (
	ClassClosed     ErrorClass = iota // the client left without QUIT
	ClassRead                         // reading failed: a reset, a broken TLS record
	ClassTimeout                      // the client took too long
	ClassHandshake                    // the TLS handshake failed
	ClassOutOfStep                    // what comes can't be told from content any more, or is no SMTP
	ClassWrite                        // writing failed, or the client took too long to read
	ClassOutOfOrder                   // a command that can't come here: 503
	ClassData                         // a message was refused for its form: [ErrMessageSize], [ErrBareNewline], [ErrMalformedHeader], [ErrHeaderSize]
)

// String names the class: "closed", "read", "timeout", "handshake", "out_of_step", "write", "out_of_order", "data".
func (c ErrorClass) String() string {
	return [...]string{"closed", "read", "timeout", "handshake", "out_of_step", "write", "out_of_order", "data"}[c]
}

// Decision says whether a session goes on.
type Decision bool

// The decisions.
const (
	GoOn   Decision = false
	HangUp Decision = true
)

// Causes of a [SessionError] of ClassOutOfOrder and ClassData.
var (
	ErrOutOfOrder      = errors.New("esmtp: command out of order")                      // 503
	ErrMessageSize     = errors.New("esmtp: message is too big")                        // 552 5.3.4
	ErrBareNewline     = errors.New("esmtp: lone CR or LF in message")                  // 554 5.6.0
	ErrMalformedHeader = errors.New("esmtp: malformed header line")                     // 554 5.6.0
	ErrHeaderSize      = errors.New("esmtp: header is too big, or has too many fields") // as EOH said
)

// failed tells the handler and the observer what went wrong, and ends the session if the handler wants that.
func (s *Session) failed(class ErrorClass, err error) {
	if s.h == nil && s.srv.cfg.observer.Failed == nil {
		return
	}
	e := SessionError{Class: class, Verb: s.verbAtHand(), Err: err}
	if s.srv.cfg.observer.Failed != nil {
		s.guard("Observer.Failed", func() { s.srv.cfg.observer.Failed(s, e) })
	}
	if s.h == nil {
		return
	}
	decision := GoOn
	s.guard("Failed", func() { decision = s.h.Failed(s, e) })
	if decision == HangUp {
		s.leaving = true
	}
}

// failedWith is for an error that ends the session.
func (s *Session) failedWith(err error) {
	switch {
	case err == ErrSessionTime:
		s.limited(LimitSessionTime)
	case err == ErrTimeout:
		s.limited(LimitTime)
	}
	s.failed(classOf(err), err)
}

// outOfStep is for what the client sends and is told in the reply to it, which is the last one.
func (s *Session) outOfStep(err error) {
	s.reason = err
	s.failed(ClassOutOfStep, err)
}

// verbAtHand is the command that is being carried out.
func (s *Session) verbAtHand() string {
	if s.atBoundary {
		return ""
	}
	return verbNames[s.verb]
}

// classOf is the class of an error that ended a session.
func classOf(err error) ErrorClass {
	switch {
	case isTimeout(err), err == ErrTimeout, err == ErrTooSlow, err == ErrSessionTime:
		return ClassTimeout
	case err == ErrProtocol:
		return ClassOutOfStep
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET):
		return ClassClosed
	}
	return ClassRead
}
