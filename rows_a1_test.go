package esmtp_test

import (
	"testing"

	"github.com/caddy-esmtp/esmtp"
)

// The rows of Apache2::Protocol::ESMTP, commands and envelope. ≠ marks what the ancestor got wrong.
func TestRowsCommands(t *testing.T) {
	runRows(t, []row{{
		name: "A03 no hook is called for a syntax or order error",
		script: greeting + `
			C: MAIL FROM:<a@me.example>
			C: RCPT TO:<b@example.org>
			C: DATA
			C: HELO
			C: EHLO
			S: 503 5.5.1 Say HELO or EHLO first
			S: 503 5.5.1 Need MAIL before RCPT
			S: 503 5.5.1 Need MAIL command
			S: 501 HELO requires domain address
			S: 501 EHLO requires domain address`,
		calls: "-",
	}, {
		name: "A05 a reply of several lines",
		on:   answer("NOOP", esmtp.OK("one", "two", "three\n")),
		script: greeting + `
			C: NOOP
			S: 250-2.0.0 one
			S: 250-2.0.0 two
			S: 250 2.0.0 three`,
	}, {
		name: "A06 a code without lines gets a standard text, the zero Reply the usual one",
		on: func(_ *esmtp.Session, verb, arg string) esmtp.Reply {
			switch {
			case verb == "NOOP" && arg == "bare":
				return esmtp.Say(250)
			case verb == "VRFY":
				return esmtp.Say(550)
			case verb == "UNKNOWN":
				return esmtp.NoReply
			}
			return esmtp.Reply{}
		},
		script: greeting + `
			C: NOOP bare
			C: NOOP
			C: VRFY a
			C: SILENCE
			C: NOOP
			S: 250 2.0.0 OK
			S: 250 2.0.0 OK
			S: 550 5.0.0 Mailbox unavailable
			S: 250 2.0.0 OK`,
	}, {
		name: "A06 NoReply where the client waits for a reply is a bug of the handler, not a hang",
		on:   answer("NOOP", esmtp.NoReply),
		script: greeting + `
			C: NOOP
			S: 451 4.3.0 *`,
	}, {
		name: "A07 ≠ line breaks and control characters in a reply can't forge another",
		on:   answer("NOOP", esmtp.OK("a\r\n250 forged\rb\x00c\x1b[1m\x7f.")),
		script: greeting + `
			C: NOOP
			S: 250-2.0.0 a
			S: 250 2.0.0 250 forged b c [1m .`,
	}, {
		name: "A08 the greeting is 220, whatever success CONNECT returned",
		on:   answer("CONNECT", esmtp.OK("mx.example.org hello")),
		script: `
			S: 220 mx.example.org hello`,
	}, {
		name: "A08 ≠ after 554 only QUIT is left",
		on:   answer("CONNECT", esmtp.Say(554, "mx.example.org no")),
		script: `
			S: 554 mx.example.org no
			C: EHLO me.example
			C: MAIL FROM:<a@me.example>
			C: NOOP
			C: QUIT
			S: 503 *
			S: 503 5.5.1 *
			S: 503 5.5.1 *
			S: 221 *
			close`,
		calls: "QUIT",
	}, {
		name:   "A08 421 in CONNECT closes",
		on:     answer("CONNECT", esmtp.Say(421, "mx.example.org not now")),
		script: "S: 421 mx.example.org not now\nclose",
	}, {
		name:   "A08 521 in CONNECT closes (RFC 7504)",
		on:     answer("CONNECT", esmtp.Say(521, "mx.example.org never")),
		script: "S: 521 mx.example.org never\nclose",
	}, {
		name:   "A08 Drop in CONNECT closes without a word",
		on:     answer("CONNECT", esmtp.Drop),
		script: "close",
	}, {
		name: "A09 UNKNOWN gets verb and argument, and echoes them cut short",
		script: greeting + `
			C: frobnicate a b
			C: LONG aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
			S: 500 5.5.1 Command unrecognized: FROBNICATE a b
			S: 500 5.5.1 Command unrecognized: LONG aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa`,
	}, {
		name: "A10 ≠ a known verb with a bad argument is 501 from that verb",
		script: greeting + `
			C: NOOP x
			C: RSET x
			C: QUIT now
			C: HELO a b
			C: DATA x
			C: VRFY
			C: EXPN
			S: 250 2.0.0 OK
			S: 501 5.5.4 *
			S: 501 5.5.4 *
			S: 501 HELO requires domain address
			S: 501 5.5.4 *
			S: 501 5.5.4 *
			S: 501 5.5.4 *`,
		calls: "NOOP x",
	}, {
		name: "A11 ≠ HELO 0 is a name",
		script: greeting + `
			C: HELO 0
			S: 250 *`,
		calls: "HELO 0",
	}, {
		name: "A12 EHLO greets, lists a line each, and ends with HELP",
		script: greeting + `
			C: EHLO me.example
			S: 250-mx.example.org me.example, pleased to meet you
			S: 250-PIPELINING
			S: 250-8BITMIME
			S: 250-SMTPUTF8
			S: 250-ENHANCEDSTATUSCODES
			S: 250-CHUNKING
			S: 250-BINARYMIME
			S: 250-DSN
			S: 250-SIZE 52428800
			S: 250-LIMITS MAILMAX=1000 RCPTMAX=1000
			S: 250 HELP`,
		calls: "EHLO me.example",
	}, {
		name: "A13 ≠ a refused EHLO or HELO leaves the transaction alone, an accepted one ends it",
		on: func(_ *esmtp.Session, verb, arg string) esmtp.Reply {
			if arg == "bad.example" {
				return esmtp.Deny(550, 5, 7, 1, "not you")
			}
			return esmtp.Reply{}
		},
		script: opening + `
			C: EHLO bad.example
			C: HELO bad.example
			C: RCPT TO:<c@example.org>
			C: HELO me.example
			C: RCPT TO:<d@example.org>
			S: 550 not you
			S: 550 not you
			S: 250 2.1.5 *
			S: 250 *
			S: 503 5.5.1 *`,
	}, {
		name: "A14 MAIL needs a HELO",
		script: greeting + `
			C: MAIL FROM:<a@me.example>
			S: 503 5.5.1 Say HELO or EHLO first`,
	}, {
		name: "A14 unless told otherwise",
		set:  func(srv *esmtp.Server) { srv.AllowNoHELO = true },
		script: greeting + `
			C: MAIL FROM:<a@me.example>
			S: 250 2.1.0 a@me.example, sender ok`,
	}, {
		name: "A15 brackets may be missing, and a space may be there",
		script: greeting + ehlo + `
			C: mail from: a@me.example
			C: rcpt to: b@example.org NOTIFY=NEVER
			S: 250 2.1.0 a@me.example, sender ok
			S: 250 2.1.5 b@example.org, recipient ok`,
		calls: "EHLO me.example\nMAIL a@me.example\nRCPT b@example.org NOTIFY=NEVER",
	}, {
		name: "A15 not in strict mode",
		set:  func(srv *esmtp.Server) { srv.Strict = true },
		script: greeting + ehlo + `
			C: MAIL FROM: <a@me.example>
			C: MAIL FROM:a@me.example
			S: 501 5.5.4 *
			S: 501 5.5.4 *`,
	}, {
		name: "A16 ≠ the null sender is the null path",
		script: greeting + ehlo + `
			C: MAIL FROM:<>
			S: 250 2.1.0 <>, sender ok`,
		calls: "EHLO me.example\nMAIL",
	}, {
		name: "A17 a second MAIL is 503, one without path 501",
		script: greeting + ehlo + `
			C: MAIL
			C: MAIL FROM:
			C: MAIL FROM:<a@me.example>
			C: MAIL FROM:<b@me.example>
			S: 501 5.5.4 *MAIL requires return-path
			S: 501 5.5.4 *MAIL requires return-path
			S: 250 2.1.0 *
			S: 503 5.5.1 Sender already specified`,
		calls: "EHLO me.example\nMAIL a@me.example",
	}, {
		name: "A18 ≠ a refused MAIL leaves no transaction",
		on: func(_ *esmtp.Session, verb, arg string) esmtp.Reply {
			if verb == "MAIL" && arg == "bad@me.example" {
				return esmtp.Deny(550, 5, 7, 1, "not you")
			}
			return esmtp.Reply{}
		},
		script: greeting + ehlo + `
			C: MAIL FROM:<bad@me.example>
			C: RCPT TO:<b@example.org>
			C: MAIL FROM:<a@me.example>
			S: 550 5.7.1 not you
			S: 503 5.5.1 Need MAIL before RCPT
			S: 250 2.1.0 *`,
	}, {
		name: "A19 RCPT: order, syntax, and 251 accepts",
		on:   answer("RCPT", esmtp.Say(251, "will forward")),
		script: greeting + ehlo + `
			C: RCPT TO:<b@example.org>
			C: MAIL FROM:<a@me.example>
			C: RCPT
			C: RCPT TO:
			C: RCPT TO:<b@example.org>
			C: DATA
			S: 503 5.5.1 Need MAIL before RCPT
			S: 250 2.1.0 *
			S: 501 5.5.4 *RCPT requires forward-path
			S: 501 5.5.4 *RCPT requires forward-path
			S: 251 2.0.0 will forward
			S: 354 *`,
	}, {
		name: "A20 ≠ DATA without an accepted recipient",
		on:   answer("RCPT", esmtp.Deny(550, 5, 1, 1, "nobody here")),
		script: greeting + ehlo + `
			C: MAIL FROM:<a@me.example>
			C: DATA
			C: RCPT TO:<b@example.org>
			C: RCPT TO:<c@example.org>
			C: DATA
			S: 250 2.1.0 *
			S: 503 5.5.1 Need RCPT (recipient)
			S: 550 5.1.1 nobody here
			S: 550 5.1.1 nobody here
			S: 554 5.5.1 No valid recipients, all were refused: nobody here`,
	}, {
		name: "A21 ≠ the message comes only after 354",
		on:   answer("DATA", esmtp.Deny(554, 5, 7, 1, "not today")),
		script: opening + `
			C: DATA
			C: NOOP
			S: 554 5.7.1 not today
			S: 250 2.0.0 OK`,
	}, {
		name: "A21 the text of 354",
		script: opening + `
			C: DATA
			S: 354 Enter mail, end with "." on a line by itself`,
	}})
}
