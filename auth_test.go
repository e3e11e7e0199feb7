package esmtp_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"
)

// inBubble runs a test where waiting costs no time: failed AUTHs are answered late.
func inBubble(f func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) { synctest.Test(t, f) }
}

// Each mechanism, with and without an initial response, right and wrong. Rows G12, G13.
func TestAUTHMechanisms(t *testing.T) {
	xoauth2 := func(token string) sasl.Client {
		return step{"XOAUTH2", []byte("user=ann\x01auth=Bearer " + token + "\x01\x01"), func([]byte) []byte { return []byte{} }}
	}
	bearer := func(token string) sasl.Client {
		return sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: "ann", Token: token})
	}
	for _, test := range []struct {
		name   string
		client func(c *esmtptest.Client) sasl.Client
		want   string
		as     string
	}{
		{"PLAIN", func(*esmtptest.Client) sasl.Client { return sasl.NewPlainClient("", "ann", "secret") }, "235", "ann"},
		{"PLAIN wrong", func(*esmtptest.Client) sasl.Client { return sasl.NewPlainClient("", "ann", "guess") }, "535 5.7.8", ""},
		{"PLAIN for another", func(*esmtptest.Client) sasl.Client { return sasl.NewPlainClient("bob", "ann", "secret") }, "535 5.7.8", ""},
		{"PLAIN with a line break", func(*esmtptest.Client) sasl.Client { return sasl.NewPlainClient("", "ann\r\n250 ok", "secret") }, "535 5.7.8", ""},
		{"LOGIN", func(*esmtptest.Client) sasl.Client { return loginClient("ann", "secret") }, "235", "ann"},
		{"LOGIN wrong", func(*esmtptest.Client) sasl.Client { return loginClient("bob", "secret") }, "535 5.7.8", ""},
		{"CRAM-MD5", func(*esmtptest.Client) sasl.Client { return cramClient("ann", "secret") }, "235", "ann"},
		{"CRAM-MD5 wrong", func(*esmtptest.Client) sasl.Client { return cramClient("ann", "guess") }, "535 5.7.8", ""},
		{"CRAM-MD5 nobody", func(*esmtptest.Client) sasl.Client { return cramClient("bob", "secret") }, "535 5.7.8", ""},
		{"CRAM-MD5 nobody without a password", func(*esmtptest.Client) sasl.Client { return cramClient("bob", "") }, "535 5.7.8", ""},
		{"SCRAM-SHA-1", func(*esmtptest.Client) sasl.Client {
			return scramClient(t, "SCRAM-SHA-1", scram.SHA1, nil, "ann", "secret")
		}, "235", "ann"},
		{"SCRAM-SHA-256", func(*esmtptest.Client) sasl.Client {
			return scramClient(t, "SCRAM-SHA-256", scram.SHA256, nil, "ann", "secret")
		}, "235", "ann"},
		{"SCRAM-SHA-256 wrong", func(*esmtptest.Client) sasl.Client {
			return scramClient(t, "SCRAM-SHA-256", scram.SHA256, nil, "ann", "guess")
		}, "535 5.7.8", ""},
		{"SCRAM-SHA-256 nobody", func(*esmtptest.Client) sasl.Client {
			return scramClient(t, "SCRAM-SHA-256", scram.SHA256, nil, "bob", "secret")
		}, "535 5.7.8", ""},
		{"SCRAM-SHA-256-PLUS", func(c *esmtptest.Client) sasl.Client {
			return scramClient(t, "SCRAM-SHA-256-PLUS", scram.SHA256, binding(t, c), "ann", "secret")
		}, "235", "ann"},
		{"SCRAM-SHA-256-PLUS on another connection", func(c *esmtptest.Client) sasl.Client {
			b := *binding(t, c)
			b.Data = append([]byte{b.Data[0] ^ 1}, b.Data[1:]...)
			return scramClient(t, "SCRAM-SHA-256-PLUS", scram.SHA256, &b, "ann", "secret")
		}, "535 5.7.8", ""},
		{"OAUTHBEARER", func(*esmtptest.Client) sasl.Client { return bearer("token") }, "235", "ann"},
		{"XOAUTH2", func(*esmtptest.Client) sasl.Client { return xoauth2("token") }, "235", "ann"},
		{"XOAUTH2 wrong", func(*esmtptest.Client) sasl.Client { return xoauth2("guess") }, "535 5.7.8", ""},
		{"EXTERNAL", func(*esmtptest.Client) sasl.Client { return sasl.NewExternalClient("") }, "235", "ann"},
		{"EXTERNAL for another", func(*esmtptest.Client) sasl.Client { return sasl.NewExternalClient("bob") }, "535 5.7.8", ""},
		{"ANONYMOUS", func(*esmtptest.Client) sasl.Client { return sasl.NewAnonymousClient("trace") }, "235", "anonymous"},
	} {
		for _, initial := range []bool{true, false} {
			t.Run(test.name, inBubble(func(t *testing.T) {
				from := make(chan string, 1)
				c := authServer(t, from)
				if got := login(t, c, test.client(c), initial); !strings.HasPrefix(got, test.want) {
					t.Fatalf("got %q, want %q", got, test.want)
				}
				c.Cmd("MAIL FROM:<ann@client.example>", "250 *")
				want := " " + " ESMTPS"
				if test.as != "" {
					want = test.as + " " + strings.Fields(test.name)[0] + " ESMTPSA"
				}
				if got := <-from; got != want {
					t.Errorf("MAIL saw %q, want %q", got, want)
				}
			}))
		}
	}
}

