package esmtp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"
)

// maxSASLLine is the longest line in an AUTH exchange, the command included (RFC 4954 §4.3).
const maxSASLLine = 12288

// Credentials is what a client says who it is. [Handler].Authenticate decides.
type Credentials struct {
	// Mechanism is the SASL mechanism, in upper case: "PLAIN", "SCRAM-SHA-256-PLUS".
	Mechanism string

	// User is the authentication identity: whose password, key, token or certificate it is. It has no control characters.
	User string

	// Identity is the authorization identity: whom the client wants to act as (RFC 4422 §2). Empty means User.
	Identity string

	// Password is set by PLAIN and LOGIN, Token by OAUTHBEARER and XOAUTH2, Trace by ANONYMOUS.
	Password string
	Token    string
	Trace    string

	// Verified tells that the engine has made sure of it already: by a secret from [Handler].Secret (CRAM-MD5, SCRAM), or by a client
	// certificate that TLS has verified (EXTERNAL). What is left to decide is whether User may log in, and act as Identity.
	Verified bool
}

// doAUTH carries out AUTH (RFC 4954 §4).
func (s *Session) doAUTH(arg []byte) {
	name, initial, hasInitial := bytes.Cut(arg, []byte{' '})
	mechanism := strings.ToUpper(string(name))
	switch {
	case !s.esmtp:
		s.reply(verbAUTH, replyNeedEHLO)
		return
	case s.authMechanism != "":
		s.reply(verbAUTH, replyAuthAlready)
		return
	case s.tx != nil:
		s.reply(verbAUTH, replyAuthInMail)
		return
	case len(name) == 0:
		s.reply(verbAUTH, replySyntaxAUTH)
		return
	}
	if limit := s.cfg.rates.AuthFailures; s.countRate(eventAuthFailure, limit, 0) > limit {
		s.limited(LimitAuthFailureRate)
		s.reply(verbAUTH, replyAuthTooFast)
		return
	}
	if r := s.mayAuth(mechanism); !r.IsZero() {
		s.reply(verbAUTH, r)
		return
	}
	x := &Exchange{s: s, mechanism: mechanism}
	if hasInitial && !x.decodeInitial(initial) {
		s.reply(verbAUTH, replyBadBase64)
		return
	}
	r := s.checkReply("AUTH", s.callAUTH(mechanism, x), isAUTH)
	s.endAUTH(x, r)
}

// mayAuth refuses a mechanism that was not offered.
func (s *Session) mayAuth(mechanism string) Reply {
	params, ok := s.Offers("AUTH")
	if ok && slices.ContainsFunc(strings.Fields(params), func(m string) bool { return equalFold(m, mechanism) }) {
		return Reply{}
	}
	switch has := slices.ContainsFunc(s.callMechanisms(), func(m string) bool { return equalFold(m, mechanism) }); {
	case has && needsTLS(mechanism) && !s.usable(mechanism):
		return replyAuthNeedsTLS
	case !ok:
		return replyNoAUTH
	}
	return replyAuthMechanism
}

// endAUTH takes the outcome of an exchange. Failures are answered late, and later each time; too many end the session.
func (s *Session) endAUTH(x *Exchange, r Reply) {
	switch {
	case x.err != nil:
		s.fail(x.err)
		return
	case r.Code == 235 && x.who.Mechanism == "":
		s.Logger().Error("AUTH returned 235, but nobody was authenticated", "mechanism", x.mechanism)
		r = replyAuthTemporary
	case r.Code == 235:
		s.mu.Lock()
		s.authMechanism, s.user = x.mechanism, cmpOr(x.who.Identity, x.who.User)
		s.mu.Unlock()
		s.Logger().Info("authenticated", "user", s.user, "login", x.who.User, "mechanism", x.mechanism)
	case r.Code == 535:
		s.authFailures++
		s.countRate(eventAuthFailure, s.cfg.rates.AuthFailures, 1)
		s.Logger().Info("authentication failed", "login", x.who.User, "mechanism", x.mechanism, "failures", s.authFailures)
		s.pause(min(time.Second<<min(s.authFailures-1, 10), maxAuthDelay))
		if limit := s.cfg.limits.AuthFailures; limit > 0 && s.authFailures >= limit {
			s.limited(LimitAuthFailures)
			r = replyTooManyAuth
			s.reason = ErrTooManyErrors
		}
	}
	s.authenticated(x, r)
	s.reply(verbAUTH, r)
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// maxAuthDelay is the longest that the answer to a failed AUTH is held back.
const maxAuthDelay = 8 * time.Second

// pause waits, unless the client leaves or the server is shut down first.
func (s *Session) pause(d time.Duration) {
	ctx := s.Context()
	defer s.stopWatch()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-s.srv.ending:
	}
}

