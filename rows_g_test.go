package esmtp_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// edit is a hook that changes what Default returns for EHLO.
func edit(f func(lines []string) []string) hook {
	return func(s *esmtp.Session, verb, arg string) esmtp.Reply {
		if verb != "EHLO" {
			return esmtp.Reply{}
		}
		r := esmtp.Default{}.EHLO(s, arg)
		r.Lines = f(r.Lines)
		return r
	}
}

// without takes a keyword out, with says another line.
func without(keyword string) hook {
	return edit(func(lines []string) (kept []string) {
		for _, line := range lines {
			if name, _, _ := strings.Cut(line, " "); name != keyword {
				kept = append(kept, line)
			}
		}
		return kept
	})
}

func with(line string) hook {
	return edit(func(lines []string) []string { return append(lines, line) })
}

// The rows of gen_smtp that concern EHLO: what is advertised is what is enabled.
func TestRowsOffers(t *testing.T) {
	mail := greeting + ehlo + "C: MAIL FROM:<a@me.example>"
	runRows(t, []row{{
		name: "G04 HELO may set the size limit",
		on:   do("HELO", func(s *esmtp.Session) { s.SetMaxSize(3) }),
		script: greeting + `
			C: HELO me
			S: 250 mx.example.org *
			C: MAIL FROM:<a@me.example>
			C: RCPT TO:<b@example.org>
			C: DATA
			S: 250 *
			S: 250 *
			S: 354 *
			C|abc\r\n.\r\n
			S: 552 5.3.4 *`,
	}, {
		name: "G04 and so may EHLO, before Default advertises it",
		on: func(s *esmtp.Session, verb, arg string) esmtp.Reply {
			if verb != "EHLO" {
				return esmtp.Reply{}
			}
			s.SetMaxSize(1000)
			return esmtp.Default{}.EHLO(s, arg)
		},
		script: mail + " SIZE=1001\nS: 552 5.3.4 *",
	}, {
		name:   "G05 HELO says our name",
		script: greeting + "C: HELO me\nS: 250 mx.example.org OK",
	}, {
		name:   "G06 SMTPUTF8 taken out",
		on:     without("SMTPUTF8"),
		script: mail + " SMTPUTF8\nC: VRFY é SMTPUTF8\nS: 555 5.5.4 *\nS: 555 5.5.4 *",
	}, {
		name:   "G06 8BITMIME taken out",
		on:     without("8BITMIME"),
		script: mail + " BODY=8BITMIME\nS: 555 5.5.4 *",
	}, {
		name:   "G06 BINARYMIME taken out",
		on:     without("BINARYMIME"),
		script: mail + " BODY=BINARYMIME\nS: 555 5.5.4 *\nC: MAIL FROM:<> BODY=8BITMIME\nS: 250 *",
	}, {
		name:   "G06 DSN taken out",
		on:     without("DSN"),
		script: mail + " RET=HDRS\nS: 555 *\nC: MAIL FROM:<>\nC: RCPT TO:<b@me.example> NOTIFY=NEVER\nS: 250 *\nS: 555 *",
	}, {
		name:   "G06 SIZE taken out",
		on:     without("SIZE"),
		script: mail + " SIZE=1\nS: 555 *",
	}, {
		name:   "G06 ENHANCEDSTATUSCODES taken out",
		on:     without("ENHANCEDSTATUSCODES"),
		script: greeting + ehlo + "C: NOOP\nC: X\nC: MAIL FROM:<>\nS: 250 OK\nS: 500 Command *\nS: 250 <>, sender ok",
	}, {
		name:   "G06 CHUNKING taken out",
		on:     without("CHUNKING"),
		script: opening + `C|BDAT 6\r\nNOOP\r\n` + "\nS: 503 5.5.1 *",
	}, {
		name:   "G06 a keyword of one's own names a parameter too",
		on:     with("XOORG"),
		script: mail + " XOORG=me\nS: 250 *",
		calls:  "EHLO me.example\nMAIL a@me.example XOORG=me",
	}, {
		name:   "G06 given twice it is 501",
		on:     with("XOORG"),
		script: mail + " XOORG=me xoorg=you\nS: 501 5.5.4 *",
	}, {
		name:   "G06 a line that is no extension is left out",
		on:     with("X-ONE\r\n250-X-TWO"),
		script: greeting + "C: EHLO me\nS: 250-*\nS: 250-PIPELINING\nS: ...\nC: MAIL FROM:<> X-TWO\nS: 555 *",
	}, {
		name:   "G07 SIZE changed",
		on:     with("size 1000"),
		script: mail + " SIZE=1001\nC: MAIL FROM:<a@me.example> SIZE=1000\nS: 552 5.3.4 *\nS: 250 *",
	}, {
		name:   "G07 SIZE 0 is no limit",
		set:    func(srv *esmtp.Server) { srv.Limits.MessageBytes = 1000 },
		on:     with("SIZE 0"),
		script: mail + " SIZE=1000000\nS: 250 *",
	}, {
		name:   "G07 no limit at all is SIZE 0 (RFC 1870 §4)",
		set:    func(srv *esmtp.Server) { srv.Limits = esmtp.Limits{MessageBytes: -1, Recipients: -1, Messages: -1} },
		script: greeting + "C: EHLO me\nS: 250-mx.*\nS: 250-PIPELINING\nS: 250-8BITMIME\nS: 250-SMTPUTF8\nS: 250-ENHANCED*\nS: 250-CHUNKING\nS: 250-BIN*\nS: 250-DSN\nS: 250-SIZE 0\nS: 250 HELP",
	}, {
		name:   "RFC 9422 LIMITS changed",
		on:     with("LIMITS RCPTMAX=1 MAILMAX=1"),
		script: opening + "C: RCPT TO:<c@example.org>\nC: RSET\nC: MAIL FROM:<>\nS: 452 4.5.3 *\nS: 250 *\nS: 452 4.5.3 *",
	}, {
		name:   "G09 ≠ an EHLO without extensions is as good as any",
		on:     edit(func([]string) []string { return nil }),
		script: greeting + "C: EHLO me\nC: MAIL FROM:<a@me.example>\nS: 250 mx.example.org\nS: 250 *",
	}, {
		name:   "G11 no name",
		script: greeting + "C: EHLO\nC: HELO\nS: 501 *\nS: 501 *",
	}})
}

