package esmtp_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// offers is a hook that offers more extensions, and leaves the other verbs to on.
func offers(on hook, lines ...string) hook {
	return func(s *esmtp.Session, verb, arg string) esmtp.Reply {
		switch {
		case verb == "EHLO":
			r := esmtp.Default{}.EHLO(s, arg)
			r.Lines = append(r.Lines, lines...)
			return r
		case on != nil:
			return on(s, verb, arg)
		}
		return esmtp.Reply{}
	}
}

// dialSubmission connects to a server at its submission port.
func dialSubmission(t *testing.T, srv *esmtp.Server) *esmtptest.Client {
	client, server := esmtptest.PipeAddr(esmtptest.ClientAddr, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 25), Port: 587})
	srv.Logger = esmtptest.NewLogger(t)
	go srv.ServeConn(server)
	return esmtptest.NewClient(t, client)
}

const everything = "DELIVERBY 100|FUTURERELEASE 86400 2030-06-01T00:00:00Z|MT-PRIORITY MIXER|RRVS|NO-SOLICITING net.example:ADV|REQUIRETLS"

// Parameters of MAIL and RCPT, and what they are answered where all extensions are offered.
func TestParameterValues(t *testing.T) {
	const ok, syntax = "250 *", "501 5.5.4 *"
	k := strings.Repeat("k", 1000)
	tests := []struct{ param, want string }{
		// RFC 2852 §4: by-time ";" by-mode [by-trace], by-time up to 9 digits with a sign.
		{"BY=100;R", ok}, {"BY=+100;r", ok}, {"BY=999999999;RT", ok}, {"BY=-999999999;NT", ok}, {"BY=0;n", ok}, {"by=120;rt", ok},
		{"BY=1000000000;N", syntax}, {"BY=;N", syntax}, {"BY=+;N", syntax}, {"BY=+-1;N", syntax}, {"BY=120", syntax},
		{"BY=120;", syntax}, {"BY=120;X", syntax}, {"BY=120;T", syntax}, {"BY=120;RX", syntax}, {"BY=120;RTT", syntax},
		{"BY=0;R", syntax}, {"BY=-1;R", syntax}, {"BY", syntax}, {"BY=1;N BY=1;N", syntax},
		// RFC 2852 §3: under the minimum only with "R".
		{"BY=99;R", "555 5.5.4 *"}, {"BY=99;N", ok},

		// RFC 4865 §3 (4): 1 to 999999999.
		{"HOLDFOR=1", ok}, {"HOLDFOR=86400", ok}, {"holdfor=60", ok},
		{"HOLDFOR=0", syntax}, {"HOLDFOR=01", syntax}, {"HOLDFOR=-1", syntax}, {"HOLDFOR=1000000000", syntax}, {"HOLDFOR", syntax},
		// RFC 4865 §4.2 (7), (8): no more than advertised.
		{"HOLDFOR=86401", syntax}, {"HOLDUNTIL=2030-06-01T00:00:01Z", syntax}, {"HOLDUNTIL=2030-06-01T00:00:00Z", ok},
		// RFC 4865 §3 (4): normalized to UTC.
		{"HOLDUNTIL=2029-06-01t12:00:00z", ok}, {"HOLDUNTIL=2029-06-01T12:00:00+00:00", ok}, {"HOLDUNTIL=2029-06-01T12:00:00.5Z", ok},
		{"HOLDUNTIL=2029-06-01T12:00:00+01:00", syntax}, {"HOLDUNTIL=2029-06-01T12:00:00", syntax}, {"HOLDUNTIL=2029-06-01", syntax},
		{"HOLDUNTIL=2029-02-29T12:00:00Z", syntax}, {"HOLDUNTIL=2029-06-01T24:00:00Z", syntax},
		// RFC 4865 §4.2 (9): one of them, once.
		{"HOLDFOR=1 HOLDUNTIL=2029-06-01T12:00:00Z", syntax}, {"HOLDFOR=1 HOLDFOR=1", syntax},
		// RFC 4865 §5.2.2: not beyond the time for delivery.
		{"HOLDFOR=200 BY=300;R", ok}, {"HOLDFOR=300 BY=200;R", syntax}, {"BY=-1;N HOLDFOR=1", syntax},
		{"HOLDUNTIL=2029-06-01T12:00:00Z BY=100;R", syntax},

		// RFC 6710 §7, §4.1.
		{"MT-PRIORITY=0", ok}, {"MT-PRIORITY=9", ok}, {"MT-PRIORITY=-9", ok}, {"mt-priority=3", ok},
		{"MT-PRIORITY=10", "501 5.5.2 *"}, {"MT-PRIORITY=-0", "501 5.5.2 *"}, {"MT-PRIORITY=+1", "501 5.5.2 *"},
		{"MT-PRIORITY=x", "501 5.5.2 *"}, {"MT-PRIORITY", "501 5.5.2 *"}, {"MT-PRIORITY=1 MT-PRIORITY=1", "501 5.5.2 *"},

		// RFC 3865 §2.2.
		{"SOLICIT=net.example:ADV", ok}, {"SOLICIT=a,b-_.:9", ok}, {"SOLICIT=" + k, ok},
		{"SOLICIT=1a", syntax}, {"SOLICIT=a,", syntax}, {"SOLICIT=,a", syntax}, {"SOLICIT=a;b", syntax}, {"SOLICIT", syntax},
		{"SOLICIT=" + k + "k", syntax},

		// Parameters of RCPT don't stand in MAIL, nor the keywords.
		{"RRVS=2020-01-01T00:00:00Z", "555 5.5.4 *"}, {"FUTURERELEASE=1", "555 5.5.4 *"}, {"NO-SOLICITING=a", "555 5.5.4 *"},
		{"DELIVERBY=1", "555 5.5.4 *"},

		// RFC 7293 §3.1.
		{"R RRVS=2020-01-01T00:00:00Z", ok}, {"R RRVS=2020-01-01T00:00:00+05:30;C", ok}, {"R rrvs=2020-01-01T00:00:00Z;r", ok},
		{"R RRVS=2016-12-31T23:59:60Z", ok}, {"R RRVS=2016-12-31T18:59:60-05:00", ok},
		{"R RRVS=2020-01-01T00:00:00.1Z", syntax}, {"R RRVS=2020-01-01T00:00:00Z;", syntax}, {"R RRVS=2020-01-01T00:00:00Z;X", syntax},
		{"R RRVS=2020-01-01T00:00:60Z", syntax}, {"R RRVS=2020-01-01", syntax}, {"R RRVS", syntax},
		{"R BY=120;R", "555 5.5.4 *"}, {"R SOLICIT=a", "555 5.5.4 *"},
	}
	srv, _ := newSpy(offers(nil, strings.Split(everything, "|")...))
	srv.Limits.Errors, srv.Limits.Junk = -1, -1
	c := dialSubmission(t, srv)
	c.Run(greeting + ehlo)
	for _, test := range tests {
		if param, rcpt := strings.CutPrefix(test.param, "R "); rcpt {
			c.Cmd("MAIL FROM:<a@me.example>", "250 *")
			c.Cmd("RCPT TO:<b@example.org> "+param, test.want)
		} else {
			c.Cmd("MAIL FROM:<a@me.example> "+param, test.want)
		}
		c.Cmd("RSET", "250 *")
	}
}

