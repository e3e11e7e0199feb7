package esmtp_test

import (
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// RFC 3461 §4, RFC 6533 §3: the parameters of DSN, good and bad.
func TestDSNParameters(t *testing.T) {
	for _, test := range []struct{ command, want string }{
		{"MAIL FROM:<> RET=FULL", "250 *"},
		{"MAIL FROM:<> ret=hdrs", "250 *"},
		{"MAIL FROM:<> RET=SOME", "501 5.5.4 *"},
		{"MAIL FROM:<> RET", "501 5.5.4 *"},
		{"MAIL FROM:<> RET=FULL RET=FULL", "501 5.5.4 *"},
		{"MAIL FROM:<> ENVID=QQ314159", "250 *"},
		{"MAIL FROM:<> ENVID=a+2Bb+3D", "250 *"},
		{"MAIL FROM:<> ENVID=" + strings.Repeat("x", 100), "250 *"},
		{"MAIL FROM:<> ENVID=" + strings.Repeat("x", 101), "501 5.5.4 *"},
		{"MAIL FROM:<> ENVID=a+2b", "501 5.5.4 *"}, // hexadecimal in upper case only
		{"MAIL FROM:<> ENVID=a+", "501 5.5.4 *"},
		{"MAIL FROM:<> ENVID=a+0D+0Ab", "501 5.5.4 *"}, // no line break comes out of it
		{"MAIL FROM:<> ENVID=", "501 5.5.4 *"},
		{"RCPT TO:<b@me.example> NOTIFY=NEVER", "250 *"},
		{"RCPT TO:<b@me.example> NOTIFY=success,failure,delay", "250 *"},
		{"RCPT TO:<b@me.example> NOTIFY=NEVER,SUCCESS", "501 5.5.4 *"},
		{"RCPT TO:<b@me.example> NOTIFY=SUCCESS,", "501 5.5.4 *"},
		{"RCPT TO:<b@me.example> NOTIFY=OFTEN", "501 5.5.4 *"},
		{"RCPT TO:<b@me.example> ORCPT=rfc822;b+2Bx@me.example", "250 *"},
		{"RCPT TO:<b@me.example> ORCPT=b@me.example", "501 5.5.4 *"},
		{"RCPT TO:<b@me.example> ORCPT=rfc822;", "501 5.5.4 *"},
		{"RCPT TO:<b@me.example> ORCPT=;b", "501 5.5.4 *"},
		{"RCPT TO:<b@me.example> ORCPT=rfc822;a+00", "501 5.5.4 *"},
		{"RCPT TO:<b@me.example> ORCPT=utf-8;\\x{FC}@me.example", "250 *"},
		{"RCPT TO:<b@me.example> ORCPT=utf-8;\\x{D}", "501 5.5.4 *"},
		{"RCPT TO:<b@me.example> ORCPT=utf-8;\\x{110000}", "501 5.5.4 *"},
		{"RCPT TO:<b@me.example> ORCPT=utf-8;ü@me.example", "501 5.5.4 *"}, // not without SMTPUTF8
	} {
		t.Run(test.command, func(t *testing.T) {
			c := esmtptest.Dial(t, &esmtp.Server{})
			c.Run(greeting + ehlo)
			if strings.HasPrefix(test.command, "RCPT") {
				c.Cmd("MAIL FROM:<>", "250 *")
			}
			c.Cmd(test.command, test.want)
		})
	}
}

// What hooks see of them is decoded.
func TestDSNValues(t *testing.T) {
	var path, from esmtp.Path
	srv := &esmtp.Server{NewHandler: func(s *esmtp.Session) esmtp.Handler {
		s.Handle("XFROM", func(s *esmtp.Session, _ string) esmtp.Reply {
			from = s.Transaction().From()
			return esmtp.OK()
		})
		return &pathTaker{path: &path}
	}}
	c := esmtptest.Dial(t, srv)
	c.Run(greeting + ehlo + "C: MAIL FROM:<> RET=hdrs ENVID=a+2Bb+3Dc SMTPUTF8\nC: XFROM\nS: 250 *\nS: 250 *")
	if from.Ret() != "HDRS" || from.EnvID() != "a+b=c" {
		t.Errorf("got RET %q ENVID %q, want HDRS a+b=c", from.Ret(), from.EnvID())
	}
	for _, test := range []struct {
		params       string
		notify       esmtp.Notify
		orType, orig string
	}{
		{"", 0, "", ""},
		{"NOTIFY=NEVER", esmtp.NotifyNever, "", ""},
		{"NOTIFY=SUCCESS,DELAY", esmtp.NotifySuccess | esmtp.NotifyDelay, "", ""},
		{"ORCPT=rfc822;a+2Bb@c.example", 0, "rfc822", "a+b@c.example"},
		{"ORCPT=utf-8;ü\\x{20}@c.example NOTIFY=FAILURE", esmtp.NotifyFailure, "utf-8", "ü @c.example"},
	} {
		c.Cmd("RCPT TO:<b@me.example> "+test.params, "250 *")
		orType, orig := path.ORcpt()
		if path.Notify() != test.notify || orType != test.orType || orig != test.orig {
			t.Errorf("%s: got %v %q %q, want %v %q %q", test.params, path.Notify(), orType, orig, test.notify, test.orType, test.orig)
		}
	}
}

// RFC 1870, RFC 6152, RFC 6531: the typed values of MAIL.
func TestMailValues(t *testing.T) {
	for _, test := range []struct {
		params string
		size   int64
		sized  bool
		body   string
		utf8   bool
	}{
		{"", 0, false, "7BIT", false},
		{"SIZE=0", 0, true, "7BIT", false},
		{"SIZE=123 BODY=8bitMIME", 123, true, "8BITMIME", false},
		{"SMTPUTF8 BODY=BINARYMIME", 0, false, "BINARYMIME", true},
	} {
		srv, _ := newSpy(do("MAIL", func(s *esmtp.Session) {
			from := s.Transaction().From()
			size, sized := from.Size()
			if size != test.size || sized != test.sized || from.Body().String() != test.body || from.SMTPUTF8() != test.utf8 {
				t.Errorf("%s: got %d %v %v %v", test.params, size, sized, from.Body(), from.SMTPUTF8())
			}
		}))
		esmtptest.Run(t, srv, greeting+ehlo+"C: MAIL FROM:<a@me.example> "+test.params+"\nS: 250 *")
	}
}
