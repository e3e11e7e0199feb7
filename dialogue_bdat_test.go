package esmtp_test

import (
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
)

const saidBDAT = "EHLO me.example\nMAIL a@me.example\nRCPT b@example.org\n"

// BDAT (RFC 3030). Whatever the answer, the octets of a chunk are consumed: the NOOP in them is never called.
func TestBDATKeepsTheStreamInSync(t *testing.T) {
	runRows(t, []row{{
		name:   "in one chunk",
		script: opening + `C|BDAT 7 LAST\r\nA: b\r\nxNOOP\r\n` + "\nS: 250 2.0.0 Message accepted for delivery\nS: 250 2.0.0 OK",
		calls:  saidBDAT + "DATA\nHEADER A: b\nEOH malformed line\nBODY x\nEOM\nNOOP",
	}, {
		name:   "in chunks that tear everything",
		script: opening + `C|BDAT 3\r\nA: BDAT 2\r\nb\rBDAT 3\r\n\n\r\nBDAT 0\r\nBDAT 4\r\n.\r\n.BDAT 1 LAST\r\nx` + "\nS: 250 2.0.0 3 octets received\nS: 250 *\nS: 250 *\nS: 250 2.0.0 0 octets received\nS: 250 *\nS: 250 2.0.0 Message *",
		calls:  saidBDAT + "DATA\nHEADER A: b\nEOH blank line\nBODY .\\r\\n.x\nEOM",
	}, {
		name:   "last in lower case",
		script: opening + `C|bdat 2 last\r\n\r\n` + "\nS: 250 2.0.0 Message *",
		calls:  saidBDAT + "DATA\nEOH blank line\nEOM",
	}, {
		name:   "an empty last chunk",
		script: opening + `C|BDAT 6\r\nA: b\r\nBDAT 0 LAST\r\n` + "\nS: 250 *\nS: 250 2.0.0 Message *",
		calls:  saidBDAT + "DATA\nHEADER A: b\nEOH end of message\nEOM",
	}, {
		name:   "without a transaction",
		script: greeting + ehlo + `C|BDAT 6\r\nNOOP\r\nBDAT 6 LAST\r\nNOOP\r\nVRFY x\r\n` + "\nS: 503 5.5.1 Need MAIL command\nS: 503 5.5.1 *\nS: 252 *",
		calls:  "EHLO me.example\nVRFY x",
	}, {
		name:   "before EHLO",
		script: greeting + `C|BDAT 6\r\nNOOP\r\nVRFY x\r\n` + "\nS: 503 5.5.1 *\nS: 252 *",
		calls:  "VRFY x",
	}, {
		name: "not offered",
		on: func(s *esmtp.Session, verb, _ string) esmtp.Reply {
			if verb == "EHLO" {
				return esmtp.OK("mx.example.org")
			}
			return esmtp.Reply{}
		},
		script: greeting + "C: EHLO me\nS: 250 *\n" + `C|BDAT 6 LAST\r\nNOOP\r\nVRFY x\r\n` + "\nS: 503 *\nS: 252 *",
		calls:  "EHLO me\nVRFY x",
	}, {
		name:   "after 554 in CONNECT",
		on:     answer("CONNECT", esmtp.Say(554)),
		script: "S: 554 *\n" + `C|BDAT 6\r\nQUIT\r\nVRFY x\r\n` + "\nS: 503 5.5.1 *\nS: 503 5.5.1 *",
		calls:  "-",
	}, {
		name: "without recipients: 503, with refused ones 554",
		on:   answer("RCPT", esmtp.Deny(550, 5, 1, 1, "nobody here")),
		script: greeting + ehlo + "C: MAIL FROM:<a@me.example>\n" + `C|BDAT 6\r\nNOOP\r\nRSET\r\n` + `
			S: 250 *
			S: 503 5.5.1 Need RCPT (recipient)
			S: 250 *
			C: MAIL FROM:<a@me.example>
			C: RCPT TO:<b@example.org>
			C|BDAT 6 LAST\r\nNOOP\r\n
			C: MAIL FROM:<a@me.example>
			S: 250 *
			S: 550 *
			S: 554 5.5.1 *
			S: 250 *`,
	}, {
		name:   "refused by DATA, with the reply of DATA, and then until LAST",
		on:     answer("DATA", esmtp.Deny(450, 4, 7, 1, "later")),
		script: opening + `C|BDAT 6\r\nNOOP\r\nBDAT 6\r\nNOOP\r\nBDAT 6 LAST\r\nNOOP\r\n` + "\nC: MAIL FROM:<>\nS: 450 4.7.1 later\nS: 503 5.5.1 *\nS: 503 5.5.1 *\nS: 250 2.1.0 *",
		calls:  saidBDAT + "DATA\nMAIL",
	}, {
		name:   "refused by BODY, with its reply at that chunk, and RSET clears it",
		on:     answer("BODY", esmtp.Deny(550, 5, 7, 1, "no")),
		script: opening + `C|BDAT 8\r\n\r\nNOOP\r\nBDAT 6\r\nNOOP\r\nRSET\r\n` + "\nC: MAIL FROM:<>\nS: 550 5.7.1 no\nS: 503 5.5.1 *\nS: 250 *\nS: 250 2.1.0 *",
		calls:  saidBDAT + "DATA\nEOH blank line\nBODY NOOP\\r\\n\nRSET\nMAIL",
	}, {
		name:   "over the size",
		set:    func(srv *esmtp.Server) { srv.Limits.MessageBytes = 10 },
		script: opening + `C|BDAT 12\r\nNOOP\r\nNOOP\r\nBDAT 6 LAST\r\nNOOP\r\n` + "\nC: NOOP\nS: 552 5.3.4 *\nS: 503 5.5.1 *\nS: 250 2.0.0 OK",
		calls:  saidBDAT + "DATA\nNOOP",
	}, {
		name:   "far over the size: not even read",
		set:    func(srv *esmtp.Server) { srv.Limits.MessageBytes = 10 },
		script: opening + "C: BDAT 1073741824\nS: 552 5.3.4 *\nclose",
	}, {
		name:   "a chunk size that can't be read",
		script: opening + `C|BDAT\r\nNOOP\r\n` + "\nS: 501 5.5.4 *\nclose",
		calls:  saidBDAT,
	}, {
		name:   "a negative one",
		script: opening + `C|BDAT -1\r\nNOOP\r\n` + "\nS: 501 5.5.4 *\nclose",
	}, {
		name:   "one that overflows",
		script: opening + `C|BDAT 9223372036854775808 LAST\r\nNOOP\r\n` + "\nS: 501 5.5.4 *\nclose",
	}, {
		name:   "another word than LAST",
		script: opening + `C|BDAT 6 FIRST\r\nNOOP\r\n` + "\nS: 501 5.5.4 *\nclose",
	}, {
		name:   "a control character in the line",
		script: opening + `C|BDAT 6\x00\r\nNOOP\r\n` + "\nS: 500 5.5.2 *\nclose",
		calls:  saidBDAT,
	}, {
		name:   "a tab for the space",
		script: opening + `C|BDAT` + `\t` + `6\r\nNOOP\r\n` + "\nS: 500 5.5.2 *\nclose",
		calls:  saidBDAT,
	}, {
		name:   "white space before it",
		script: opening + `C| \x20BDAT 6\r\nNOOP\r\n` + "\nS: 500 5.5.2 *\nclose",
		calls:  saidBDAT,
	}, {
		name:   "a line too long",
		script: opening + "C: BDAT " + long + "\nC: NOOP\nS: 500 5.5.2 *\nclose",
		calls:  saidBDAT,
	}, {
		name:   "a line far too long",
		script: opening + "C: BDAT " + strings.Repeat(long, 20) + "\nC: NOOP\nS: 421 4.7.0 *\nclose",
		calls:  saidBDAT,
	}})
}