// A parameter whose extension nobody offers is 555; so is one that must not be offered here.
func TestParametersAreOffUnlessOffered(t *testing.T) {
	c := esmtptest.Dial(t, &esmtp.Server{Limits: esmtp.Limits{Errors: -1}})
	c.Run(greeting + ehlo)
	for _, param := range []string{"BY=120;R", "HOLDFOR=1", "HOLDUNTIL=2029-06-01T12:00:00Z", "MT-PRIORITY=1", "SOLICIT=a", "REQUIRETLS"} {
		c.Cmd("MAIL FROM:<a@me.example> "+param, "555 5.5.4 Parameter not recognized: *")
	}
	c.Cmd("MAIL FROM:<a@me.example>", "250 *")
	c.Cmd("RCPT TO:<b@example.org> RRVS=2020-01-01T00:00:00Z", "555 5.5.4 *")
	c.Cmd("RSET", "250 *")
	c.Cmd("ETRN example.org", "502 5.5.1 *")
	c.Cmd("HELP", "214 2.0.0 HELO EHLO MAIL RCPT DATA BDAT RSET VRFY EXPN HELP NOOP QUIT")
}

// What a method can ask of a path.
func TestTypedParameters(t *testing.T) {
	var from, to esmtp.Path
	srv, _ := newSpy(offers(func(s *esmtp.Session, verb, _ string) esmtp.Reply {
		if verb == "RCPT" {
			from = s.Transaction().From()
		}
		if verb == "DATA" {
			to = s.Transaction().Recipients()[0].Path
		}
		return esmtp.Reply{}
	}, strings.Split(everything, "|")...))
	c := dialSubmission(t, srv)
	c.Run(greeting + ehlo)
	c.Cmd("MAIL FROM:<a@me.example> BY=7200;RT HOLDFOR=3600 MT-PRIORITY=-3 SOLICIT=a,net.example:ADV RET=FULL", "250 *")
	c.Cmd("RCPT TO:<b@example.org> RRVS=2020-01-01T00:00:00+05:30;C", "250 *")
	c.Cmd("DATA", "354 *")
	now := time.Now()
	if by, ok := from.DeliverBy(); !ok || by != (esmtp.DeliverBy{Within: 2 * time.Hour, Return: true, Trace: true}) {
		t.Errorf("DeliverBy: %+v, %v", by, ok)
	}
	if at, ok := from.ReleaseAt(now); !ok || at.Sub(now) != time.Hour {
		t.Errorf("ReleaseAt: %v, %v", at, ok)
	}
	if _, ok := from.HoldUntil(); ok {
		t.Error("HoldUntil without HOLDUNTIL")
	}
	if level, ok := from.Priority(); !ok || level != -3 {
		t.Errorf("Priority: %d, %v", level, ok)
	}
	if got := from.Solicit(); len(got) != 2 || got[1] != "net.example:ADV" {
		t.Errorf("Solicit: %q", got)
	}
	if r, ok := to.RRVS(); !ok || !r.Continue || !r.Since.Equal(time.Date(2019, 12, 31, 18, 30, 0, 0, time.UTC)) {
		t.Errorf("RRVS: %+v, %v", r, ok)
	}
	if from.RequireTLS() || from.Ret() != "FULL" {
		t.Errorf("RequireTLS %v, Ret %q", from.RequireTLS(), from.Ret())
	}
	var none esmtp.Path
	_, by := none.DeliverBy()
	_, at := none.ReleaseAt(now)
	_, level := none.Priority()
	_, rrvs := none.RRVS()
	if by || at || level || rrvs || none.Solicit() != nil {
		t.Error("a path without parameters has some")
	}
}

