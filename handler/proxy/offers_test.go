package proxy_test

import (
	"bufio"
	"crypto/tls"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
)

// EHLO offers what the next hop can do, and nothing that only it could have done.
func TestEHLOOffersWhatTheNextHopCanDo(t *testing.T) {
	for name, test := range map[string]struct {
		box  *box
		has  string
		lack string
	}{
		"all of it":   {&box{with: []string{"DELIVERBY 60", "RRVS"}}, "8BITMIME|SMTPUTF8|BINARYMIME|DSN|DELIVERBY 60|RRVS|PIPELINING|CHUNKING|ENHANCEDSTATUSCODES", "PRDR|MT-PRIORITY|REQUIRETLS|FUTURERELEASE"},
		"little":      {&box{without: []string{"8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "BINARYMIME", "PIPELINING"}}, "CHUNKING|PIPELINING", "8BITMIME|SMTPUTF8|BINARYMIME|DSN"},
		"not ours":    {&box{with: []string{"FUTURERELEASE 1000 2050-01-01T00:00:00Z", "XOORG", "MT-PRIORITY", "REQUIRETLS", "PRDR"}}, "DSN", "FUTURERELEASE|XOORG|MT-PRIORITY|REQUIRETLS|PRDR"},
		"smaller":     {&box{size: 10_000}, "SIZE 9488", ""},
		"larger":      {&box{size: 200 << 20}, "SIZE 1000000", ""},
		"LMTP":        {&box{lmtp: true}, "PRDR", ""},
		"no EHLO yet": {&box{answers: map[string]esmtp.Reply{"CONNECT": esmtp.Say(421, "busy")}}, "CHUNKING|SIZE 1000000", "8BITMIME|SMTPUTF8|DSN"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := front(t, to(t, test.box.serve(t)), func(s *esmtp.Server) { s.Limits.MessageBytes = 1_000_000 })
			lines := "\n" + strings.NewReplacer("250-", "", "250 ", "", "\r", "").Replace(say(t, srv, "EHLO c.example\r\nQUIT\r\n"))
			for _, line := range strings.Split(test.has, "|") {
				if !strings.Contains(lines, "\n"+line+"\n") {
					t.Errorf("%s is missing in %q", line, lines)
				}
			}
			for _, keyword := range strings.Split(test.lack, "|") {
				if keyword != "" && strings.Contains(lines, "\n"+keyword) {
					t.Errorf("%s is offered: %q", keyword, lines)
				}
			}
		})
	}
}

// What this hop can't take, although another hop could when EHLO was answered, is refused before it is transferred, and with the right code.
func TestWhatAHopCanNotTakeIsRefusedBefore(t *testing.T) {
	for name, test := range map[string]struct{ without, line, want string }{
		"8-bit":    {"8BITMIME", "MAIL FROM:<ann@example.org> BODY=8BITMIME", "554 5.6.3 "},
		"utf8":     {"SMTPUTF8", "MAIL FROM:<ann@example.org> SMTPUTF8", "550 5.6.7 "},
		"binary":   {"BINARYMIME", "MAIL FROM:<ann@example.org> BODY=BINARYMIME", "554 5.6.3 "},
		"size":     {"", "MAIL FROM:<ann@example.org> SIZE=9999", "552 5.3.4 "},
		"RET":      {"DSN", "MAIL FROM:<ann@example.org> RET=HDRS", "451 4.3.3 "},
		"NOTIFY":   {"DSN", "RCPT TO:<bob@example.net> NOTIFY=NEVER", "451 4.3.3 "},
		"by":       {"-", "MAIL FROM:<ann@example.org> BY=3600;N", "451 4.3.3 "},
		"by, must": {"-", "MAIL FROM:<ann@example.org> BY=3600;R", "554 5.4.7 "},
	} {
		t.Run(name, func(t *testing.T) {
			able := (&box{with: []string{"DELIVERBY"}}).serve(t)
			unable := &box{without: []string{test.without, "DELIVERBY"}}
			if name == "size" {
				unable.size = 10_000
			}
			unable.serve(t)
			p := to(t, able, unable)
			c := begin(t, front(t, p, nil))
			able.set(func() { able.answers = map[string]esmtp.Reply{"CONNECT": esmtp.Say(421, "going down")} })
			if strings.HasPrefix(test.line, "RCPT") {
				c.cmd("MAIL FROM:<ann@example.org>", "250")
			}
			c.cmd(test.line, test.want)
			c.cmd("RSET", "250")
			c.cmd("MAIL FROM:<ann@example.org>", "250") // and the session goes on
			c.cmd("RCPT TO:<bob@example.net>", "250")
			c.cmd("DATA", "354")
			c.cmd("A: b\r\n\r\nx\r\n.", "250")
			if len(unable.got()) != 1 || len(able.got()) != 0 {
				t.Error("the message did not arrive")
			}
		})
	}
}

// Octets over 127 that nobody has announced don't go where they can't.
func TestUnannounced8BitMail(t *testing.T) {
	b := (&box{without: []string{"8BITMIME"}}).serve(t)
	c := begin(t, front(t, to(t, b), nil))
	c.cmd("MAIL FROM:<ann@example.org>", "250")
	c.cmd("RCPT TO:<bob@example.net>", "250")
	c.cmd("DATA", "354")
	c.cmd(text+".", "554 5.6.3")
	if len(b.got()) != 0 {
		t.Error("it was delivered")
	}
}

// Parameters go on as they came.
func TestParametersArePassedOn(t *testing.T) {
	b := (&box{with: []string{"DELIVERBY"}}).serve(t)
	say(t, front(t, to(t, b), nil), "EHLO c.example\r\nMAIL FROM:<ann@example.org> SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+2B1 BY=3600;NT\r\n"+
		"RCPT TO:<bob@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob@example.net\r\nRCPT TO:<postmaster>\r\nDATA\r\n"+
		strings.ReplaceAll(text, "\r\n.", "\r\n..")+".\r\nQUIT\r\n")
	got := b.got()
	if len(got) != 1 {
		t.Fatal("not delivered")
	}
	for _, param := range []string{"SIZE=1", "BODY=8BITMIME", "SMTPUTF8", "RET=HDRS", "ENVID=x+2B1", "BY=3600;NT"} {
		if !strings.Contains(" "+got[0].fromParams, " "+param) {
			t.Errorf("%s is missing in %q", param, got[0].fromParams)
		}
	}
	if strings.Join(got[0].to, "; ") != "bob@example.net NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob@example.net; postmaster" {
		t.Errorf("got %q", got[0].to)
	}
}

// REQUIRETLS goes on over a connection to a host that has proved its name, and is offered only then.
func TestREQUIRETLSIsPassedOn(t *testing.T) {
	cert, trusting := esmtptest.Certificate(t, "localhost")
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	for _, level := range []tlspolicy.Level{tlspolicy.Required, tlspolicy.Verified} {
		b := (&box{tls: config, with: []string{"REQUIRETLS"}}).serve(t)
		p := to(t, b)
		p.Hops[0].Host, p.Level = "localhost", level
		p.TLS = &tlspolicy.Policies{RootCAs: trusting.RootCAs, NoDANE: true}
		c := begin(t, front(t, p, func(s *esmtp.Server) { s.TLSConfig = config }))
		c.cmd("STARTTLS", "220")
		secure := tls.Client(c.conn, trusting)
		c.conn, c.in = secure, bufio.NewReader(secure)
		verified := level == tlspolicy.Verified
		if hello := c.cmd("EHLO c.example", "250"); strings.Contains(hello, "REQUIRETLS") != verified {
			t.Errorf("%v: got %q", level, hello)
		}
		if c.cmd("MAIL FROM:<ann@example.org> REQUIRETLS", pick(verified, "250", "555")); !verified {
			continue
		}
		c.cmd("RCPT TO:<bob@example.net>", "250")
		c.cmd("DATA", "354")
		c.cmd("Subject: x\r\n\r\nx\r\n.", "250")
		if got := b.got(); len(got) != 1 || got[0].fromParams != "REQUIRETLS" || got[0].protocol != "ESMTPS" {
			t.Errorf("got %+v", got)
		}
	}
}
