package esmtp_test

import (
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
)

var long = strings.Repeat("x", 600)

// Replies to lines that are no commands.
func TestRepliesToBadLines(t *testing.T) {
	runRows(t, []row{{
		name:   "an empty line",
		script: greeting + `C|\r\n` + "\nS: 500 5.5.2 Bad syntax",
	}, {
		name:   "a line of spaces, a space first",
		script: greeting + `C|   \r\n NOOP\r\n` + "\nS: 500 5.5.2 Bad syntax\nS: 500 5.5.2 Bad syntax",
	}, {
		name:   "trailing spaces are tolerated (RFC 5321 §4.1.1)",
		script: greeting + `C|RSET  \r\nQUIT \r\n` + "\nS: 250 *\nS: 221 *\nclose",
	}, {
		name:   "verbs in any case",
		script: greeting + "C: nOoP\nC: eHlO me.example\nS: 250 2.0.0 OK\nS: 250-*\nS: ...",
	}, {
		name:   "keywords fold as ASCII only",
		script: greeting + "C: BDAT 0 LA\u017fT\nS: 501 5.5.4 *\nclose",
	}, {
		name:   "an unknown verb",
		script: greeting + "C: TURN\nC: NOOPX\nC: NOO\nS: 500 5.5.1 *\nS: 500 5.5.1 *\nS: 500 5.5.1 *",
	}, {
		name: "HTTP",
		script: greeting + `C|POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO me.example\r\n
			S: 421 4.7.0 mx.example.org This is a mail server, closing connection
			close`,
		calls: "-",
	}, {
		name:   "TLS where none is",
		script: greeting + `C|\x16\x03\x01\x00\n` + "\nS: 500 5.5.2 *\nclose",
	}, {
		name:   "a line that is too long",
		script: greeting + "C: NOOP " + long + "\nC: NOOP\nS: 500 5.5.2 Line too long\nS: 250 *",
		calls:  "NOOP",
	}, {
		name:   "one longer than the buffer",
		script: greeting + "C: NOOP " + strings.Repeat(long, 20) + "\nC: NOOP\nS: 500 5.5.2 Line too long\nS: 250 *",
		calls:  "NOOP",
	}, {
		name:   "extensions lengthen the lines of their verbs",
		script: greeting + ehlo + "C: MAIL FROM:<a@me.example>\nC: RCPT TO:<b@me.example> ORCPT=rfc822;" + long[:490] + "\nS: 250 *\nS: 250 2.1.5 *",
	}, {
		name:   "512 octets are enough, 513 are not",
		script: greeting + "C: NOOP " + long[:505] + "\nC: NOOP " + long[:506] + "\nS: 250 *\nS: 500 5.5.2 *",
	}, {
		name:   "what is not UTF-8 is not SMTPUTF8",
		script: greeting + ehlo + `C|VRFY \xc3<\xa9 SMTPUTF8\r\n` + "\nS: 500 5.5.2 Octet above 127 in a command",
		calls:  "EHLO me.example",
	}, {
		name:   "spaces at the end count too",
		script: greeting + `C|NOOP` + strings.Repeat(" ", 507) + `\r\n` + "\nS: 500 5.5.2 Line too long",
	}, {
		name:   "control characters",
		script: greeting + `C|NOOP a\x00\r\nNOOP\tb\r\nNOOP c\r\r\nNOOP\x7f\r\n` + "\nS: 500 5.5.2 *\nS: 500 5.5.2 *\nS: 500 5.5.2 *\nS: 500 5.5.2 *",
		calls:  "-",
	}, {
		name:   "octets above 127",
		script: greeting + ehlo + `C|NOOP \xc3\xa9\r\nFOO \xff\r\nHELO \xc3\xa9\r\n` + "\nS: 500 5.5.2 *\nS: 500 5.5.2 *\nS: 500*",
	}, {
		name:   "a lone LF ends a command line",
		script: greeting + `C|NOOP one\nNOOP two\n` + "\nS: 250 *\nS: 250 *",
		calls:  "NOOP one\nNOOP two",
	}, {
		name:   "not in strict mode",
		set:    func(srv *esmtp.Server) { srv.Strict = true },
		script: greeting + `C|NOOP one\nNOOP two\r\n` + "\nS: 500 5.5.2 *",
		calls:  "-",
	}})
}

