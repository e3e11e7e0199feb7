package esmtp_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// trustClient trusts the address that clients of tests come from.
func trustClient(srv *esmtp.Server) {
	srv.TrustXCLIENT = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	srv.TrustXFORWARD = srv.TrustXCLIENT
}

// look describes what a session knows of its client.
func look(s *esmtp.Session) string {
	name, status := s.RemoteName()
	return fmt.Sprintf("%v>%v peer=%v name=%s/%d helo=%s user=%s/%s %s", s.RemoteAddr(), s.LocalAddr(), s.PeerAddr(), name, status, s.HELO(),
		s.User(), s.AuthMechanism(), s.Protocol())
}

// looking is a hook that notes what a session knows in CONNECT and in MAIL.
func looking(seen *[]string) hook {
	return func(s *esmtp.Session, verb, _ string) esmtp.Reply {
		if verb == "CONNECT" || verb == "MAIL" {
			*seen = append(*seen, verb+" "+look(s))
		}
		return esmtp.Reply{}
	}
}

const here = "192.0.2.25:25"

// XCLIENT_README: what each attribute changes. CONNECT is called again, and sees it.
func TestXCLIENTAttributes(t *testing.T) {
	for _, test := range []struct{ attrs, want string }{
		{"ADDR=198.51.100.7", "198.51.100.7:0>" + here + " peer=192.0.2.1:49152 name=/0 helo= user=/ SMTP"},
		{"addr=198.51.100.7 port=1234", "198.51.100.7:1234>" + here + " peer=192.0.2.1:49152 name=/0 helo= user=/ SMTP"},
		{"PORT=1234 ADDR=198.51.100.7", "198.51.100.7:1234>" + here + " peer=192.0.2.1:49152 name=/0 helo= user=/ SMTP"},
		{"ADDR=IPV6:2001:db8::7 PORT=[unavailable]", "[2001:db8::7]:0>" + here + " peer=192.0.2.1:49152 name=/0 helo= user=/ SMTP"},
		{"ADDR=ipv6:::ffff:198.51.100.7", "198.51.100.7:0>" + here + " peer=192.0.2.1:49152 name=/0 helo= user=/ SMTP"},
		{"ADDR=[UNAVAILABLE] NAME=[Unavailable]", "unavailable>" + here + " peer=192.0.2.1:49152 name=/2 helo= user=/ SMTP"},
		{"PORT=7", "192.0.2.1:7>" + here + " peer=192.0.2.1:49152 name=/0 helo= user=/ SMTP"},
		{"NAME=a_b.example", "192.0.2.1:49152>" + here + " peer=192.0.2.1:49152 name=a_b.example/1 helo= user=/ SMTP"},
		{"NAME=[TEMPUNAVAIL]", "192.0.2.1:49152>" + here + " peer=192.0.2.1:49152 name=/3 helo= user=/ SMTP"},
		{"DESTADDR=203.0.113.5 DESTPORT=587", "192.0.2.1:49152>203.0.113.5:587 peer=192.0.2.1:49152 name=/0 helo= user=/ SMTP"},
		{"DESTPORT=587", "192.0.2.1:49152>192.0.2.25:587 peer=192.0.2.1:49152 name=/0 helo= user=/ SMTP"},
		{"HELO=me.example PROTO=esmtp", "192.0.2.1:49152>" + here + " peer=192.0.2.1:49152 name=/0 helo=me.example user=/ ESMTP"},
		{"HELO=[UNAVAILABLE] PROTO=SMTP", "192.0.2.1:49152>" + here + " peer=192.0.2.1:49152 name=/0 helo= user=/ SMTP"},
		{"HELO=a+20b<c>", "192.0.2.1:49152>" + here + " peer=192.0.2.1:49152 name=/0 helo=a?b?c? user=/ SMTP"},
		{"HELO=a+b", "192.0.2.1:49152>" + here + " peer=192.0.2.1:49152 name=/0 helo=a+b user=/ SMTP"}, // no xtext: as it is
		{"LOGIN=ann+40example.org", "192.0.2.1:49152>" + here + " peer=192.0.2.1:49152 name=/0 helo= user=ann@example.org/XCLIENT SMTPA"},
		{"LOGIN=[UNAVAILABLE]", "192.0.2.1:49152>" + here + " peer=192.0.2.1:49152 name=/0 helo= user=/ SMTP"},
	} {
		var seen []string
		srv, _ := newSpy(looking(&seen))
		trustClient(srv)
		c := esmtptest.Dial(t, srv)
		c.Run(greeting + ehlo)
		c.Cmd("XCLIENT "+test.attrs, "220 mx.example.org ESMTP Mail Server")
		if len(seen) != 2 || seen[1] != "CONNECT "+test.want {
			t.Errorf("%s:\ngot  %q\nwant %q", test.attrs, seen[1:], test.want)
		}
	}
}