// The rows of gen_smtp that concern the envelope.
func TestRowsEnvelope(t *testing.T) {
	mail := greeting + ehlo + "C: MAIL FROM:<a@me.example>"
	runRows(t, []row{{
		name:   "G18 a refusal in the handler's words",
		on:     answer("MAIL", esmtp.Deny(550, 5, 7, 1, "not you", "nor you")),
		script: mail + "\nS: 550-5.7.1 not you\nS: 550 5.7.1 nor you",
	}, {
		name:   "G20 ≠ names of parameters in any case, values as they are",
		on:     with("XFOO"),
		script: mail + " xFoo=Bar envid=Ab+2B body=8bitmime\nS: 250 *",
		calls:  "EHLO me.example\nMAIL a@me.example xFoo=Bar envid=Ab+2B body=8bitmime",
	}, {
		name:   "G22 ≠ SIZE=abc and BINARYMIME crash nothing",
		script: mail + " SIZE=abc\nC: MAIL FROM:<> BODY=BINARYMIME\nS: 501 5.5.4 *\nS: 250 *",
	}, {
		name:   "G23 BODY and SMTPUTF8 stay with the envelope",
		script: mail + " BODY=8BITMIME SMTPUTF8 SIZE=5\nC: RCPT TO:<ü@example.org>\nS: 250 *\nS: 250 2.1.5 ü@example.org, recipient ok",
		on: do("RCPT", func(s *esmtp.Session) {
			tx := s.Transaction()
			if size, ok := tx.From().Size(); tx.From().Body() != esmtp.Body8BitMIME || !tx.SMTPUTF8() || size != 5 || !ok {
				panic("lost")
			}
		}),
	}, {
		name:   "G24 RCPT TO:<> is none",
		script: mail + "\nC: RCPT TO:<>\nS: 250 *\nS: 501 5.1.3 *",
	}, {
		name:   "G25 ≠ parameters of RCPT come to the hook",
		on:     with("RRVS"),
		script: mail + "\nC: RCPT TO:<b@me.example> NOTIFY=SUCCESS,DELAY RRVS=2014-04-03T23:01:00Z\nS: 250 *\nS: 250 *",
		calls:  "EHLO me.example\nMAIL a@me.example\nRCPT b@me.example NOTIFY=SUCCESS,DELAY RRVS=2014-04-03T23:01:00Z",
	}, {
		name:   "G26 ≠ RCPT before MAIL",
		script: greeting + ehlo + "C: RCPT TO:<b@me.example>\nS: 503 5.5.1 *",
	}, {
		name:   "G28 ≠ the last CRLF is part of the message",
		script: message(`\r\na\r\n.\r\n`) + "S: 250 *",
		calls:  said + "EOH blank line\nBODY a\\r\\n\nEOM",
	}, {
		name:   "G28 ≠ a dot behind a lone LF is no stuffed one",
		set:    func(srv *esmtp.Server) { srv.BareNewlines = esmtp.PassBare },
		script: message(`\r\na\n..b\r\n.\r\n`) + "S: 250 *",
		calls:  said + "EOH blank line\nBODY a\\n..b\\r\\n\nEOM",
	}, {
		name:   "G32 RSET is asked before its reply",
		on:     answer("RSET", esmtp.OK("flushed")),
		script: greeting + "C: RSET\nS: 250 2.0.0 flushed",
	}, {
		name:   "G33 VRFY can say more",
		on:     answer("VRFY", esmtp.Deny(250, 2, 1, 5, "A <a@me.example>")),
		script: greeting + "C: VRFY a\nS: 250 2.1.5 A <a@me.example>",
	}, {
		name:   "G37 UNKNOWN gets the verb in upper case, and may stay silent",
		on:     answer("UNKNOWN", esmtp.NoReply),
		script: greeting + "C: xPing Some Text\nC: NOOP\nS: 250 *",
		calls:  "UNKNOWN XPING Some Text\nNOOP",
	}, {
		name:   "G45 ≠ with pass only CRLF.CRLF ends",
		set:    func(srv *esmtp.Server) { srv.BareNewlines = esmtp.PassBare },
		script: message(`\r\na\n.\nNOOP\r\n.\r\n`) + "S: 250 *",
		calls:  said + "EOH blank line\nBODY a\\n.\\nNOOP\\r\\n\nEOM",
	}, {
		name:   "G42 bare newlines are refused",
		script: message(`\r\na\nb\r\n.\r\n`) + "S: 554 5.6.0 *",
	}, {
		name:   "G43 ≠ or fixed, after the end was found",
		set:    func(srv *esmtp.Server) { srv.BareNewlines = esmtp.FixBare },
		script: message(`\r\na\n.\nNOOP\rb\r\n.\r\n`) + "S: 250 *",
		calls:  said + "EOH blank line\nBODY a\\r\\n.\\r\\nNOOP\\r\\nb\\r\\n\nEOM",
	}, {
		name:   "G44 or stripped",
		set:    func(srv *esmtp.Server) { srv.BareNewlines = esmtp.StripBare },
		script: message(`\r\nb\n.\nc\rd\r\n.\r\n`) + "S: 250 *",
		calls:  said + "EOH blank line\nBODY b.cd\\r\\n\nEOM",
	}, {
		name:   "G46 over a border of packets too",
		set:    func(srv *esmtp.Server) { srv.BareNewlines = esmtp.FixBare },
		script: opening + "C: DATA\nS: 354 *\n" + `C|\r\na\r` + "\nsend\n" + `C|\nb\r` + "\nsend\n" + `C|c\n` + "\nsend\n" + `C|\n.\r\n\r` + "\nsend\n" + `C|\n.\r\n` + "\nS: 250 *",
		calls:  said + "EOH blank line\nBODY a\\r\\nb\\r\\nc\\r\\n\\r\\n.\\r\\n\\r\\n\nEOM",
	}, {
		name:   "G48 ≠ an empty message ends",
		script: message(`.\r\n`) + "S: 250 *",
	}, {
		name:   "G49 ≠ two commands in a packet are two",
		script: message(`\r\n.\r\nNOOP\r\nQUIT\r\n`) + "S: 250 *\nS: 250 *\nS: 221 *\nclose",
	}, {
		name:   "G51 verbs in any case, spaces behind them",
		script: greeting + `C|noop   \r\n\r\n` + "\nS: 250 *\nS: 500 5.5.2 *",
	}})
}

