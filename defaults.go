package esmtp

// Default implements every verb: embedded alone it carries on a whole SMTP conversation, accepts every
// sender, recipient and message, and drops what it gets. It has no state; embed it by value.
//
// The texts are those of Apache2::Protocol::ESMTP, whose Go child this is.
type Default struct{}

var _ Handler = Default{}

var (
	replyDATA = Reply{Code: 354, Lines: []string{`Enter mail, end with "." on a line by itself`}}
	replyEOM  = Reply{Code: 250, Lines: []string{"Message accepted for delivery"}}
	replyOK   = Reply{Code: 250, Lines: []string{"OK"}}
	replyVRFY = Reply{Code: 252, Lines: []string{"Cannot VRFY user; try RCPT to attempt delivery"}}
	replyEXPN = Reply{Code: 502, Enh: Enhanced{5, 5, 1}, Lines: []string{"Sorry we don't allow this operation"}}
	replyQUIT = Reply{Code: 221, Lines: []string{"Closing connection"}}
	replyBig  = Reply{Code: 552, Enh: Enhanced{5, 3, 4}, Lines: []string{"Message header too large"}}
)

// CONNECT greets with 220, the host name and "ESMTP Mail Server".
func (Default) CONNECT(s *Session) Reply {
	return Reply{Code: 220, Lines: s.cfg.texts.connect}
}

// HELO answers 250 with the host name.
func (Default) HELO(s *Session, domain string) Reply {
	return Reply{Code: 250, Lines: s.cfg.texts.helo}
}

// EHLO answers 250 with a greeting and all extensions of this package.
func (Default) EHLO(s *Session, domain string) Reply {
	t := &s.cfg.texts
	lines := append(make([]string, 0, len(t.extensions)+6), s.Hostname()+" "+domain+", pleased to meet you")
	lines = append(lines, t.extensions...)
	if s.maxSize == s.cfg.limits.MessageBytes {
		lines = append(lines, t.size)
	} else {
		lines = append(lines, sizeKeyword(s.maxSize))
	}
	if t.limits != "" {
		lines = append(lines, t.limits)
	}
	if s.cfg.tls != nil && !s.secure {
		lines = append(lines, "STARTTLS")
	}
	if auth := s.authKeyword(); auth != "" {
		lines = append(lines, auth)
	}
	if s.trusts(s.cfg.trustXCLIENT) {
		lines = append(lines, xclientLine)
	}
	if s.trusts(s.cfg.trustXFORWARD) {
		lines = append(lines, xforwardLine)
	}
	return Reply{Code: 250, Lines: append(lines, "HELP")}
}

// texts are what Default says that is the same in all sessions of a server.
type texts struct {
	connect    []string
	helo       []string
	extensions []string
	size       string
	limits     string
}

func newTexts(hostname string, lmtp bool, limits *Limits) texts {
	protocol := "ESMTP"
	if lmtp {
		protocol = "LMTP"
	}
	return texts{
		connect:    []string{hostname + " " + protocol + " Mail Server"},
		helo:       []string{hostname + " OK"},
		extensions: keywords[:7:7],
		size:       sizeKeyword(limits.MessageBytes),
		limits:     limitsKeyword(limits),
	}
}

// STARTTLS answers 220, or 454 if a certificate is to be made or fetched, and can't be had.
func (Default) STARTTLS(s *Session) Reply {
	if err := s.certificateError(); err != nil {
		s.Logger().Error("no certificate", "error", err)
		return replyNoCert
	}
	return replySTARTTLS
}

// Secured does nothing.
func (Default) Secured(s *Session) {}

// Mechanisms has none.
func (Default) Mechanisms(s *Session) []string { return nil }

// AUTH carries on the exchange of a mechanism that it knows, and answers 504 to others.
func (Default) AUTH(s *Session, mechanism string, x *Exchange) Reply {
	server, ok := x.newMechanism(s)
	if !ok {
		return replyAuthMechanism
	}
	return x.run(server)
}

// Authenticate lets in who is Verified, and acts for nobody else; all others get 535.
func (Default) Authenticate(s *Session, c Credentials) Reply {
	if c.Verified && (c.Identity == "" || c.Identity == c.User) {
		return replyAuthOK
	}
	return replyAuthFailed
}

// Secret knows nobody.
func (Default) Secret(s *Session, mechanism, user string) (Secret, bool) { return Secret{}, false }

// MAIL accepts every sender.
func (Default) MAIL(s *Session, from Path) Reply {
	name := from.raw
	if from.IsNull() {
		name = "<>"
	}
	return Reply{Code: 250, Enh: Enhanced{2, 1, 0}, Lines: s.line(name, ", sender ok")}
}

// RCPT accepts every recipient.
func (Default) RCPT(s *Session, to Path) Reply {
	return Reply{Code: 250, Enh: Enhanced{2, 1, 5}, Lines: s.line(to.raw, ", recipient ok")}
}

// DATA lets the message come, with 354.
func (Default) DATA(s *Session) Reply { return replyDATA }

// HEADER goes on.
func (Default) HEADER(s *Session, name, value string) Reply { return Reply{} }

// EOH goes on, but refuses a message whose header is over the limit with 552 5.3.4.
func (Default) EOH(s *Session, why HeaderEnd) Reply {
	if why == HeaderLimit {
		return replyBig
	}
	return Reply{}
}

// BODY goes on.
func (Default) BODY(s *Session, chunk []byte) Reply { return Reply{} }

// EOM answers 250 and keeps nothing.
func (Default) EOM(s *Session) Reply { return replyEOM }

// RSET answers 250.
func (Default) RSET(s *Session) Reply { return replyOK }

// VRFY answers 252 (RFC 5321 §3.5.3).
func (Default) VRFY(s *Session, arg string) Reply { return replyVRFY }

// EXPN answers 502.
func (Default) EXPN(s *Session, arg string) Reply { return replyEXPN }

// HELP answers 214 with the verbs that this session knows, those added by [Session.Handle] included.
func (Default) HELP(s *Session, arg string) Reply {
	return Reply{Code: 214, Lines: []string{"This is " + s.Hostname() + ", ESMTP Mail Server", s.verbList()}}
}

// ETRN answers 502: who offers it in EHLO, answers it.
func (Default) ETRN(s *Session, arg string) Reply { return replyNoETRN }

// NOOP answers 250.
func (Default) NOOP(s *Session, arg string) Reply { return replyOK }

// QUIT answers 221.
func (Default) QUIT(s *Session) Reply { return replyQUIT }

// UNKNOWN answers 500 5.5.1 and repeats the command, cut short.
func (Default) UNKNOWN(s *Session, verb, arg string) Reply {
	line := verb
	if arg != "" {
		line += " " + arg
	}
	return Reply{Code: 500, Enh: Enhanced{5, 5, 1}, Lines: []string{"Command unrecognized: " + line[:min(len(line), 64)]}}
}

// Posted does nothing, and goes on.
func (Default) Posted(s *Session, message any) Reply { return Reply{} }

// Failed goes on.
func (Default) Failed(s *Session, e SessionError) Decision { return GoOn }

// Closed does nothing.
func (Default) Closed(s *Session, err error) {}

func (Default) sealed() {}
