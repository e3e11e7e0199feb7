package caddymodule

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// handshakes tells how many the mail server of a shared port has counted, by each way of counting.
func handshakes(t *testing.T) (n struct{ good, bad, durations, errors int }) {
	t.Helper()
	for labels, row := range gathered(t, "caddy_esmtp_tls_handshakes_total") {
		switch {
		case strings.Contains(labels, ",success,mail,"):
			n.good += int(row.GetCounter().GetValue())
		case strings.Contains(labels, ",failure,mail,"):
			n.bad += int(row.GetCounter().GetValue())
		}
	}
	n.durations = int(gathered(t, "caddy_esmtp_phase_duration_seconds")["tls,mail"].GetHistogram().GetSampleCount())
	n.errors = int(gathered(t, "caddy_esmtp_errors_total")["handshake,mail"].GetCounter().GetValue())
	return n
}

// The handshakes of mail clients count for the mail server, each once, however it was found that they are mail clients. Those of web clients, and those
// that fail before anybody knows, don't.
func TestHandshakesOnASharedPortAreCounted(t *testing.T) {
	s, trust := newSharedPort(t, "20ms", true)
	for _, test := range []struct {
		about     string
		names     []string // of protocols
		first     string   // what the client says
		want      string
		good, bad int
	}{
		{about: "silent", want: "220 *", good: 1},
		{about: "speaks first", first: "EHLO client.example\r\n", want: "220 *", good: 1},
		{about: "names smtp", names: []string{"smtp"}, want: "220 *", good: 1},
		{about: "asks the web server", first: "GET / HTTP/1.0\r\n\r\n", want: "HTTP/1.0 200 *"},
		{about: "names http/1.1", names: []string{"http/1.1"}, first: "GET / HTTP/1.0\r\n\r\n", want: "HTTP/1.0 200 *"},
		{about: "doesn't trust us", want: "refused"},
		{about: "names smtp and doesn't trust us", names: []string{"smtp"}, want: "refused", bad: 1},
		{about: "names h2 and doesn't trust us", names: []string{"h2"}, want: "refused"},
		{about: "names a protocol that nobody has", names: []string{"xmpp-client"}, want: "refused"},
	} {
		t.Run(test.about, func(t *testing.T) {
			begin := handshakes(t)
			if test.want == "refused" {
				s.refused(t, test.names)
			} else {
				c := s.secured(t, trust, test.names...)
				c.SendRaw(test.first)
				expectLine(t, c, test.want)
			}
			end := handshakes(t)
			if good, bad := end.good-begin.good, end.bad-begin.bad; good != test.good || bad != test.bad {
				t.Errorf("%d handshakes succeeded and %d failed, want %d and %d", good, bad, test.good, test.bad)
			}
			if durations, errors := end.durations-begin.durations, end.errors-begin.errors; durations != test.good+test.bad || errors != test.bad {
				t.Errorf("there are %d durations and %d errors, want %d and %d", durations, errors, test.good+test.bad, test.bad)
			}
		})
	}
}

// refused is a client that trusts nobody. It waits for the connection to be closed: by then the server has counted.
func (s sharedPort) refused(t *testing.T, names []string) {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "mx.example.internal", NextProtos: names}
	if err := tls.Client(conn, config).Handshake(); err == nil {
		t.Error("the handshake succeeded")
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Error(err)
	}
}

// newClient numbers clients: what one of them did counts in the configs of later tests, too.
var newClient atomic.Uint32

// The rate of handshakes holds for those who speak first as for all.
func TestTheRateOfHandshakesHoldsOnASharedPort(t *testing.T) {
	for _, first := range []string{"", "EHLO client.example\r\n"} {
		t.Run(fmt.Sprintf("%q", first), func(t *testing.T) {
			s, trust := newSharedPort(t, "20ms", true)
			s.settings = "rates {\nhandshakes 1\n}\n"
			s.wrappers, s.proxies = "proxy_protocol esmtp tls esmtp", "127.0.0.0/8" // loopback is not counted
			s.client = netip.AddrFrom4([4]byte{203, 0, 113, byte(newClient.Add(1))}).String()
			s.load(t)
			for n := range 2 {
				c := s.secured(t, trust)
				c.SendRaw(first)
				if n == 0 {
					c.Expect("220 *")
				} else {
					c.ExpectClose()
				}
			}
		})
	}
}

// A handshake that was made before the mail server got the connection took the time that it took.
func TestAHandshakeTookTheTimeThatItTook(t *testing.T) {
	for _, first := range []string{"", "EHLO client.example\r\n"} {
		t.Run(fmt.Sprintf("%q", first), func(t *testing.T) {
			inBubble(t, func(t *testing.T, below *fakeListener, w *ListenerWrapper, _ net.Listener) {
				client, server := esmtptest.Pipe()
				defer client.Close()
				below.results <- slowTLS{server}
				time.Sleep(2 * time.Second)
				client.Write([]byte("x" + first))
				conn, err := w.server.wrapped.Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				c := conn.(interface {
					handshaker
					HandshakeTime() time.Duration
					CloseWrite() error
				})
				if took, err := c.HandshakeTime(), c.HandshakeContext(t.Context()); took != 2*time.Second || err != nil {
					t.Errorf("it took %s, and came to %v", took, err)
				}
				if err := c.CloseWrite(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