// Replies to HELO, EHLO and the commands around a transaction.
func TestRepliesToCommands(t *testing.T) {
	runRows(t, []row{{
		name:   "HELO and EHLO want a name",
		script: greeting + "C: EHLO\nC: HELO a b\nC: EHLO " + long[:256] + "\nS: 501 EHLO *\nS: 501 HELO *\nS: 501 EHLO *",
		calls:  "-",
	}, {
		name:   "in strict mode a good one",
		set:    func(srv *esmtp.Server) { srv.Strict = true },
		script: greeting + "C: EHLO a_b\nC: EHLO [300.1.1.1]\nC: HELO -\nC: HELO [192.0.2.1]\nS: 501 *\nS: 501 *\nS: 501 *\nS: 250 *",
		calls:  "HELO [192.0.2.1]",
	}, {
		name:   "the greeting of EHLO is one line, however long: a second would be a keyword",
		set:    func(srv *esmtp.Server) { srv.Hostname = strings.Repeat("mx.", 82) + "example" },
		script: "S: 220 *\nC: EHLO " + strings.Repeat("a.", 124) + "example\nS: 250-mx.*\nS: 250-PIPELINING\nS: ...",
	}, {
		name:   "no argument where none belongs",
		script: opening + "C: DATA now\nC: RSET all\nC: QUIT it\nS: 501 5.5.4 DATA *\nS: 501 5.5.4 RSET *\nS: 501 5.5.4 QUIT *",
	}, {
		name:   "a parameter that nobody knows",
		script: greeting + ehlo + "C: MAIL FROM:<a@me.example> FOO=1\nC: MAIL FROM:<a@me.example> AUTH=<>\nS: 555 5.5.4 *FOO\nS: 555 5.5.4 *AUTH",
	}, {
		name: "keywords without parameters are none",
		script: greeting + ehlo + `
			C: MAIL FROM:<a@me.example> PIPELINING
			C: MAIL FROM:<a@me.example> HELP=1
			C: MAIL FROM:<a@me.example> DSN
			S: 555 *
			S: 555 *
			S: 555 *`,
	}, {
		name:   "a parameter of the other verb",
		script: greeting + ehlo + "C: MAIL FROM:<a@me.example> NOTIFY=NEVER\nC: MAIL FROM:<a@me.example>\nC: RCPT TO:<b@me.example> SIZE=1\nS: 555 *\nS: 250 *\nS: 555 *",
	}, {
		name:   "after HELO there are none",
		script: greeting + "C: HELO me.example\nS: 250 *\nC: MAIL FROM:<a@me.example> SIZE=1\nS: 555 5.5.4 *",
	}, {
		name: "a bad value, one too many, one twice",
		script: greeting + ehlo + `
			C: MAIL FROM:<a@me.example> SIZE=abc
			C: MAIL FROM:<a@me.example> SIZE
			C: MAIL FROM:<a@me.example> SIZE=
			C: MAIL FROM:<a@me.example> SMTPUTF8=1
			C: MAIL FROM:<a@me.example> BODY=9BIT
			C: MAIL FROM:<a@me.example> SIZE=1 SIZE=2
			C: MAIL FROM:<a@me.example> =1
			S: 501 5.5.4 Bad value of SIZE
			S: 501 5.5.4 Bad value of SIZE
			S: 501 5.5.4 Malformed parameter SIZE
			S: 501 5.5.4 Bad value of SMTPUTF8
			S: 501 5.5.4 Bad value of BODY
			S: 501 5.5.4 Parameter given twice: SIZE
			S: 501 5.5.4 Malformed parameter*`,
	}, {
		name: "bad addresses",
		script: greeting + ehlo + `
			C: MAIL FROM:<a@@me.example>
			C: MAIL TO:<a@me.example>
			C: MAIL FROM:<postmaster>
			C: MAIL FROM:<a@me.example>
			C: RCPT TO:<b@-.example>
			C: RCPT TO:<>
			C: RCPT TO:<` + long[:65] + `@me.example>
			C: RCPT FROM:<b@me.example>
			C: RCPT TO:<b>
			C: RCPT TO:<b@me.example>x
			C: RCPT TO:<PostMaster>
			S: 501 5.1.7 *
			S: 501 5.5.4 *
			S: 501 5.1.7 *
			S: 250 2.1.0 *
			S: 501 5.1.3 *
			S: 501 5.1.3 *
			S: 501 5.1.3 *
			S: 501 5.5.4 *
			S: 501 5.1.3 *
			S: 501 5.1.3 *
			S: 250 2.1.5 PostMaster, recipient ok`,
	}, {
		name: "an address that is not ASCII needs SMTPUTF8 (RFC 6531 §3.5)",
		script: greeting + ehlo + `
			C: MAIL FROM:<é@me.example>
			C: MAIL FROM:<a@me.example>
			C: RCPT TO:<b@é.example>
			C: RSET
			C: MAIL FROM:<é@me.example> SMTPUTF8
			C: RCPT TO:<b@É.example>
			S: 553 5.6.7 *
			S: 250 *
			S: 553 5.6.7 *
			S: 250 *
			S: 250 2.1.0 é@me.example, sender ok
			S: 250 2.1.5 b@É.example, recipient ok`,
		calls: "EHLO me.example\nMAIL a@me.example\nRSET\nMAIL é@me.example SMTPUTF8\nRCPT b@xn--9ca.example",
	}, {
		name: "a declared size over the limit (RFC 1870 §6.1)",
		set:  func(srv *esmtp.Server) { srv.Limits.MessageBytes = 1000 },
		script: greeting + ehlo + `
			C: MAIL FROM:<a@me.example> SIZE=1001
			C: MAIL FROM:<a@me.example> SIZE=99999999999999999999
			C: MAIL FROM:<a@me.example> SIZE=1000
			S: 552 5.3.4 *
			S: 552 5.3.4 *
			S: 250 2.1.0 *`,
		calls: "EHLO me.example\nMAIL a@me.example SIZE=1000",
	}, {
		name:   "too many recipients",
		set:    func(srv *esmtp.Server) { srv.Limits.Recipients = 1 },
		script: opening + "C: RCPT TO:<c@example.org>\nS: 452 4.5.3 *\nC: DATA\nS: 354 *\nC: .\nS: 250 *",
	}, {
		name:   "too many messages",
		set:    func(srv *esmtp.Server) { srv.Limits.Messages = 1 },
		script: opening + "C: RSET\nC: MAIL FROM:<a@me.example>\nS: 250 *\nS: 452 4.5.3 *",
	}})
}

// Replies of handlers that are no replies of their verb.
func TestRepliesThatAVerbCannotHave(t *testing.T) {
	for _, verb := range []string{"HELO", "EHLO", "MAIL", "RCPT", "DATA", "RSET", "VRFY", "EXPN", "HELP", "NOOP", "EOM", "UNKNOWN"} {
		code := 354
		if verb == "DATA" {
			code = 250
		}
		script := map[string]string{
			"HELO": greeting + "C: HELO me\n",
			"EHLO": greeting + "C: EHLO me\n",
			"MAIL": greeting + ehlo + "C: MAIL FROM:<>\n",
			"RCPT": greeting + ehlo + "C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<b@example.org>\n",
			"DATA": opening + "C: DATA\n",
			"EOM":  message(`.\r\n`),
		}[verb]
		if script == "" {
			script = greeting + "C: " + verb + " x\n"
		}
		if verb == "RSET" {
			script = greeting + "C: RSET\n"
		}
		want := "S: 451 4.3.0 *"
		if verb == "HELO" || verb == "EHLO" {
			want = "S: 451 Local*"
		}
		runRows(t, []row{{name: verb, on: answer(verb, esmtp.Say(code, "odd")), script: script + want}})
	}
}
