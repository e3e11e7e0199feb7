package esmtp_test

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// users knows ann, whose password is "secret" and whose token is "token".
type users struct {
	esmtp.Default
	mechanisms []string
	from       chan string // gets who the client is logged in as, at MAIL
}

func (u *users) Mechanisms(*esmtp.Session) []string { return u.mechanisms }

func (u *users) Authenticate(s *esmtp.Session, c esmtp.Credentials) esmtp.Reply {
	ok := c.Verified || c.User == "ann" && (c.Password == "secret" || c.Token == "token") || c.Mechanism == "ANONYMOUS"
	if ok && (c.Identity == "" || c.Identity == c.User) {
		return esmtp.Deny(235, 2, 7, 0, "welcome")
	}
	return esmtp.Reply{}
}

func (u *users) Secret(s *esmtp.Session, mechanism, user string) (esmtp.Secret, bool) {
	return esmtp.Secret{Password: "secret"}, user == "ann"
}

func (u *users) MAIL(s *esmtp.Session, from esmtp.Path) esmtp.Reply {
	if u.from != nil {
		u.from <- s.User() + " " + s.AuthMechanism() + " " + s.Protocol()
	}
	return u.Default.MAIL(s, from)
}

var allMechanisms = []string{"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS",
	"OAUTHBEARER", "XOAUTH2", "EXTERNAL", "ANONYMOUS"}

// authServer returns a server with users, and a client in TLS that has said EHLO.
func authServer(t *testing.T, from chan string) *esmtptest.Client {
	srv, config := tlsServer(t)
	cert, _ := esmtptest.Certificate(t, "ann")
	srv.TLSConfig.ClientAuth = tls.VerifyClientCertIfGiven
	srv.TLSConfig.ClientCAs = clientPool(cert)
	config.Certificates = []tls.Certificate{cert}
	srv.NewHandler = func(*esmtp.Session) esmtp.Handler { return &users{mechanisms: allMechanisms, from: from} }
	c := esmtptest.Dial(t, srv)
	c.Patience = 0
	c.Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: STARTTLS\nS: 220 *")
	if err := c.StartTLS(config); err != nil {
		t.Fatal(err)
	}
	c.Send("EHLO client.example")
	lines, err := c.ReadReply()
	if err != nil || !strings.Contains(strings.Join(lines, "\n"), "AUTH "+strings.Join(allMechanisms, " ")) {
		t.Fatalf("EHLO in TLS: %q, %v; want all mechanisms", lines, err)
	}
	return c
}

// login carries on an exchange as a client of a SASL library does, and returns the reply.
func login(t *testing.T, c *esmtptest.Client, client sasl.Client, initial bool) string {
	t.Helper()
	mechanism, response, err := client.Start()
	if err != nil {
		t.Fatal(err)
	}
	line := "AUTH " + mechanism
	if initial && response != nil {
		line += " " + cmpOr(base64.StdEncoding.EncodeToString(response), "=")
	}
	pending := !initial && response != nil
	for {
		c.Send(line)
		reply, err := c.ReadReply()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(reply[0], "334 ") {
			return reply[0]
		}
		challenge, err := base64.StdEncoding.DecodeString(reply[0][4:])
		switch {
		case err != nil:
			t.Fatal(err)
		case pending:
			pending = false
		default:
			if response, err = client.Next(challenge); err != nil {
				t.Fatal(err)
			}
		}
		line = base64.StdEncoding.EncodeToString(response)
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// step is a client of one function.
type step struct {
	mechanism string
	first     []byte
	next      func(challenge []byte) []byte
}

func (s step) Start() (string, []byte, error)               { return s.mechanism, s.first, nil }
func (s step) Next(challenge []byte) (next []byte, _ error) { return s.next(challenge), nil }

func cramClient(user, password string) sasl.Client {
	return step{"CRAM-MD5", nil, func(challenge []byte) []byte {
		mac := hmac.New(md5.New, []byte(password))
		mac.Write(challenge)
		return []byte(user + " " + hex.EncodeToString(mac.Sum(nil)))
	}}
}

func scramClient(t *testing.T, mechanism string, hash scram.HashGeneratorFcn, binding *scram.ChannelBinding, user, password string) sasl.Client {
	client, err := hash.NewClient(user, password, "")
	if err != nil {
		t.Fatal(err)
	}
	conv := client.NewConversation()
	if binding != nil {
		conv = client.NewConversationWithChannelBinding(*binding)
	}
	first, err := conv.Step("")
	if err != nil {
		t.Fatal(err)
	}
	return step{mechanism, []byte(first), func(challenge []byte) []byte {
		next, err := conv.Step(string(challenge))
		if err != nil {
			t.Fatal(err)
		}
		return []byte(next)
	}}
}

func loginClient(user, password string) sasl.Client {
	asked := 0
	return step{"LOGIN", nil, func(challenge []byte) []byte {
		asked++
		return []byte([]string{user, password}[asked-1])
	}}
}

func binding(t *testing.T, c *esmtptest.Client) *scram.ChannelBinding {
	state := c.Conn.(*tls.Conn).ConnectionState()
	b, err := scram.NewTLSExporterBinding(&state)
	if err != nil {
		t.Fatal(err)
	}
	return &b
}
