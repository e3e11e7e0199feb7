package caddymodule

import (
	"fmt"
	"net"
	"strings"
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/proxyprotocol"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// remote is a handler that tells the client its address.
type remote struct{ esmtp.Handler }

func (r *remote) NOOP(s *esmtp.Session, _ string) esmtp.Reply {
	return esmtp.OK(s.RemoteAddr().String())
}

func init() { Register[remote]("test_remote") }

// freeAddress returns a loopback address whose port the kernel has picked.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func dialTCP(t *testing.T, addr, first string) *esmtptest.Client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, first)
	return esmtptest.NewClient(t, conn)
}

// With the policy skip the greeting doesn't wait for a header from those who send none; from others it is believed.
func TestPROXYProtocol(t *testing.T) {
	trusting, careful := freeAddress(t), freeAddress(t)
	wrapper := "listener_wrappers {\nproxy_protocol {\nallow %s\nfallback_policy skip\n}\n}\nhostname mx.example.org\ntest_remote\n"
	load(t, trusting+" {\n"+fmt.Sprintf(wrapper, "127.0.0.0/8")+"}\n"+careful+" {\n"+fmt.Sprintf(wrapper, "192.0.2.0/24")+"}\n")
	header := "PROXY TCP4 203.0.113.7 192.0.2.25 4711 25\r\n"
	c := dialTCP(t, trusting, header)
	c.Expect("220 *")
	c.Cmd("NOOP", "250 2.0.0 203.0.113.7:4711")
	c = dialTCP(t, careful, "")
	c.Expect("220 *")
	c.Cmd("NOOP", "250 2.0.0 127.0.0.1:*")
	c = dialTCP(t, careful, header) // which is no command
	if line, err := c.ReadLine(); err == nil && strings.Contains(line, "203.0.113.7") {
		t.Errorf("got %q", line)
	}
}

func TestLMTP(t *testing.T) {
	path, mail := socket(t), tempDir(t)
	load(t, "unix/"+path+" {\nhostname mx.example.org\nlmtp\nmaildir "+mail+"/{rcpt.local}\n}\n")
	dial(t, path).Run(`
		S: 220 mx.example.org LMTP *
		C: EHLO client.example
		S: 500 *
		C: LHLO client.example
		S: 250-*
		S: ...
		C: MAIL FROM:<ann@client.example>
		S: 250 *
		C: RCPT TO:<a@example.org>
		S: 250 *
		C: RCPT TO:<b@example.org>
		S: 250 *
		C: DATA
		S: 354 *
		C: Subject: hello
		C:
		C: .
		S: 250 *
		S: 250 *
		C: QUIT
		S: 221 *
	`)
}
