package respond_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/handler/respond"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func server(t *testing.T, rules ...respond.Rule) *esmtp.Server {
	t.Helper()
	var stack []esmtp.Layer
	for _, rule := range rules {
		r, err := respond.New(rule)
		if err != nil {
			t.Fatal(err)
		}
		stack = append(stack, r.NewLayer)
	}
	stack = append(stack, func(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler { return &offers{next} })
	cert, _ := esmtptest.Certificate(t, "mx.example.org")
	return &esmtp.Server{Hostname: "mx.example.org", NewHandler: esmtp.Stack(stack...), AllowInsecureAuth: true,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
}

// offers is a layer that has what all verbs need.
type offers struct{ esmtp.Handler }

func (*offers) Mechanisms(*esmtp.Session) []string { return []string{"PLAIN"} }

func (o *offers) EHLO(s *esmtp.Session, domain string) esmtp.Reply {
	r := o.Handler.EHLO(s, domain)
	r.Lines = append(r.Lines, "ETRN")
	return r
}

const hello = "S: 220 *\nC: EHLO client.example\nS: ...\n"

func TestEachVerbCanBeAnswered(t *testing.T) {
	for verb, script := range map[string]string{
		"CONNECT":  "S: 459 ha\n",
		"HELO":     "S: 220 *\nC: HELO client.example\nS: 459 ha\n",
		"EHLO":     "S: 220 *\nC: EHLO client.example\nS: 459 ha\n",
		"MAIL":     hello + "C: MAIL FROM:<>\nS: 459 4.1.2 ha\n",
		"RCPT":     hello + "C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<a@b>\nS: 459 4.1.2 ha\n",
		"DATA":     hello + "C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<a@b>\nS: 250 *\nC: DATA\nS: 459 4.1.2 ha\n",
		"EOH":      hello + "C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<a@b>\nS: 250 *\nC: DATA\nS: 354 *\nC: .\nS: 459 4.1.2 ha\n",
		"EOM":      hello + "C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<a@b>\nS: 250 *\nC: DATA\nS: 354 *\nC: .\nS: 459 4.1.2 ha\n",
		"RSET":     hello + "C: RSET\nS: 459 4.1.2 ha\n",
		"VRFY":     hello + "C: VRFY a\nS: 459 4.1.2 ha\n",
		"EXPN":     hello + "C: EXPN a\nS: 459 4.1.2 ha\n",
		"HELP":     hello + "C: HELP\nS: 459 4.1.2 ha\n",
		"NOOP":     hello + "C: NOOP\nS: 459 4.1.2 ha\n",
		"QUIT":     hello + "C: QUIT\nS: 459 4.1.2 ha\n",
		"STARTTLS": hello + "C: STARTTLS\nS: 459 4.1.2 ha\n",
		"AUTH":     hello + "C: AUTH PLAIN\nS: 459 4.1.2 ha\n",
		"ETRN":     hello + "C: ETRN example.org\nS: 459 4.1.2 ha\n",
		"UNKNOWN":  hello + "C: XYZZY\nS: 459 4.1.2 ha\n",
	} {
		t.Run(verb, func(t *testing.T) {
			rule := respond.Rule{Verb: strings.ToLower(verb), Code: 459, Enhanced: esmtp.Enhanced{4, 1, 2}, Lines: []string{"ha"}, Close: true}
			esmtptest.Run(t, server(t, rule), script+"close\n")
		})
	}
}

func TestOtherVerbsGoOn(t *testing.T) {
	esmtptest.Run(t, server(t, respond.Rule{Verb: "VRFY", Code: 550}), hello+`
		C: HELP
		S: ...
		C: NOOP
		S: 250 *
		C: EXPN x
		S: 502 *
		C: XYZZY
		S: 500 *
		C: RSET
		S: 250 *
		C: VRFY x
		S: 550 5.0.0 Mailbox unavailable
		C: HELO client.example
		S: 250 *
		C: QUIT
		S: 221 *
		close
	`)
}

func TestConditions(t *testing.T) {
	srv := server(t,
		respond.Rule{Verb: "MAIL", From: "*@spam.example", Code: 550, Enhanced: esmtp.Enhanced{5, 7, 1}, Lines: []string{"no spam"}},
		respond.Rule{Verb: "RCPT", From: "<>", To: "list@example.org", Code: 550, Lines: []string{"no bounces"}},
		respond.Rule{Verb: "RCPT", To: "old@example.org", Code: 551, Lines: []string{"moved,", "long ago"}},
		respond.Rule{Verb: "DATA", To: "slow@example.org", Code: 451, Lines: []string{"later"}},
	)
	esmtptest.Run(t, srv, hello+`
		C: MAIL FROM:<a@SPAM.example>
		S: 550 5.7.1 no spam
		C: MAIL FROM:<a@ham.example>
		S: 250 *
		C: RCPT TO:<list@example.org>
		S: 250 *
		C: RCPT TO:<OLD@example.org>
		S: 551-5.0.0 moved,
		S: 551 5.0.0 long ago
		C: RCPT TO:<slow@example.org>
		S: 250 *
		C: DATA
		S: 451 4.0.0 later
		C: RSET
		S: 250 *
		C: MAIL FROM:<>
		S: 250 *
		C: RCPT TO:<list@example.org>
		S: 550 5.0.0 no bounces
		C: RCPT TO:<user@example.org>
		S: 250 *
		C: DATA
		S: 354 *
		C: .
		S: 250 *
	`)
}

func TestEHLOLinesAreTheExtensions(t *testing.T) {
	rule := respond.Rule{Verb: "EHLO", Code: 250, Lines: []string{"hi", "SIZE 99", "8BITMIME"}}
	esmtptest.Run(t, server(t, rule), `
		S: 220 *
		C: EHLO client.example
		S: 250-hi
		S: 250-SIZE 99
		S: 250 8BITMIME
		C: MAIL FROM:<> SIZE=100
		S: 552 *
		C: MAIL FROM:<> SMTPUTF8
		S: 555 *
	`)
}

func TestRulesAreChecked(t *testing.T) {
	for _, test := range []struct {
		rule respond.Rule
		want string
	}{
		{respond.Rule{Verb: "STARTLS", Code: 220}, `respond: "STARTLS" is not one of CONNECT`},
		{respond.Rule{Verb: "HEADER", Code: 550}, `respond: "HEADER" is not one of`},
		{respond.Rule{Verb: "RCPT", Code: 354}, "respond: 354 is no reply code for RCPT"},
		{respond.Rule{Verb: "RCPT"}, "respond: 0 is no reply code"},
		{respond.Rule{Verb: "RCPT", Code: 600}, "respond: 600 is no reply code"},
		{respond.Rule{Verb: "MAIL", Code: 251}, "respond: 251 is no reply code for MAIL"},
		{respond.Rule{Verb: "CONNECT", Code: 250}, "respond: 250 is no reply code for CONNECT"},
		{respond.Rule{Verb: "QUIT", Code: 250}, "respond: 250 is no reply code for QUIT"},
		{respond.Rule{Verb: "DATA", Code: 250}, "respond: 250 is no reply code for DATA"},
		{respond.Rule{Verb: "RCPT", Code: 550, Enhanced: esmtp.Enhanced{4, 0, 0}}, "respond: the enhanced status code 4.0.0"},
		{respond.Rule{Verb: "RCPT", Code: 550, Lines: []string{"a\r\n250 b"}}, "respond: the text"},
		{respond.Rule{Verb: "NOOP", Code: 550, From: "<>"}, "respond: from is a condition for MAIL"},
		{respond.Rule{Verb: "MAIL", Code: 550, To: "a@b"}, "respond: to is a condition for RCPT"},
		{respond.Rule{Verb: "RCPT", Code: 550, To: "a@*"}, `respond: to: address pattern "a@*"`},
	} {
		if _, err := respond.New(test.rule); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%+v: got %v, want %s", test.rule, err, test.want)
		}
	}
}