// G01, G03: CONNECT knows who comes, and greets, refuses in its own words, or hangs up.
func TestG01CONNECTKnowsThePeer(t *testing.T) {
	var hostname string
	var remote, local net.Addr
	srv, _ := newSpy(do("CONNECT", func(s *esmtp.Session) {
		hostname, remote, local = s.Hostname(), s.RemoteAddr(), s.LocalAddr()
	}))
	esmtptest.NewServer(t, srv).DialFrom(tcpAddr("192.0.2.7")).Expect("220 *")
	if hostname != "mx.example.org" || remote.String() != "192.0.2.7:4000" || local != esmtptest.ServerAddr {
		t.Errorf("got %v, %v, %v", hostname, remote, local)
	}
}

// G21: what a hook keeps stays.
func TestG21StateStays(t *testing.T) {
	srv := &esmtp.Server{NewHandler: func(*esmtp.Session) esmtp.Handler { return new(counting) }}
	esmtptest.Run(t, srv, opening+"C: NOOP\nC: RSET\nC: NOOP\nS: 250 2.0.0 1\nS: 250 *\nS: 250 2.0.0 2")
}

// G54: without a hostname the system's is used, or localhost.
func TestG54HostnameHasADefault(t *testing.T) {
	names := make(chan string, 2)
	srv := &esmtp.Server{NewHandler: func(s *esmtp.Session) esmtp.Handler {
		names <- s.Hostname()
		return esmtp.Default{}
	}}
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := <-names; got == "" || strings.ContainsAny(got, " \t") {
		t.Errorf("got hostname %q, want a name", got)
	}
}