// Between the chunks of a message only BDAT, RSET, NOOP and the like have a place.
func TestBDATOrder(t *testing.T) {
	chunk := opening + `C|BDAT 8\r\nA: b\r\n\r\n` + "\nS: 250 *\n"
	runRows(t, []row{{
		name: "MAIL, RCPT and DATA don't",
		script: chunk + `
			C: MAIL FROM:<x@me.example>
			C: RCPT TO:<c@example.org>
			C: DATA
			C: NOOP
			C|BDAT 1 LAST\r\nx
			S: 503 5.5.1 *
			S: 503 5.5.1 *
			S: 503 5.5.1 *
			S: 250 *
			S: 250 2.0.0 Message *`,
		calls: saidBDAT + "DATA\nHEADER A: b\nEOH blank line\nNOOP\nBODY x\nEOM",
	}, {
		name:   "RSET forgets the message",
		script: chunk + "C: RSET\n" + `C|BDAT 1 LAST\r\nx` + "\nS: 250 *\nS: 503 5.5.1 Need MAIL command",
	}, {
		name:   "so does EHLO",
		script: chunk + "C: EHLO me.example\nS: 250-*\nS: ...\n" + `C|BDAT 1 LAST\r\nx` + "\nS: 503 5.5.1 Need MAIL command",
	}, {
		name:   "the next message starts afresh, by DATA",
		script: chunk + `C|BDAT 1 LAST\r\nx` + "\nS: 250 *\n" + envelope + "C: DATA\nS: 354 *\nC: .\nS: 250 *",
		calls: saidBDAT + "DATA\nHEADER A: b\nEOH blank line\nBODY x\nEOM\nMAIL a@me.example\nRCPT b@example.org\nDATA\n" +
			"EOH end of message\nEOM",
	}, {
		name: "BINARYMIME needs BDAT, and is taken as it is",
		script: greeting + ehlo + `
			C: MAIL FROM:<a@me.example> BODY=BINARYMIME
			C: RCPT TO:<b@example.org>
			C: DATA
			C|BDAT 8 LAST\r\n\r\na\nb\rc\r
			S: 250 *
			S: 250 *
			S: 503 5.5.1 *
			S: 250 2.0.0 *`,
		calls: "EHLO me.example\nMAIL a@me.example BODY=BINARYMIME\nRCPT b@example.org\nDATA\nEOH blank line\nBODY a\\nb\\rc\\r\nEOM",
	}, {
		name:   "bare newlines are refused as in DATA, over the border of a chunk too",
		script: opening + `C|BDAT 4\r\n\r\na\rBDAT 1\r\nbBDAT 6 LAST\r\nNOOP\r\nNOOP\r\n` + "\nS: 250 *\nS: 554 5.6.0 *\nS: 503 5.5.1 *\nS: 250 *",
	}, {
		name:   "a CR at the very end is bare",
		script: opening + `C|BDAT 4 LAST\r\n\r\na\r` + "\nS: 554 5.6.0 *",
	}, {
		name:   "and can be fixed",
		set:    func(srv *esmtp.Server) { srv.BareNewlines = esmtp.FixBare },
		script: opening + `C|BDAT 4\r\n\r\na\rBDAT 3 LAST\r\nb\nc` + "\nS: 250 *\nS: 250 *",
		calls:  saidBDAT + "DATA\nEOH blank line\nBODY a\\r\\nb\\r\\nc\nEOM",
	}})
}

