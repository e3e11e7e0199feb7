package esmtp_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// wire returns what the client reads for a reply to a command.
func wire(t *testing.T, r esmtp.Reply) []string {
	t.Helper()
	srv, _ := newSpy(answer("NOOP", r))
	srv.Limits.Errors = -1
	c := esmtptest.Dial(t, srv)
	c.Expect("220 *")
	c.Send("NOOP")
	lines, err := c.ReadReply()
	if err != nil {
		c.Fatalf("got %q, %v", lines, err)
	}
	c.Cmd("RSET", "250 *") // and nothing else
	return lines
}

func TestReplyOnTheWire(t *testing.T) {
	word := strings.Repeat("w", 99) + " "
	for _, test := range []struct {
		name string
		r    esmtp.Reply
		want []string
	}{
		// RFC 2034 §4: class from the code, X.0.0 unless told.
		{"enhanced code", esmtp.Deny(550, 5, 7, 1, "no"), []string{"550 5.7.1 no"}},
		{"of another class", esmtp.Deny(450, 5, 7, 1, "no"), []string{"450 4.7.1 no"}},
		{"not given", esmtp.Say(550, "no"), []string{"550 5.0.0 no"}},
		{"out of range", esmtp.Deny(550, 5, 1000, 65535, "no"), []string{"550 5.999.999 no"}},
		{"left out", esmtp.Reply{Code: 550, Enh: esmtp.NoEnhanced, Lines: []string{"no"}}, []string{"550 no"}},
		{"on every line", esmtp.Deny(550, 5, 7, 1, "a", "b"), []string{"550-5.7.1 a", "550 5.7.1 b"}},
		// Text.
		{"an empty line", esmtp.OK(""), []string{"250 2.0.0 "}},
		{"CRLF splits", esmtp.OK("a\r\nb"), []string{"250-2.0.0 a", "250 2.0.0 b"}},
		{"LF splits", esmtp.OK("a\nb\n"), []string{"250-2.0.0 a", "250 2.0.0 b"}},
		{"controls become spaces", esmtp.OK("a\tb\rc\x00d\x7fe"), []string{"250 2.0.0 a b c d e"}},
		{"no UTF-8 unless asked for", esmtp.OK("é\xff"), []string{"250 2.0.0 ??"}},
		{"a format is none", esmtp.OK("%s%d"), []string{"250 2.0.0 %s%d"}},
		{"long text wraps at a word", esmtp.OK(strings.Repeat(word, 6)), []string{
			"250-2.0.0 " + strings.TrimSpace(strings.Repeat(word, 4)) + " " + strings.Repeat("w", 99), "250 2.0.0 " + word}},
		// Codes that are none.
		{"1xx", esmtp.Say(150, "x"), []string{"451 4.3.0 Local error in processing"}},
		{"3xx", esmtp.Say(354, "x"), []string{"451 4.3.0 Local error in processing"}},
		{"260", esmtp.Say(260, "x"), []string{"451 4.3.0 Local error in processing"}}, // RFC 5321 §4.2: the second digit is 0 to 5
		{"6xx", esmtp.Say(600, "x"), []string{"451 4.3.0 Local error in processing"}},
		{"negative", esmtp.Say(-2, "x"), []string{"451 4.3.0 Local error in processing"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := wire(t, test.r); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// RFC 5321 §4.5.3.1.5: ReadReply refuses lines over 512 octets.
func TestReplyLinesAreNeverTooLong(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", 5000), strings.Repeat("é", 3000), strings.Repeat("x ", 2000)} {
		var got int
		for _, line := range wire(t, esmtp.OK(text)) {
			got += len(line) - len("250 2.0.0 ")
		}
		if got < len(text)/4 {
			t.Errorf("got %d octets of %d", got, len(text))
		}
	}
	if got := len(wire(t, esmtp.OK(strings.Repeat("x\n", 10000)))); got != 100 {
		t.Errorf("got %d lines, want a bound of 100", got)
	}
}

// RFC 6531 §3.7.4.2: UTF-8 only to a client that asked for it, and never a control character of it.
func TestReplyUTF8(t *testing.T) {
	srv, _ := newSpy(answer("RCPT", esmtp.Say(550, "für é\u0085\u2028x\xff")))
	esmtptest.Run(t, srv, greeting+ehlo+`
		C: MAIL FROM:<é@me.example> SMTPUTF8
		C: RCPT TO:<b@me.example>
		C: RSET
		C: MAIL FROM:<>
		C: RCPT TO:<b@me.example>
		S: 250 2.1.0 é@me.example, sender ok
		S: 550 5.0.0 für é?*x?
		S: 250 *
		S: 250 *
		S: 550 5.0.0 f?r ???x?`)
}

func TestStandardTexts(t *testing.T) {
	for code, want := range map[int]string{
		211: "Help", 221: "Closing connection", 250: "OK", 259: "OK", 421: "Service not available, closing connection",
		450: "Mailbox unavailable", 459: "Temporary failure", 500: "Syntax error, command unrecognized", 502: "Command not implemented",
		503: "Bad sequence of commands", 552: "Insufficient storage", 555: "Parameters not recognized", 559: "Transaction failed",
	} {
		srv, _ := newSpy(answer("NOOP", esmtp.Say(code)))
		c := esmtptest.Dial(t, srv)
		c.Expect("220 *")
		c.Cmd("NOOP", fmt.Sprintf("%d %d.0.0 %s", code, code/100, want))
	}
}

func TestReplyIsAnError(t *testing.T) {
	r := esmtp.Deny(550, 5, 7, 1, "not", "you")
	if got, want := r.Error(), "550 5.7.1 not / you"; got != want {
		t.Errorf("Error: got %q, want %q", got, want)
	}
	for _, test := range []struct {
		err  error
		code int
	}{{nil, 0}, {r, 550}, {fmt.Errorf("wrapped: %w", r), 550}, {errors.New("secret"), 451}} {
		got := esmtp.ReplyOf(test.err)
		if got.Code != test.code || strings.Contains(got.Error(), "secret") {
			t.Errorf("ReplyOf(%v): got %v, want %d", test.err, got, test.code)
		}
	}
	if !esmtp.OK().Accepted() || !esmtp.Say(354).Accepted() || r.Accepted() || (esmtp.Reply{}).Accepted() {
		t.Error("Accepted: want it for 2xx and 354 only")
	}
	if !(esmtp.Reply{}).IsZero() || esmtp.Drop.IsZero() || esmtp.NoReply.IsZero() || !r.Hangup().Close {
		t.Error("IsZero, Hangup: want Drop and NoReply to be something")
	}
	if got := (esmtp.Enhanced{5, 7, 1}).String(); got != "5.7.1" {
		t.Errorf("String: got %q, want 5.7.1", got)
	}
}
