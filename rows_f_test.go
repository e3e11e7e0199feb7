package esmtp_test

import (
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// F01, F05: what a hook can ask the session, and that it is gone with the transaction.
func TestF01SessionTellsWhatIsKnown(t *testing.T) {
	var seen []string
	srv, log := newSpy(func(s *esmtp.Session, verb, _ string) esmtp.Reply {
		tx, state := s.Transaction(), "no transaction"
		if tx != nil {
			state = tx.From().String() + " " + strings.Repeat("+", len(tx.Recipients())) + strings.Repeat("-", len(tx.Refused()))
		}
		seen = append(seen, verb+": "+s.HELO()+" "+s.Protocol()+" "+state)
		if verb == "RCPT" && len(tx.Recipients()) == 1 {
			return esmtp.Deny(550, 5, 1, 1, "nobody")
		}
		if s.TLS() != nil || s.Server() == nil || s.Handler() == nil {
			t.Error("got TLS, no server or no handler")
		}
		return esmtp.Reply{}
	})
	esmtptest.Run(t, srv, opening+`
		C: RCPT TO:<c@example.org>
		C: DATA
		S: 550 *
		S: 354 *
		C: .
		C: HELO other
		C: QUIT
		S: 250 *
		S: 250 *
		S: 221 *
		close`)
	log.end(t)
	want := []string{
		"CONNECT:  SMTP no transaction", "EHLO:  SMTP no transaction", "MAIL: me.example ESMTP a@me.example ",
		"RCPT: me.example ESMTP a@me.example ", "RCPT: me.example ESMTP a@me.example +", "DATA: me.example ESMTP a@me.example +-",
		"EOH: me.example ESMTP a@me.example +-", "EOM: me.example ESMTP a@me.example +-", "HELO: me.example ESMTP no transaction",
		"QUIT: other SMTP no transaction", "Closed: other SMTP no transaction",
	}
	if got := strings.Join(seen, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// F04, F05, F06, F07: replies of the Go fork's sessions.
func TestRowsFork(t *testing.T) {
	runRows(t, []row{{
		name:   "F05 EOM has the text of the last 250",
		on:     answer("EOM", esmtp.Deny(250, 2, 6, 0, "queued as 42")),
		script: message(`.\r\n`) + "S: 250 2.6.0 queued as 42",
	}, {
		name:   "F06 a code that isn't set is X.0.0",
		on:     answer("MAIL", esmtp.Say(451, "later")),
		script: greeting + ehlo + "C: MAIL FROM:<>\nS: 451 4.0.0 later",
	}, {
		name:   "F06 NoEnhanced suppresses it",
		on:     answer("MAIL", esmtp.Reply{Code: 451, Enh: esmtp.NoEnhanced, Lines: []string{"later"}}),
		script: greeting + ehlo + "C: MAIL FROM:<>\nS: 451 later",
	}, {
		name:   "F07 too much data is 552 5.3.4, and the session goes on",
		set:    func(srv *esmtp.Server) { srv.Limits.MessageBytes = 5 },
		script: message(`\r\nabcd\r\n.\r\nNOOP\r\n`) + "S: 552 5.3.4 *\nS: 250 *",
	}, {
		name:   "F07 stuffed dots don't count (RFC 1870 §5)",
		set:    func(srv *esmtp.Server) { srv.Limits.MessageBytes = 5 },
		script: message(`\r\n..\r\n.\r\n`) + "S: 250 *",
	}, {
		name:   "F07 and exactly the limit is not over it",
		set:    func(srv *esmtp.Server) { srv.Limits.MessageBytes = 5 },
		script: message(`\r\na\r\n.\r\n`) + "S: 250 *",
	}, {
		name:   "F11 ≠ CRLF stays CRLF",
		script: message(`\r\na\r\nb\r\n.\r\n`) + "S: 250 *",
		calls:  said + "EOH blank line\nBODY a\\r\\nb\\r\\n\nEOM",
	}})
}

// F02: the options of a server, but for those of TLS, AUTH and LMTP, are its fields; each has a test of its own. Here that the
// settings of one server are none of another's.
func TestF02OptionsArePerServer(t *testing.T) {
	strict := esmtptest.NewServer(t, &esmtp.Server{Hostname: "strict.example", Strict: true, Limits: esmtp.Limits{MessageBytes: 7}})
	loose := esmtptest.NewServer(t, &esmtp.Server{Hostname: "loose.example", AllowNoHELO: true})
	strict.Dial().Run("S: 220 strict.example *\nC: MAIL FROM: <>\nC: EHLO me\nS: 503 *\nS: 250-strict.example *\nS: ...\nC: MAIL FROM: <>\nS: 501 *")
	loose.Dial().Run("S: 220 loose.example *\nC: MAIL FROM: <>\nS: 250 *")
}

// F03: a session's state begins with the session and ends with it.
func TestF03HandlersAreNotReused(t *testing.T) {
	s := esmtptest.NewServer(t, &esmtp.Server{NewHandler: func(*esmtp.Session) esmtp.Handler { return new(counting) }})
	for range 3 {
		s.Dial().Run(greeting + "C: NOOP\nC: QUIT\nS: 250 2.0.0 1\nS: 221 *\nclose")
	}
}

// F08: every live connection can be seen from outside, and what it does.
func TestF08SessionsShowTheirState(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	srv, _ := newSpy(do("NOOP", func(*esmtp.Session) { in <- struct{}{}; <-out }))
	s := esmtptest.NewServer(t, srv)
	c := s.Dial()
	c.Run(greeting + "C: NOOP\nsend")
	<-in
	if list := srv.Sessions(); len(list) != 1 || list[0].State != esmtp.StateBusy || list[0].State.String() != "busy" {
		t.Errorf("got %+v, want one busy session", list)
	}
	close(out)
	c.Run("S: 250 *")
}

// A transaction is replaced as a whole: what a hook keeps of one does not change with the next.
func TestATransactionIsReplacedAsAWhole(t *testing.T) {
	var kept []*esmtp.Transaction
	ended := 0
	srv, _ := newSpy(do("RCPT", func(s *esmtp.Session) {
		kept = append(kept, s.Transaction())
		s.Transaction().OnEnd(func() { ended++ })
	}))
	c := esmtptest.Dial(t, srv)
	c.Run(opening + "C: RSET\nS: 250 *\nC: MAIL FROM:<x@me.example> ENVID=2\nC: RCPT TO:<y@example.org>\nS: 250 *\nS: 250 *\nC: EHLO me.example\nS: ...")
	if len(kept) != 2 || kept[0] == kept[1] || ended != 2 || kept[0].ID() == kept[1].ID() {
		t.Fatalf("got %d transactions, %d ended, want 2 of each, different ones", len(kept), ended)
	}
	if got := kept[0].From().String() + " " + kept[0].Recipients()[0].Path.String(); got != "a@me.example b@example.org" {
		t.Errorf("got %q in the first, want its own envelope", got)
	}
	if got := kept[1].From().EnvID() + " " + kept[1].Recipients()[0].Path.String(); got != "2 y@example.org" {
		t.Errorf("got %q in the second, want its own envelope", got)
	}
}