func TestXCLIENTSyntax(t *testing.T) {
	srv, log := newSpy(nil)
	srv.Limits.Errors = -1
	trustClient(srv)
	c := esmtptest.Dial(t, srv)
	c.Run(greeting + ehlo)
	name := strings.Repeat("a.", 127) + "a"
	for _, attrs := range []string{
		"", " ", "NAME", "NAME=", "=x", "FOO=x", "REVERSE_NAME=x", "NAME=a NAME=b", "NAME=" + name + "b", "NAME=a..b", "NAME=a+20b", "NAME=[192.0.2.1]",
		"ADDR=x", "ADDR=[192.0.2.1]", "ADDR=2001:db8::1", "ADDR=IPV6:192.0.2.1", "ADDR=IPV6:fe80::1%25eth0", "ADDR=IPV6:", "ADDR=192.0.2",
		"PORT=65536", "PORT=-1", "PORT=x", "PORT=000001", "PROTO=LMTP", "PROTO=[UNAVAILABLE]", "DESTADDR=x", "DESTPORT=x",
		"HELO=a+0Ab", "HELO=a+00b", "LOGIN=a+0D+0Ab", "LOGIN=+7F", "LOGIN=+FF", "LOGIN=+C2+85", "ADDR=198.51.100.7 IDENT=x",
	} {
		c.Cmd("XCLIENT "+attrs, "501 5.5.4 *")
	}
	c.Cmd("XCLIENT "+strings.Repeat("x", 504), "500 5.5.2 Line too long")
	c.Cmd("NOOP", "250 *")
	c.Cmd("XCLIENT NAME="+name, "220 *")
	c.Conn.Close()
	log.end(t)
	if want := "EHLO me.example\nNOOP\n"; log.String() != want {
		t.Errorf("got calls\n%s", log)
	}
}