// RFC 8689 §2: REQUIRETLS is offered in TLS only, and a client that asks for it in the clear learns why not.
func TestREQUIRETLSNeedsTLS(t *testing.T) {
	srv, config := tlsServer(t)
	var from esmtp.Path
	spied, _ := newSpy(offers(func(s *esmtp.Session, verb, _ string) esmtp.Reply {
		if verb == "MAIL" {
			from = s.Transaction().From()
		}
		return esmtp.Reply{}
	}, "REQUIRETLS"))
	srv.NewHandler = spied.NewHandler
	c := esmtptest.Dial(t, srv)
	c.Run("S: 220 *\nC: EHLO a")
	if lines, _ := c.ReadReply(); strings.Contains(strings.Join(lines, " "), "REQUIRETLS") {
		t.Errorf("offered in the clear: %q", lines)
	}
	c.Cmd("MAIL FROM:<a@me.example> REQUIRETLS", "550 5.7.30 *")
	startTLS(t, c, config)
	c.Send("EHLO a")
	if lines, _ := c.ReadReply(); !strings.Contains(strings.Join(lines, " "), "REQUIRETLS") {
		t.Errorf("not offered in TLS: %q", lines)
	}
	c.Cmd("MAIL FROM:<a@me.example> REQUIRETLS=1", "501 5.5.4 *")
	c.Cmd("MAIL FROM:<a@me.example> RET=FULL RequireTLS", "250 *")
	if !from.RequireTLS() || from.Ret() != "HDRS" { // RFC 8689 §5
		t.Errorf("RequireTLS %v, Ret %q", from.RequireTLS(), from.Ret())
	}
}

