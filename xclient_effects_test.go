package esmtp_test

import (
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// A proxy's connections are not counted for its own address, but for those of its clients.
func TestXCLIENTCountsForTheClient(t *testing.T) {
	srv, _ := newSpy(nil)
	trustClient(srv)
	srv.Limits.ConnectionsPerAddress = 1
	served := esmtptest.NewServer(t, srv)
	one, two, three := served.Dial(), served.Dial(), served.Dial()
	for _, c := range []*esmtptest.Client{one, two, three} {
		c.Run(greeting + ehlo)
	}
	one.Cmd("XCLIENT ADDR=198.51.100.7", "220 *")
	two.Cmd("XCLIENT ADDR=198.51.100.7", "421 4.7.0 mx.example.org Too many connections from your address")
	two.ExpectClose()
	three.Cmd("XCLIENT ADDR=198.51.100.8", "220 *")
	for _, info := range served.Sessions() {
		if info.PeerAddr.String() != "192.0.2.1:49152" || !strings.HasPrefix(info.RemoteAddr.String(), "198.51.100.") {
			t.Errorf("Sessions: %+v", info)
		}
	}
}

func TestXCLIENTInReceived(t *testing.T) {
	var field string
	on := func(s *esmtp.Session, verb, _ string) esmtp.Reply {
		if verb == "MAIL" {
			field = string(s.AppendReceived(nil, ""))
		}
		return esmtp.Reply{}
	}
	for attrs, want := range map[string]string{
		"ADDR=198.51.100.7 NAME=c.example": "Received: from me.example (c.example [198.51.100.7])\r\n",
		"ADDR=[UNAVAILABLE]":               "Received: from me.example (unknown)\r\n",
	} {
		runRows(t, []row{{
			name: attrs, on: on, set: trustClient,
			script: greeting + ehlo + "C: XCLIENT " + attrs + "\nS: 220 *\n" + ehlo + "C: MAIL FROM:<a@me.example>\nS: 250 *",
		}})
		if !strings.HasPrefix(field, want) {
			t.Errorf("got %q, want %q", field, want)
		}
	}
}

// XCLIENT stays in TLS, and so does what it said: who is behind a proxy doesn't become the proxy by STARTTLS.
func TestXCLIENTAndTLS(t *testing.T) {
	srv, config := tlsServer(t)
	trustClient(srv)
	c := esmtptest.Dial(t, srv)
	c.Run(greeting + ehlo)
	c.Cmd("XCLIENT ADDR=198.51.100.7 LOGIN=ann", "220 *")
	c.Run(ehlo)
	startTLS(t, c, config)
	c.Run(ehlo + "C: XCLIENT ADDR=192.0.2.1\nS: 550 5.7.0 *")
	c = esmtptest.Dial(t, srv)
	c.Run(greeting + ehlo)
	startTLS(t, c, config)
	c.Cmd("XCLIENT NAME=a.example", "220 *")
	c.Run(ehlo + "C: STARTTLS\nS: 503 5.5.1 TLS is on already")
}
