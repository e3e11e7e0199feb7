package caddymodule

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// A connection that is being recognized survives a reload, and is served by the new config.
func TestNoConnectionThatIsBeingRecognizedIsLostByAReload(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("TLS ", secure), func(t *testing.T) {
			s, trust := newSharedPort(t, "1m", secure)
			connect := func() *esmtptest.Client { return dialTCP(t, s.addr, "") }
			if secure {
				connect = func() *esmtptest.Client { return s.secured(t, trust) }
			}
			var silent, half []*esmtptest.Client
			for range 6 {
				silent, half = append(silent, connect()), append(half, connect())
			}
			for _, c := range half {
				c.SendRaw("D") // DELETE or DATA
			}
			for sniffing() < 12 {
				time.Sleep(time.Millisecond)
			}
			s.text = "two"
			s.load(t)
			for _, c := range half {
				c.SendRaw("ELETE / HTTP/1.1\r\nHost: web.example.internal\r\nConnection: close\r\n\r\n")
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
	for sniffing() < 1 {
		time.Sleep(time.Millisecond)
	}
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