// RFC 4954 §4: the order of things, cancelling, and what can't be read.
func TestAUTHRules(t *testing.T) { synctest.Test(t, testAUTHRules) }

// Rows G14 to G16.
func testAUTHRules(t *testing.T) {
	c := authServer(t, nil)
	c.Run(`
C: AUTH
S: 501 5.5.4 *
C: AUTH KERBEROS_V4
S: 504 5.5.4 *
C: AUTH PLAIN !!!
S: 501 5.5.2 *
C: AUTH PLAIN
S: 334*
C: *
S: 501 5.7.0 *
C: AUTH PLAIN =
S: 501 5.5.2 *
C: AUTH PLAIN
S: 334*
C: not base64
S: 501 5.5.2 *
C: MAIL FROM:<a@client.example>
S: 250 *
C: AUTH PLAIN AGFubgBzZWNyZXQ=
S: 503 5.5.1 *
C: RSET
S: 250 *
C: auth plain AGFubgBzZWNyZXQ=
S: 235 2.7.0 *
C: AUTH PLAIN AGFubgBzZWNyZXQ=
S: 503 5.5.1 *
C: MAIL FROM:<a@client.example> AUTH=<>
S: 250 *
C: RSET
S: 250 *
C: MAIL FROM:<a@client.example> AUTH=a+xx
S: 501 5.5.4 *
`)
	c.Send("AUTH PLAIN " + strings.Repeat("A", 13000))
	c.Expect("500 5.5.2 *")
	c.Send("AUTH PLAIN " + strings.Repeat("A", 12000))
	c.Expect("503 5.5.1 *")
}

func TestAUTHLongResponse(t *testing.T) { synctest.Test(t, testAUTHLongResponse) }

func testAUTHLongResponse(t *testing.T) {
	c := authServer(t, nil)
	c.Cmd("AUTH PLAIN", "334 ")
	c.Send(base64.StdEncoding.EncodeToString([]byte("\x00ann\x00" + strings.Repeat("x", 9000))))
	c.Expect("535 5.7.8 *")
	c.Cmd("AUTH PLAIN", "334 ")
	c.Send(strings.Repeat("A", 12288))
	c.Expect("500 5.5.6 *")
	c.Cmd("NOOP", "250 *")
}

