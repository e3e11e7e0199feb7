package esmtp

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"
)

// Secret is what a server keeps of a user's password, for the mechanisms in which the client only proves that it knows it.
type Secret struct {
	// Password is the password itself. CRAM-MD5 needs it; SCRAM can do with it.
	Password string

	// SCRAM are the stored keys for the SCRAM mechanism that was asked for. Used if StoredKey is not empty.
	SCRAM SCRAMKeys
}

// SCRAMKeys is what SCRAM lets a server keep instead of a password (RFC 5802 §3): nobody can log in with what is stolen from there.
type SCRAMKeys struct {
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte
}

// newMechanism returns the server side of a SASL mechanism; ok is false for one that is not known here.
func (x *Exchange) newMechanism(s *Session) (server sasl.Server, ok bool) {
	switch x.mechanism {
	case "PLAIN":
		return sasl.NewPlainServer(func(identity, user, password string) error {
			return x.authenticate(Credentials{Identity: identity, User: user, Password: password})
		}), true
	case "LOGIN":
		return &loginServer{x: x}, true
	case "CRAM-MD5":
		return &cramServer{x: x}, true
	case "SCRAM-SHA-1":
		return newSCRAM(x, scram.SHA1, nil), true
	case "SCRAM-SHA-256":
		return newSCRAM(x, scram.SHA256, nil), true
	case "SCRAM-SHA-1-PLUS":
		return newSCRAM(x, scram.SHA1, s.channelBinding()), true
	case "SCRAM-SHA-256-PLUS":
		return newSCRAM(x, scram.SHA256, s.channelBinding()), true
	case "OAUTHBEARER":
		return sasl.NewOAuthBearerServer(func(o sasl.OAuthBearerOptions) *sasl.OAuthBearerError {
			if x.authenticate(Credentials{User: o.Username, Token: o.Token}) != nil {
				return &sasl.OAuthBearerError{Status: "invalid_token", Schemes: "bearer"}
			}
			return nil
		}), true
	case "XOAUTH2":
		return &xoauth2Server{x: x}, true
	case "EXTERNAL":
		return sasl.NewExternalServer(x.external), true
	case "ANONYMOUS":
		return sasl.NewAnonymousServer(func(trace string) error {
			return x.authenticate(Credentials{User: "anonymous", Trace: trace})
		}), true
	}
	return nil, false
}

// run carries on the exchange of a mechanism.
func (x *Exchange) run(server sasl.Server) Reply {
	response, ok := x.Initial()
	if !ok {
		response = nil
	}
	for {
		challenge, done, err := server.Next(response)
		switch {
		case done && err == nil && x.who.Mechanism != "":
			return replyAuthOK
		case done || err != nil:
			return x.refusal(err)
		}
		if response, err = x.Challenge(challenge); err != nil {
			return ReplyOf(err)
		}
	}
}

// refusal turns what a mechanism says into a reply: what Authenticate said, or, for messages that can't be read, 501.
func (x *Exchange) refusal(err error) Reply {
	var r Reply
	switch {
	case !x.verdict.IsZero():
		return x.verdict
	case errors.As(err, &r):
		return r
	}
	return replyBadSASL
}

// authenticate asks the handler, and remembers whom it let in.
func (x *Exchange) authenticate(c Credentials) error {
	c.Mechanism = x.mechanism
	if c.User == "" && c.Token == "" || !isText([]byte(c.User)) || !isText([]byte(c.Identity)) {
		x.verdict = replyAuthFailed
		return x.verdict
	}
	r := x.s.h.Authenticate(x.s, c)
	x.who.User = c.User // for the log, if it fails
	switch {
	case r.Code == 235:
		x.Accept(c)
		return nil
	case r.IsZero() || r.Accepted():
		r = replyAuthFailed
	}
	x.verdict = r
	return r
}

// external takes the identity of the client certificate.
func (x *Exchange) external(identity string) error {
	cert := x.s.peerCertificate()
	if cert == nil {
		return replyAuthFailed
	}
	return x.authenticate(Credentials{User: certificateName(cert), Identity: identity, Verified: true})
}

// certificateName is the user that a client certificate stands for: its first e-mail address, DNS name or common name.
func certificateName(cert *x509.Certificate) string {
	switch {
	case len(cert.EmailAddresses) > 0:
		return cert.EmailAddresses[0]
	case len(cert.DNSNames) > 0:
		return cert.DNSNames[0]
	}
	return cert.Subject.CommonName
}

// peerCertificate returns the client's certificate, if TLS has verified it.
func (s *Session) peerCertificate() *x509.Certificate {
	state := s.TLS()
	if state == nil || len(state.VerifiedChains) == 0 {
		return nil
	}
	return state.PeerCertificates[0]
}

// loginServer is LOGIN, obsolete and everywhere.
type loginServer struct {
	x    *Exchange
	user *string
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case response == nil:
		return []byte("Username:"), false, nil
	case l.user == nil:
		user := string(response)
		l.user = &user
		return []byte("Password:"), false, nil
	}
	return nil, true, l.x.authenticate(Credentials{User: *l.user, Password: string(response)})
}

// cramServer is CRAM-MD5 (RFC 2195).
type cramServer struct {
	x         *Exchange
	challenge []byte
}

func (c *cramServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if c.challenge == nil {
		if response != nil {
			return nil, true, sasl.ErrUnexpectedClientResponse
		}
		c.challenge = fmt.Appendf(nil, "<%s.%d@%s>", rand.Text(), time.Now().Unix(), c.x.s.Hostname())
		return c.challenge, false, nil
	}
	i := strings.LastIndexByte(string(response), ' ')
	if i < 0 {
		return nil, true, sasl.ErrUnexpectedClientResponse
	}
	user := string(response[:i])
	secret, known := c.x.s.h.Secret(c.x.s, c.x.mechanism, user)
	mac := hmac.New(md5.New, []byte(secret.Password))
	mac.Write(c.challenge)
	right := hmac.Equal(hex.AppendEncode(nil, mac.Sum(nil)), response[i+1:])
	if !right || !known || secret.Password == "" {
		c.x.who.User, c.x.verdict = user, replyAuthFailed
		return nil, true, replyAuthFailed
	}
	return nil, true, c.x.authenticate(Credentials{User: user, Verified: true})
}

// xoauth2Server is XOAUTH2: user=USER^Aauth=Bearer TOKEN^A^A.
type xoauth2Server struct{ x *Exchange }

func (o *xoauth2Server) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil {
		return []byte{}, false, nil
	}
	if !o.x.verdict.IsZero() { // the client has read why, and says so
		return nil, true, o.x.verdict
	}
	var c Credentials
	for field := range strings.SplitSeq(strings.TrimRight(string(response), "\x01"), "\x01") {
		key, value, _ := strings.Cut(field, "=")
		switch {
		case equalFold(key, "user"):
			c.User = value
		case equalFold(key, "auth") && len(value) > 7 && equalFold(value[:7], "Bearer "):
			c.Token = value[7:]
		}
	}
	if c.User == "" || c.Token == "" {
		return nil, true, sasl.ErrUnexpectedClientResponse
	}
	if o.x.authenticate(c) != nil {
		return []byte(`{"status":"401","schemes":"bearer"}`), false, nil
	}
	return nil, true, nil
}
