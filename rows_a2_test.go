package esmtp_test

import (
	"testing"

	"github.com/caddy-esmtp/esmtp"
)

// message is the dialogue of a message sent at once, up to its reply.
func message(octets string) string { return opening + "C: DATA\nS: 354 *\nC| " + octets + "\n" }

const said = "EHLO me.example\nMAIL a@me.example\nRCPT b@example.org\nDATA\n"

// The rows of Apache2::Protocol::ESMTP, the message.
func TestRowsMessage(t *testing.T) {
	runRows(t, []row{{
		name:   "A22 in a message nothing is a command",
		script: message(`Subject: x\r\n\r\nRSET\r\nQUIT\r\n.\r\n`) + "S: 250 2.0.0 Message accepted for delivery",
		calls:  said + "HEADER Subject: x\nEOH blank line\nBODY RSET\\r\\nQUIT\\r\\n\nEOM",
	}, {
		name:   "A23 HEADER once per field, leading white space dropped",
		script: message(`A:1\r\nB:  \t 2 \r\n!\x7e~: 3\r\n\r\n.\r\n`) + "S: 250 *",
		calls:  said + "HEADER A: 1\nHEADER B: 2\nHEADER !~~: 3\nEOH blank line\nEOM",
	}, {
		name:   "A24 ≠ folded values lose CRLF and keep white space",
		script: message(`F: one\r\n  two\r\n\tthree\r\n\r\n.\r\n`) + "S: 250 *",
		calls:  said + "HEADER F: one  two\\tthree\nEOH blank line\nEOM",
	}, {
		name:   "A25 ≠ an empty value is empty",
		script: message(`Empty:\r\nFolded:\r\n x\r\n\r\n.\r\n`) + "S: 250 *",
		calls:  said + "HEADER Empty:\nHEADER Folded: x\nEOH blank line\nEOM",
	}, {
		name:   "A26 a bare LF in the header is refused, after the end",
		script: message(`Subject:\nRSET\r\n\r\nb\r\n.\r\n`) + "S: 554 5.6.0 *\nC: NOOP\nS: 250 2.0.0 OK",
		calls:  said + "NOOP",
	}, {
		name:   "A26 fixed",
		set:    func(srv *esmtp.Server) { srv.BareNewlines = esmtp.FixBare },
		script: message(`Subject:\nA: b\r\n\r\nb\r\n.\r\n`) + "S: 250 *",
		calls:  said + "HEADER Subject:\nHEADER A: b\nEOH blank line\nBODY b\\r\\n\nEOM",
	}, {
		name:   "A26 stripped",
		set:    func(srv *esmtp.Server) { srv.BareNewlines = esmtp.StripBare },
		script: message(`Subject:\nA: b\r\n\r\nb\rc\r\n.\r\n`) + "S: 250 *",
		calls:  said + "HEADER Subject: A: b\nEOH blank line\nBODY bc\\r\\n\nEOM",
	}, {
		name:   "A26 passed, but no value has a line break",
		set:    func(srv *esmtp.Server) { srv.BareNewlines = esmtp.PassBare },
		script: message(`Subject:\nA: b\r\n\r\nb\rc\nd\r\n.\r\n`) + "S: 250 *",
		calls:  said + "HEADER Subject: A: b\nEOH blank line\nBODY b\\rc\\nd\\r\\n\nEOM",
	}, {
		name:   "A27 EOH tells why: malformed, with the held field first",
		script: message(`A: 1\r\nno field\r\nb\r\n.\r\n`) + "S: 250 *",
		calls:  said + "HEADER A: 1\nEOH malformed line\nBODY no field\\r\\nb\\r\\n\nEOM",
	}, {
		name:   "A28 the line that ended the header goes to BODY unless it is blank",
		script: message(`no field\r\n\r\nb\r\n.\r\n`) + "S: 250 *",
		calls:  said + "EOH malformed line\nBODY no field\\r\\n\\r\\nb\\r\\n\nEOM",
	}, {
		name:   "A28 or the message is refused",
		set:    func(srv *esmtp.Server) { srv.BadHeader = esmtp.RejectBad },
		script: message(`A: 1\r\nno field\r\nb\r\n.\r\n`) + "S: 550 5.6.0 *",
		calls:  said + "HEADER A: 1",
	}, {
		name:   "A29 a fold without a field is malformed",
		script: message(` folded\r\nA: 1\r\n\r\nb\r\n.\r\n`) + "S: 250 *",
		calls:  said + "EOH malformed line\nBODY  folded\\r\\nA: 1\\r\\n\\r\\nb\\r\\n\nEOM",
	}, {
		name:   "A30 ≠ dots are unstuffed",
		script: message(`\r\n..\r\n...a\r\n.b\r\nc.\r\n.\r\n`) + "S: 250 *",
		calls:  said + "EOH blank line\nBODY .\\r\\n..a\\r\\nb\\r\\nc.\\r\\n\nEOM",
	}, {
		name: "A31 the end is found over any border",
		script: opening + `
			C: DATA
			S: 354 *
			C| \r
			send
			C| \nb
			send
			C| \r
			send
			C| \n
			send
			C| .
			send
			C| \r
			send
			C| \nNOOP\r
			send
			C| \n
			S: 250 *
			S: 250 2.0.0 OK`,
		calls: said + "EOH blank line\nBODY b\\r\\n\nEOM\nNOOP",
	}, {
		name:   "A32 ≠ an empty message has no body",
		script: message(`.\r\n`) + "S: 250 *",
		calls:  said + "EOH end of message\nEOM",
	}, {
		name:   "A33 ≠ a header without a blank line ends with the message",
		script: message(`A: 1\r\n.\r\n`) + "S: 250 *",
		calls:  said + "HEADER A: 1\nEOH end of message\nEOM",
	}, {
		name:   "A34 ≠ what follows the dot are commands",
		script: message(`\r\nb\r\n.\r\nNOOP one\r\nNOOP two\r\nQUIT\r\n`) + "S: 250 *\nS: 250 *\nS: 250 *\nS: 221 *\nclose",
		calls:  said + "EOH blank line\nBODY b\\r\\n\nEOM\nNOOP one\nNOOP two\nQUIT",
	}, {
		name:   "A35 EOM decides, and the transaction is gone after it",
		on:     answer("EOM", esmtp.Deny(450, 4, 7, 1, "later")),
		script: message(`\r\n.\r\n`) + "S: 450 4.7.1 later\nC: DATA\nS: 503 5.5.1 Need MAIL command",
	}, {
		name:   "A36 no other dot ends the data",
		set:    func(srv *esmtp.Server) { srv.BareNewlines = esmtp.PassBare },
		script: message(`\r\na\n.\nb\n.\r\nc\r.\rd\r\n.\ne\r\n.\r\n`) + "S: 250 *",
		calls:  said + "EOH blank line\nBODY a\\n.\\nb\\n.\\r\\nc\\r.\\rd\\r\\n\\ne\\r\\n\nEOM",
	}})
}

