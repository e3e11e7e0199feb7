package esmtptest_test

import (
	"fmt"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// Mine is a handler as an author of one writes it.
type Mine struct{ esmtp.Default }

func (m *Mine) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	if to.Domain() != "example.org" {
		return esmtp.Deny(550, 5, 7, 1, "we do not relay")
	}
	return m.Default.RCPT(s, to)
}

// It is the test of the package comment.
func TestWeDoNotRelay(t *testing.T) {
	srv := &esmtp.Server{NewHandler: func(*esmtp.Session) esmtp.Handler { return new(Mine) }}
	esmtptest.Run(t, srv, `
		S: 220 *
		C: EHLO me.example
		S: 250-*
		S: ...
		C: MAIL FROM:<a@me.example>
		C: RCPT TO:<b@elsewhere.example>
		S: 250 2.1.0 *
		S: 550 5.7.1 we do not relay
		C: QUIT
		S: 221 *
		close
	`)
}

func ExampleMatch() {
	fmt.Println(esmtptest.Match("250 2.1.0 *", "250 2.1.0 a@example.org, sender ok"))
	fmt.Println(esmtptest.Match("250 *", "250-8BITMIME"))
	// Output:
	// true
	// false
}
