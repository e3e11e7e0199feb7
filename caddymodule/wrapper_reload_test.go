package caddymodule

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// A connection that is being recognized survives a reload, and is served by the new config, whatever wrappers come or go before ours.
func TestNoConnectionThatIsBeingRecognizedIsLostByAReload(t *testing.T) {
	for _, test := range []struct {
		secure   bool
		from, to string
	}{
		{false, "esmtp", "esmtp"},
		{false, "esmtp", "proxy_protocol esmtp"},
		{false, "proxy_protocol esmtp", "esmtp"},
		{false, "esmtp", "esmtp tls esmtp"}, // there is no TLS: both are for it
		{true, "esmtp tls esmtp", "esmtp tls esmtp"},
		{true, "esmtp tls esmtp", "proxy_protocol esmtp tls esmtp"},
		{true, "esmtp tls esmtp", "esmtp"}, // which is behind TLS
		{true, "proxy_protocol esmtp", "esmtp"},
	} {
		t.Run(fmt.Sprintf("%v %s, %s", test.secure, test.from, test.to), func(t *testing.T) {
			s, trust := newSharedPort(t, "1m", test.secure, test.from)
			connect := func() *esmtptest.Client { return dialTCP(t, s.addr, "") }
			if test.secure {
				connect = func() *esmtptest.Client { return s.secured(t, trust) }
			}
			var silent, half []*esmtptest.Client
			for range 6 {
				silent, half = append(silent, connect()), append(half, connect())
			}
			for _, c := range half {
				c.SendRaw("D") // DELETE or DATA
			}
			waitSniffing(12)
			s.text, s.wrappers = "two", test.to
			s.load(t)
			for _, c := range half {
				c.SendRaw(restOfDELETE)
			}
			for _, c := range half {
				if resp, err := io.ReadAll(c.Conn); err != nil || !strings.Contains(string(resp), "two DELETE HTTP/1.1") {
					t.Errorf("got %q, %v", resp, err)
				}
			}
			for sniffing() > 0 {
				timeIsUp()
			}
			for _, c := range silent {
				c.Expect("220 *")
				c.Cmd("NOOP", "250 2.0.0 two")
			}
		})
	}
}

const restOfDELETE = "ELETE / HTTP/1.1\r\nHost: web.example.internal\r\nConnection: close\r\n\r\n"

// A connection can't cross TLS: when the new config has nothing of ours on its side nobody gets it, and least of all a site on HTTPS a client
// that speaks in the clear.
func TestAConnectionStaysOnItsSideOfTLS(t *testing.T) {
	for _, test := range []struct {
		secure   bool // at first; at last all are
		from, to string
	}{
		{true, "esmtp tls esmtp", "esmtp tls"},
		{false, "esmtp", "esmtp"},
	} {
		t.Run(fmt.Sprintf("%v %s, %s", test.secure, test.from, test.to), func(t *testing.T) {
			s, trust := newSharedPort(t, "1m", test.secure, test.from)
			connect := func() *esmtptest.Client { return dialTCP(t, s.addr, "") }
			if test.secure {
				connect = func() *esmtptest.Client { return s.secured(t, trust) }
			}
			silent, half := connect(), connect()
			half.SendRaw("D")
			waitSniffing(2)
			s.text, s.wrappers = "two", test.to
			if test.secure {
				s.load(t)
			} else {
				s.storage = tempDir(t)
				s.load(t)
				waitCertificates(t, "web.example.internal", "mx.example.internal")
			}
			for _, c := range []*esmtptest.Client{silent, half} {
				c.Expect("421 mx.example.internal Service not available, closing transmission channel")
				c.ExpectClose()
			}
		})
	}
}

