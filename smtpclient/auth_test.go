package smtpclient_test

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// speakers let in one user, by any mechanism.
type speaker struct{ receiver }

func (s *speaker) Mechanisms(*esmtp.Session) []string { return s.box.mech }

func (s *speaker) Authenticate(_ *esmtp.Session, c esmtp.Credentials) esmtp.Reply {
	if c.Verified || c.User == "ann" && c.Password == "secret" || c.Token == "token" {
		return esmtp.Deny(235, 2, 7, 0, "welcome")
	}
	return esmtp.Reply{}
}

func (s *speaker) Secret(_ *esmtp.Session, _, user string) (esmtp.Secret, bool) {
	return esmtp.Secret{Password: "secret"}, user == "ann"
}

func TestAUTH(t *testing.T) {
	cert, trusting := esmtptest.Certificate(t, "mx.example.org")
	trusting.ServerName = "mx.example.org"
	secure := smtpclient.Options{TLSConfig: trusting, TLS: smtpclient.Required}
	good := smtpclient.Auth{User: "ann", Password: "secret"}
	for _, test := range []struct {
		mech  string
		auth  smtpclient.Auth
		clear bool
		class smtpclient.Class
	}{
		{mech: "PLAIN", auth: good},
		{mech: "LOGIN", auth: good},
		{mech: "CRAM-MD5", auth: good},
		{mech: "CRAM-MD5", auth: good, clear: true},
		{mech: "SCRAM-SHA-1", auth: good},
		{mech: "SCRAM-SHA-256", auth: good},
		{mech: "SCRAM-SHA-256", auth: good, clear: true},
		{mech: "SCRAM-SHA-1-PLUS", auth: good},
		{mech: "SCRAM-SHA-256-PLUS", auth: good},
		{mech: "SCRAM-SHA-256 SCRAM-SHA-256-PLUS PLAIN", auth: good},
		{mech: "OAUTHBEARER", auth: smtpclient.Auth{User: "a=n,n", Token: "token"}},
		{mech: "XOAUTH2", auth: smtpclient.Auth{User: "ann", Token: "token"}},
		{mech: "XOAUTH2", auth: smtpclient.Auth{User: strings.Repeat("a", 600), Token: "token"}},
		{mech: "PLAIN", auth: smtpclient.Auth{User: "ann", Password: "wrong"}, class: smtpclient.Permanent},
		{mech: "SCRAM-SHA-256", auth: smtpclient.Auth{User: "ann", Password: "wrong"}, class: smtpclient.Permanent},
		{mech: "OAUTHBEARER", auth: smtpclient.Auth{User: "ann", Token: "stale"}, class: smtpclient.Permanent},
		{mech: "XOAUTH2", auth: smtpclient.Auth{User: "ann", Token: "stale"}, class: smtpclient.Permanent},
		{mech: "PLAIN", auth: good, clear: true, class: smtpclient.MissingRequirement},
		{mech: "PLAIN", auth: smtpclient.Auth{User: "ann", Password: "secret", AllowInsecure: true}, clear: true},
		{mech: "PLAIN", auth: smtpclient.Auth{User: "ann", Password: "secret", Mechanisms: []string{"login"}}, class: smtpclient.MissingRequirement},
		{mech: "", auth: good, class: smtpclient.MissingRequirement},
	} {
		t.Run(strings.ReplaceAll(test.mech, " ", ","), func(t *testing.T) {
			t.Parallel() // wrong passwords are answered late
			box := &inbox{mech: strings.Fields(test.mech)}
			addr := serve(t, box, func(srv *esmtp.Server) {
				srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
				srv.NewHandler = func(*esmtp.Session) esmtp.Handler { return &speaker{receiver{box: box}} }
				srv.AllowInsecureAuth = test.clear
			})
			o := secure
			if o.Auth = &test.auth; test.clear {
				o = smtpclient.Options{TLS: smtpclient.Never, Auth: &test.auth}
			}
			c, err := smtpclient.Dial(t.Context(), "tcp", addr, &o)
			var e *smtpclient.Error
			if test.class == 0 && err != nil || test.class != 0 && (!errors.As(err, &e) || e.Class != test.class || e.Verb != "AUTH") {
				t.Fatalf("%s: %v", test.mech, err)
			}
			if err != nil {
				if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "stale") {
					t.Errorf("secret in %v", err)
				}
				return
			}
			defer c.Close()
			_, err = c.Send(t.Context(), &smtpclient.Message{From: path(t, "ann@x.example", "AUTH=<>"), To: paths(t, "bob@x.example"), Body: strings.NewReader(text)})
			if err != nil || box.messages[0].from.Auth() != "<>" {
				t.Error(err)
			}
		})
	}
}