// What EHLO returns is offered only if it says what the extension's RFC asks for, where it may be offered.
func TestOffers(t *testing.T) {
	profile := strings.Repeat("p", 20)
	tests := []struct {
		line       string
		ok, port25 bool
	}{
		{"DELIVERBY", true, true}, {"DELIVERBY 240", true, true}, {"DELIVERBY 240,x,y", true, true}, {"DELIVERBY ,x", true, true},
		{"DELIVERBY x", false, false}, {"DELIVERBY 1,", false, false}, {"DELIVERBY 1234567890", false, false},
		// RFC 4865 §4.2 (2): not at port 25.
		{"FUTURERELEASE 86400 2030-06-01T00:00:00Z", true, false}, {"FUTURERELEASE", false, false}, {"FUTURERELEASE 86400", false, false},
		{"FUTURERELEASE 0 2030-06-01T00:00:00Z", false, false}, {"FUTURERELEASE 1 2030-06-01", false, false},
		{"MT-PRIORITY", true, true}, {"MT-PRIORITY " + profile, true, true}, {"MT-PRIORITY " + profile + "p", false, false},
		{"MT-PRIORITY a b", false, false}, {"RRVS", true, true}, {"RRVS x", false, false}, {"ETRN", true, true}, {"ETRN x", false, false},
		{"NO-SOLICITING", true, true}, {"NO-SOLICITING a,b:c", true, true}, {"NO-SOLICITING a b", false, false},
		{"REQUIRETLS", false, false},
	}
	for _, test := range tests {
		srv, _ := newSpy(offers(nil, test.line))
		at25, _ := newSpy(offers(nil, test.line))
		for i, c := range []*esmtptest.Client{dialSubmission(t, srv), esmtptest.Dial(t, at25)} {
			c.Run("S: 220 *\nC: EHLO a")
			lines, _ := c.ReadReply()
			if got, want := lines[len(lines)-1][4:] == test.line, [2]bool{test.ok, test.port25}[i]; got != want {
				t.Errorf("%q: offered %v, want %v (%q)", test.line, got, want, lines)
			}
		}
	}
}

// A parameter on the server's list is accepted by MAIL and RCPT, seen by the handler, and not offered.
func TestToleratedParameters(t *testing.T) {
	srv, log := newSpy(nil)
	srv.TolerateParams = []string{"XOORG", "x-trace"}
	c := esmtptest.Dial(t, srv)
	c.Run("S: 220 *\nC: EHLO a")
	if lines, _ := c.ReadReply(); strings.Contains(strings.Join(lines, " "), "XOORG") {
		t.Errorf("offered: %q", lines)
	}
	c.Cmd("MAIL FROM:<a@me.example> xoorg=Me.example", "250 *")
	c.Cmd("RCPT TO:<b@example.org> X-TRACE", "250 *")
	c.Cmd("RCPT TO:<b@example.org> XOORG=a xoorg=b", "501 5.5.4 *")
	c.Cmd("RCPT TO:<b@example.org> XOORG==", "501 5.5.4 *")
	c.Cmd("RCPT TO:<b@example.org> XOTHER=a", "555 5.5.4 *")
	c.Conn.Close()
	log.end(t)
	if want := "EHLO a\nMAIL a@me.example xoorg=Me.example\nRCPT b@example.org X-TRACE\n"; log.String() != want {
		t.Errorf("got calls\n%s", log)
	}
	for _, name := range []string{"SIZE", "RRVS", "DELIVERBY", "HOLDFOR", "a b", ""} {
		srv := &esmtp.Server{TolerateParams: []string{name}}
		if err := srv.Serve(esmtptest.Listen()); err == nil || !strings.Contains(err.Error(), "TolerateParams") {
			t.Errorf("TolerateParams %q: %v", name, err)
		}
	}
}

// RFC 6710 §4.1 (2).
func TestReceivedShowsPriority(t *testing.T) {
	var field string
	on := func(s *esmtp.Session, verb, _ string) esmtp.Reply {
		if verb == "RCPT" {
			field = string(s.AppendReceived(nil, "b@example.org"))
		}
		return esmtp.Reply{}
	}
	runRows(t, []row{{
		name:   "PRIORITY clause",
		on:     offers(on, "MT-PRIORITY"),
		script: greeting + ehlo + "C: MAIL FROM:<a@me.example> MT-PRIORITY=-5\nC: RCPT TO:<b@example.org>\nS: 250 *\nS: 250 *",
	}})
	if !strings.Contains(field, "for <b@example.org>\r\n\tPRIORITY -5; ") {
		t.Errorf("got %q", field)
	}
}