// After any refusal in a message, the rest of it is consumed (RFC 5321 §7.8 and the smuggling of 2023). Row G47.
func TestNothingInARefusedMessageIsACommand(t *testing.T) {
	rest := `A: b\r\n\r\nNOOP\r\nMAIL FROM:<x@me.example>\r\n.\r\nVRFY after\r\n`
	refused := func(verb string) row {
		return row{name: verb, on: answer(verb, esmtp.Deny(550, 5, 7, 1, "no")),
			script: message(rest) + "S: 550 5.7.1 no\nS: 252 *"}
	}
	rows := []row{refused("HEADER"), refused("EOH"), refused("BODY"), refused("EOM"), {
		name:   "size",
		set:    func(srv *esmtp.Server) { srv.Limits.MessageBytes = 9 },
		script: message(rest) + "S: 552 5.3.4 *\nS: 252 *",
		calls:  said + "VRFY after",
	}, {
		name:   "bare newline",
		script: message(`\nNOOP\n.\n`+rest) + "S: 554 5.6.0 *\nS: 252 *",
		calls:  said + "VRFY after",
	}, {
		name:   "header too large",
		set:    func(srv *esmtp.Server) { srv.Limits.HeaderBytes = 4 },
		script: message(rest) + "S: 552 5.3.4 *\nS: 252 *",
	}, {
		name:   "too many fields",
		set:    func(srv *esmtp.Server) { srv.Limits.HeaderFields = 1 },
		script: message(`C: d\r\n`+rest) + "S: 552 5.3.4 *\nS: 252 *",
	}, {
		name:   "a verdict of success drops the message",
		on:     answer("EOH", esmtp.OK("thank you")),
		script: message(rest) + "S: 250 2.0.0 thank you\nS: 252 *",
		calls:  said + "HEADER A: b\nEOH blank line\nVRFY after",
	}, {
		name:   "a verdict that is none",
		on:     answer("BODY", esmtp.Say(354)),
		script: message(rest) + "S: 451 4.3.0 *\nS: 252 *",
	}}
	for _, verb := range []string{"HEADER", "EOH", "BODY", "EOM"} {
		rows = append(rows, row{name: "panic in " + verb, on: do(verb, func(*esmtp.Session) { panic(verb) }),
			script: message(rest) + "S: 451 4.3.0 *\nS: 252 *"})
	}
	runRows(t, rows)
}
