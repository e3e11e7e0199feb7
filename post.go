package esmtp

import (
	"errors"
	"slices"
)

// maxPosted is how many messages can wait for a session, beside its own: one Outlived, one kick.
const maxPosted = 64

// Outlived is the message that [Handler].Posted gets when the session has outlived the configuration of its server: [Server.Drain]
// was called, and another server takes the new connections.
type Outlived struct{}

// Errors of [Session.Post].
var (
	ErrSessionOver = errors.New("esmtp: session is over")
	ErrMailboxFull = errors.New("esmtp: too many messages wait for the session")
)

// Post hands a message to the session: [Handler].Posted gets it, on the session's goroutine, between two commands. A session that is waiting gets it
// at once, one that is receiving a mail message after that. Any goroutine may call it, a handler's own included; it doesn't wait.
// The error is [ErrSessionOver] or [ErrMailboxFull], after 64 that nobody took.
func (s *Session) Post(message any) error { return s.post(message, maxPosted) }

// post hands over a message if fewer than most wait already.
func (s *Session) post(message any, most int) error {
	if err := s.put(message, most); err != nil {
		return err
	}
	s.wake()
	return nil
}

// put puts a message into the mailbox. A second kick is not needed there: so one finds room whatever waits.
func (s *Session) put(message any, most int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
		return ErrSessionOver
	case isKick(message) && slices.ContainsFunc(s.posted, isKick):
		return nil
	case len(s.posted) >= most:
		return ErrMailboxFull
	}
	s.posted = append(s.posted, message)
	s.hasPosted.Store(true)
	return nil
}

// kick is the message that ends a session.
type kick struct{ reply Reply }

func isKick(message any) bool {
	_, yes := message.(kick)
	return yes
}

// Kick ends the session with a reply, which should be a 421, between two commands: never inside a message. It comes after what was posted before, however
// much that is; of several kicks the first one counts. Any goroutine may call it. The error is [ErrSessionOver] or nil.
func (s *Session) Kick(r Reply) error { return s.post(kick{r.Hangup()}, maxPosted+2) }

// Abort closes the connection at once and without a word, within a message too, which is lost; [Handler].Closed gets [ErrServerClosed]. A method that
// is at work is not interrupted, but its [Session.Context] ends. It is for clients that a Kick doesn't reach. Any goroutine may call it.
func (s *Session) Abort() { s.abort() }

// Outlived reports whether the session has outlived the configuration of its server; see [Outlived]. Any goroutine may call it.
func (s *Session) Outlived() bool { return s.srv.isClosing() }

// takePosted hands over what was posted.
func (s *Session) takePosted() {
	for !s.leaving {
		s.mu.Lock()
		if len(s.posted) == 0 {
			s.posted = nil
			s.hasPosted.Store(false)
			s.mu.Unlock()
			return
		}
		message := s.posted[0]
		s.posted = s.posted[1:]
		s.mu.Unlock()
		s.deliverPosted(message)
	}
}

func (s *Session) deliverPosted(message any) {
	var r Reply
	if k, ok := message.(kick); ok {
		r = k.reply
	} else {
		s.guard("Posted", func() { r = s.h.Posted(s, message) })
	}
	if r.IsZero() {
		return
	}
	if r = s.checkReply("Posted", r, isUnasked); r.Code == replyLocalError.Code {
		r = s.signed(replyUnavailable)
	}
	s.write(r.Hangup(), s.format())
}

// isUnasked is what can be said without having been asked (RFC 5321 §3.8).
func isUnasked(code int) bool { return code == 421 }

// closeMailbox is called at the end: nothing can be posted any more.
func (s *Session) closeMailbox() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over, s.posted = true, nil
}