// RFC 4954 §4, §6; RFC 8314: passwords are not asked for in the clear, and AUTH is not there before EHLO or where nobody can log in.
func TestAUTHInTheClear(t *testing.T) {
	srv := &esmtp.Server{Hostname: tlsHost, NewHandler: func(*esmtp.Session) esmtp.Handler { return &users{mechanisms: allMechanisms} }}
	c := esmtptest.Dial(t, srv)
	c.Cmd("AUTH PLAIN AGFubgBzZWNyZXQ=", "220 *") // the greeting
	c.Expect("503 5.5.1 Say EHLO first")
	c.Send("EHLO a")
	lines, _ := c.ReadReply()
	if text := strings.Join(lines, "\n"); !strings.Contains(text, "AUTH CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 ANONYMOUS") {
		t.Errorf("EHLO in the clear: %q", lines)
	}
	c.Cmd("AUTH PLAIN AGFubgBzZWNyZXQ=", "538 5.7.11 *")
	if got := login(t, c, scramClient(t, "SCRAM-SHA-256", scram.SHA256, nil, "ann", "secret"), true); !strings.HasPrefix(got, "235") {
		t.Errorf("SCRAM in the clear: %q", got)
	}
	esmtptest.Run(t, &esmtp.Server{Hostname: tlsHost}, "S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 503 5.5.1 *")
}

func TestRequireAuth(t *testing.T) {
	srv := &esmtp.Server{Hostname: tlsHost, RequireAuth: true, AllowInsecureAuth: true,
		NewHandler: func(*esmtp.Session) esmtp.Handler { return &users{mechanisms: []string{"PLAIN"}} }}
	esmtptest.Run(t, srv, `
S: 220 *
C: EHLO a
S: 250-*
S: ...
C: MAIL FROM:<a@client.example>
S: 530 5.7.0 Authentication required
C: AUTH PLAIN AGFubgBzZWNyZXQ=
S: 235 *
C: MAIL FROM:<a@client.example> AUTH=ann+40client.example
S: 250 *
`)
}

// Failures are answered later each time, and end the session; who guesses learns nothing from the time.
func TestFailedAUTHIsDelayedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &esmtp.Server{Hostname: tlsHost, AllowInsecureAuth: true,
			NewHandler: func(*esmtp.Session) esmtp.Handler { return &users{mechanisms: []string{"PLAIN"}} }}
		c := esmtptest.Dial(t, srv)
		c.Patience = 0
		c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...")
		for _, want := range []string{"535 5.7.8 *", "535 5.7.8 *", "421 4.7.0 *"} {
			c.Cmd("AUTH PLAIN AGFubgBndWVzcw==", want)
		}
		c.ExpectClose()
	})
}

// A mechanism of one's own needs nothing but an AUTH method.
type tokenAuth struct{ esmtp.Default }

func (*tokenAuth) Mechanisms(*esmtp.Session) []string { return []string{"X-TOKEN"} }

func (h *tokenAuth) AUTH(s *esmtp.Session, mechanism string, x *esmtp.Exchange) esmtp.Reply {
	response, err := x.Challenge([]byte("token?"))
	if err != nil {
		return esmtp.ReplyOf(err)
	}
	if string(response) == "liar" {
		return esmtp.Deny(235, 2, 7, 0, "come in") // without Accept
	}
	x.Accept(esmtp.Credentials{User: string(response)})
	return esmtp.Deny(235, 2, 7, 0, "come in")
}

func TestAUTHMechanismOfASubclass(t *testing.T) {
	srv := &esmtp.Server{Hostname: tlsHost, NewHandler: func(*esmtp.Session) esmtp.Handler { return new(tokenAuth) }}
	esmtptest.Run(t, srv, `
S: 220 *
C: EHLO a
S: 250-*
S: ...
C: AUTH X-TOKEN
S: 334 dG9rZW4/
C: bGlhcg==
S: 454 4.7.0 *
C: AUTH X-TOKEN
S: 334 dG9rZW4/
C: YW5u
S: 235 2.7.0 come in
`)
}