// What the client said before is forgotten, HELO and LOGIN of an earlier XCLIENT too; address and name stay.
func TestXCLIENTBeginsAnew(t *testing.T) {
	var seen []string
	srv, _ := newSpy(looking(&seen))
	trustClient(srv)
	esmtptest.Run(t, srv, greeting+`
		C: EHLO me.example
		S: 250-*
		S: ...
		C: XCLIENT NAME=a.example LOGIN=ann HELO=one.example PROTO=ESMTP
		S: 220 mx.example.org ESMTP Mail Server
		C: MAIL FROM:<a@me.example>
		S: 250 2.1.0 *
		C: XCLIENT NAME=b.example
		S: 503 5.5.1 *
		C: RSET
		S: 250 *
		C: XCLIENT ADDR=192.0.2.99
		S: 220 mx.example.org ESMTP Mail Server
		C: MAIL FROM:<a@me.example>
		S: 503 5.5.1 Say HELO or EHLO first
		C: STARTTLS
		S: 502 5.5.1 *
		C: HELO two.example
		S: 250 *
		C: MAIL FROM:<a@me.example>
		S: 250 *`)
	want := []string{
		"CONNECT 192.0.2.1:49152>192.0.2.25:25 peer=192.0.2.1:49152 name=/0 helo= user=/ SMTP",
		"CONNECT 192.0.2.1:49152>192.0.2.25:25 peer=192.0.2.1:49152 name=a.example/1 helo=one.example user=ann/XCLIENT ESMTPA",
		"MAIL 192.0.2.1:49152>192.0.2.25:25 peer=192.0.2.1:49152 name=a.example/1 helo=one.example user=ann/XCLIENT ESMTPA",
		"CONNECT 192.0.2.99:0>192.0.2.25:25 peer=192.0.2.1:49152 name=a.example/1 helo= user=/ SMTP",
		"MAIL 192.0.2.99:0>192.0.2.25:25 peer=192.0.2.1:49152 name=a.example/1 helo=two.example user=/ SMTP",
	}
	if strings.Join(seen, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
}

func TestWhoIsTrusted(t *testing.T) {
	runRows(t, []row{{
		name: "nobody by default",
		script: greeting + ehlo + `
			C: XCLIENT ADDR=198.51.100.7
			C: XFORWARD NAME=x
			C: HELP
			S: 550 5.7.0 *
			S: 550 5.7.0 *
			S: 214-*
			S: 214 2.0.0 HELO EHLO MAIL RCPT DATA BDAT RSET VRFY EXPN HELP NOOP QUIT`,
	}, {
		name: "not an address outside the networks, whoever offers it",
		on:   offers(nil, "XCLIENT NAME ADDR", "XFORWARD NAME"),
		set: func(srv *esmtp.Server) {
			srv.TrustXCLIENT = []netip.Prefix{netip.MustParsePrefix("192.0.2.2/32")}
			srv.TrustXFORWARD = srv.TrustXCLIENT
		},
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
			S: 250-SIZE *
			S: 250-LIMITS *
			S: 250 HELP
			C: XCLIENT ADDR=198.51.100.7
			C: XFORWARD NAME=x
			S: 550 5.7.0 *
			S: 550 5.7.0 *`,
	}, {
		name: "who is trusted is offered it, with the attributes, and finds it in HELP",
		set:  trustClient,
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
			S: 250-SIZE *
			S: 250-LIMITS *
			S: 250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT
			S: 250-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE
			S: 250 HELP
			C: HELP
			S: 214-*
			S: 214 2.0.0 * XCLIENT XFORWARD`,
	}, {
		name: "not the client that a proxy speaks for",
		set:  trustClient,
		script: greeting + ehlo + `
			C: XCLIENT ADDR=198.51.100.7
			S: 220 *
			C: XCLIENT ADDR=192.0.2.1
			C: XFORWARD NAME=x
			S: 550 5.7.0 *
			S: 550 5.7.0 *` + "\n" + ehlo + `
			C: XCLIENT ADDR=192.0.2.1
			S: 550 5.7.0 *`,
	}, {
		name: "not one whose address nobody knows",
		set:  trustClient,
		script: greeting + ehlo + `
			C: XCLIENT ADDR=[UNAVAILABLE]
			S: 220 *
			C: XCLIENT ADDR=192.0.2.1
			S: 550 5.7.0 *`,
	}, {
		name: "a handler can take it out of EHLO, or some attributes of it",
		on: func(s *esmtp.Session, verb, arg string) esmtp.Reply {
			if verb == "EHLO" {
				return esmtp.OK("mx.example.org", "XFORWARD NAME ADDR", "ENHANCEDSTATUSCODES")
			}
			return esmtp.Reply{}
		},
		set: trustClient,
		script: greeting + ehlo + `
			C: XCLIENT NAME=x
			C: XFORWARD HELO=x
			C: XFORWARD NAME=x
			S: 502 5.5.1 *
			S: 501 5.5.4 *
			S: 250 *`,
	}})
	for _, list := range [][]netip.Prefix{{{}}, {netip.MustParsePrefix("::ffff:192.0.2.0/120")}} {
		for _, srv := range []*esmtp.Server{{TrustXCLIENT: list}, {TrustXFORWARD: list}} {
			if err := srv.Serve(esmtptest.Listen()); err == nil || !strings.Contains(err.Error(), "bad prefix") {
				t.Errorf("%v: %v", list, err)
			}
		}
	}
}

// The greeting after XCLIENT is CONNECT's, for better or worse.
func TestXCLIENTCanBeRefused(t *testing.T) {
	refuse := func(r esmtp.Reply) hook {
		return func(s *esmtp.Session, verb, _ string) esmtp.Reply {
			if ip := s.RemoteAddr().(*net.TCPAddr).IP; verb == "CONNECT" && ip.String() == "198.51.100.7" {
				return r
			}
			return esmtp.Reply{}
		}
	}
	runRows(t, []row{{
		name:   "554",
		set:    trustClient,
		on:     refuse(esmtp.Deny(554, 5, 7, 1, "not you")),
		script: greeting + ehlo + "C: XCLIENT ADDR=198.51.100.7\nS: 554 not you\nC: NOOP\nS: 503 5.5.1 *\nC: QUIT\nS: 221 *",
	}, {
		name:   "421",
		set:    trustClient,
		on:     refuse(esmtp.Deny(421, 4, 3, 2, "not now")),
		script: greeting + ehlo + "C: XCLIENT ADDR=198.51.100.7\nS: 421 not now\nclose",
	}, {
		name:   "Drop",
		set:    trustClient,
		on:     refuse(esmtp.Drop),
		script: greeting + ehlo + "C: XCLIENT ADDR=198.51.100.7\nclose",
	}})
}
