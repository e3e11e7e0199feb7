package esmtptest

import "github.com/caddy-esmtp/esmtp"

// STARTTLS writes down the call.
func (r *Recorder) STARTTLS(s *esmtp.Session) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "STARTTLS")()
	return r.Handler.STARTTLS(s)
}

// AUTH writes down the call.
func (r *Recorder) AUTH(s *esmtp.Session, mechanism string, x *esmtp.Exchange) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "AUTH", mechanism)()
	return r.Handler.AUTH(s, mechanism, x)
}

// Authenticate writes down the call. Passwords and tokens are left out.
func (r *Recorder) Authenticate(s *esmtp.Session, c esmtp.Credentials) (reply esmtp.Reply) {
	defer r.begin(s, &reply, "Authenticate", c.Mechanism, c.User, c.Identity)()
	return r.Handler.Authenticate(s, c)
}

// Secret writes down the call.
func (r *Recorder) Secret(s *esmtp.Session, mechanism, user string) (secret esmtp.Secret, ok bool) {
	defer r.begin(s, nil, "Secret", mechanism, user)()
	return r.Handler.Secret(s, mechanism, user)
}