// Exchange is the dialogue of an AUTH command. Its methods are for [Handler].AUTH.
type Exchange struct {
	s         *Session
	mechanism string
	initial   []byte
	hasFirst  bool
	who       Credentials
	verdict   Reply // what Authenticate said
	err       error // of the connection: the session is over
}

// Initial returns the initial response that came with the command, and whether there was one; it can be empty (RFC 4954 §4, "=").
func (x *Exchange) Initial() (response []byte, ok bool) { return x.initial, x.hasFirst }

// decodeInitial takes the initial response of the command.
func (x *Exchange) decodeInitial(text []byte) bool {
	x.hasFirst = true
	if string(text) == "=" {
		x.initial = []byte{}
		return true
	}
	var err error
	x.initial, err = base64.StdEncoding.Strict().DecodeString(string(text))
	return err == nil && len(text) > 0
}

// Challenge sends a challenge with 334, and returns the client's response. An error is a [Reply] to return from AUTH: the client has cancelled
// with "*", or what it sent can't be read; or the connection is gone.
func (x *Exchange) Challenge(challenge []byte) (response []byte, err error) {
	s := x.s
	if x.err != nil {
		return nil, replyAuthTemporary
	}
	s.stopWatch()
	s.noteExchange("challenge")
	s.writeChallenge(challenge)
	line, err := s.readResponse()
	switch {
	case errors.As(err, new(Reply)):
		return nil, err
	case err != nil:
		x.err = err
		return nil, replyAuthTemporary
	case string(line) == "*":
		return nil, replyAuthCancelled
	}
	s.noteExchange("response")
	response, err = base64.StdEncoding.Strict().DecodeString(string(line))
	if err != nil {
		return nil, replyBadBase64
	}
	return response, nil
}

// writeChallenge writes a challenge: one line, however long it is (RFC 4954 §4).
func (s *Session) writeChallenge(challenge []byte) {
	if s.out == nil {
		s.out = outputBuffers.Get().(*[outputBuffer]byte)[:0]
	}
	s.out = append(s.out, "334 "...)
	s.out = base64.StdEncoding.AppendEncode(s.out, challenge)
	s.out = append(s.out, crlf...)
}

// Accept says who the client is. Without it a 235 counts for nothing. Default.AUTH calls it; an AUTH method that runs a mechanism of its own must.
func (x *Exchange) Accept(c Credentials) {
	c.Mechanism = x.mechanism
	c.Password, c.Token = "", ""
	x.who = c
}

// readResponse reads a line of an exchange.
func (s *Session) readResponse() ([]byte, error) {
	s.waiting = 0
	for {
		line, ok := s.in.line(!s.cfg.strict)
		switch {
		case ok && len(line)+2 > maxSASLLine:
			return nil, replySASLTooLong
		case ok && hasControl(line):
			return nil, replyBadBase64
		case ok:
			s.waiting = 0
			return line, nil
		case s.in.buffered() >= maxSASLLine:
			return nil, ErrProtocol
		}
		if err := s.flush(); err != nil {
			return nil, err
		}
		if err := s.waitCommand(false); err != nil {
			return nil, err
		}
	}
}

// authKeyword is the AUTH line of EHLO, empty if no mechanism can be used now.
func (s *Session) authKeyword() string {
	if s.authMechanism != "" {
		return ""
	}
	line := ""
	for _, m := range s.callMechanisms() {
		if s.usable(m) {
			line += " " + strings.ToUpper(m)
		}
	}
	if line != "" {
		line = "AUTH" + line
	}
	return line
}

// usable reports whether a mechanism makes sense on this connection: one that shows a secret only inside TLS, channel binding only there, and EXTERNAL with
// a client certificate.
func (s *Session) usable(mechanism string) bool {
	switch {
	case needsTLS(mechanism):
		return s.secure || s.cfg.insecureAuth
	case strings.HasSuffix(strings.ToUpper(mechanism), "-PLUS"):
		return s.channelBinding() != nil
	case equalFold(mechanism, "EXTERNAL"):
		return s.peerCertificate() != nil
	}
	return true
}

// needsTLS reports whether a mechanism shows a password or a token to everybody who listens (RFC 4954 §4, RFC 8314).
func needsTLS(mechanism string) bool {
	switch strings.ToUpper(mechanism) {
	case "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2":
		return true
	}
	return false
}