// The place of a wrapper is its side of TLS, and which of ours it is there.
func TestThePlaceOfAWrapper(t *testing.T) {
	policies := caddytls.ConnectionPolicies{{}}
	for _, test := range []struct {
		names    string
		index    int
		policies caddytls.ConnectionPolicies
		port     int
		want     place
	}{
		{"esmtp tls esmtp", 0, policies, 443, place{false, 0}},
		{"esmtp tls esmtp", 2, policies, 443, place{true, 0}},
		{"proxy_protocol esmtp tls esmtp", 1, policies, 443, place{false, 0}},
		{"esmtp proxy_protocol esmtp tls", 2, policies, 443, place{false, 1}},
		{"esmtp tls esmtp other esmtp", 4, policies, 443, place{true, 1}},
		{"esmtp other esmtp", 2, policies, 443, place{true, 1}},
		{"esmtp tls esmtp", 2, nil, 443, place{false, 1}},
		{"esmtp tls esmtp", 2, policies, 80, place{false, 1}},
		{"esmtp", 0, nil, 8080, place{false, 0}},
	} {
		w := &ListenerWrapper{web: &caddyhttp.Server{TLSConnPolicies: test.policies}, httpPort: 80, names: strings.Fields(test.names), index: test.index}
		if got := w.placeOf(&net.TCPAddr{Port: test.port}); got != test.want {
			t.Errorf("%s, number %d, %d policies, port %d: got %v, want %v", test.names, test.index, len(test.policies), test.port, got, test.want)
		}
	}
}

// waitSniffing waits until as many connections are being recognized.
func waitSniffing(want int) {
	for sniffing() < want {
		time.Sleep(time.Millisecond)
	}
}

// sniffing counts the connections that are being recognized.
func sniffing() (n int) {
	muxes.Range(func(_, value any) bool {
		m := value.(*mux)
		m.mu.Lock()
		n += m.conns.Len()
		m.mu.Unlock()
		return true
	})
	return n
}

// timeIsUp ends the wait for connections that are being recognized.
func timeIsUp() {
	muxes.Range(func(_, value any) bool {
		m := value.(*mux)
		m.mu.Lock()
		defer m.mu.Unlock()
		for e := m.conns.Front(); e != nil; e = e.Next() {
			e.Value.(*client).SetReadDeadline(time.Now())
		}
		return true
	})
	time.Sleep(time.Millisecond)
}

// A session goes on with the config that it began with, and ends as one on a port of its own.
func TestSessionsOnASharedPortSurviveAReload(t *testing.T) {
	s, _ := newSharedPort(t, "20ms", false)
	old := dialTCP(t, s.addr, "")
	old.Expect("220 *")
	s.text = "two"
	s.load(t)
	old.Cmd("NOOP", "250 2.0.0 one")
	c := dialTCP(t, s.addr, "")
	c.Expect("220 *")
	c.Cmd("NOOP", "250 2.0.0 two")
	finishAll()
	old.Expect("421 4.3.2 *")
	c.Cmd("QUIT", "221 *")
	c.ExpectClose()
}

// A client that is still silent when the mail server is taken away is told so.
func TestAClientOfAMailServerThatIsGoneGets421(t *testing.T) {
	s, _ := newSharedPort(t, "30s", false)
	c := dialTCP(t, s.addr, "")
	waitSniffing(1)
	stop(t)
	c.Expect("421 mx.example.internal Service not available, closing transmission channel")
	c.ExpectClose()
}

// A config that can't be started leaves the port to the one before it.
func TestAFailedStartLeavesASharedPortAlone(t *testing.T) {
	s, _ := newSharedPort(t, "20ms", false)
	broken := s
	broken.text = "two"
	config, err := adapt(strings.Replace(broken.caddyfile(t), "server mail {", "unix/"+tempDir(t)+"/missing/s {\nlog\n}\nserver mail {", 1))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := caddy.Load(config, true); err == nil {
			t.Fatal("it started")
		}
		for listeners() > 1 {
			time.Sleep(time.Millisecond)
		}
		if got := s.get(t, "GET", http1); got != "one GET HTTP/1.1 http" {
			t.Errorf("got %q", got)
		}
		c := dialTCP(t, s.addr, "")
		c.Expect("220 *")
		c.Cmd("NOOP", "250 2.0.0 one")
		c.Cmd("QUIT", "221 *")
	}
}