// The rows of Apache2::Protocol::ESMTP, the other commands.
func TestRowsOther(t *testing.T) {
	runRows(t, []row{{
		name: "A37 RSET drops the transaction, whatever its hook says",
		on:   answer("RSET", esmtp.Deny(451, 4, 3, 0, "no")),
		script: opening + `
			C: RSET
			C: RCPT TO:<b@example.org>
			S: 451 4.3.0 no
			S: 503 5.5.1 *`,
	}, {
		name: "A38 VRFY and EXPN, at any time",
		script: greeting + `
			C: VRFY someone
			C: EXPN staff
			S: 252 2.0.0 Cannot VRFY user; try RCPT to attempt delivery
			S: 502 5.5.1 Sorry we don't allow this operation`,
		calls: "VRFY someone\nEXPN staff",
	}, {
		name: "A39 HELP lists the verbs, added ones too; ≠ HELPFOO is unknown",
		on: do("CONNECT", func(s *esmtp.Session) {
			s.Handle("ping", func(*esmtp.Session, string) esmtp.Reply { return esmtp.OK("pong") })
		}),
		script: greeting + `
			C: HELP
			C: HELP MAIL
			C: HELPFOO
			S: 214-2.0.0 This is mx.example.org, ESMTP Mail Server
			S: 214 2.0.0 HELO EHLO MAIL RCPT DATA BDAT RSET VRFY EXPN HELP NOOP QUIT PING
			S: ...
			S: 500 5.5.1 Command unrecognized: HELPFOO`,
		calls: "HELP\nHELP MAIL\nUNKNOWN HELPFOO",
	}, {
		name:   "A40 QUIT",
		script: greeting + "C: NOOP\nC: QUIT\nS: 250 2.0.0 OK\nS: 221 2.0.0 Closing connection\nclose",
	}, {
		name:   "A40 QUIT can stay",
		on:     do("QUIT", func(s *esmtp.Session) { s.Disconnect(false) }),
		script: opening + "C: QUIT\nC: NOOP\nS: 221 *\nS: 250 2.0.0 OK",
	}, {
		name:   "A41 Disconnect works in any verb, after the reply",
		on:     do("NOOP", func(s *esmtp.Session) { s.Disconnect(true) }),
		script: greeting + "C: NOOP\nC: NOOP\nS: 250 2.0.0 OK\nclose",
		calls:  "NOOP",
	}, {
		name:   "A41 ≠ in CONNECT too",
		on:     do("CONNECT", func(s *esmtp.Session) { s.Disconnect(true) }),
		script: "S: 220 *\nclose",
	}, {
		name:   "A41 in a message, after its reply",
		on:     do("BODY", func(s *esmtp.Session) { s.Disconnect(true) }),
		script: message(`\r\na\r\nb\r\n.\r\nNOOP\r\n`) + "S: 250 *\nclose",
		calls:  said + "EOH blank line\nBODY a\\r\\nb\\r\\n\nEOM",
	}})
}
