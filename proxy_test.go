package esmtp_test

import (
	"net"
	"testing"

	"github.com/pires/go-proxyproto"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// whoami is a handler that tells the client its address.
type whoami struct{ esmtp.Default }

func (whoami) NOOP(s *esmtp.Session, _ string) esmtp.Reply { return esmtp.OK(s.RemoteAddr().String()) }

// The PROXY protocol needs nothing of the engine but that it asks for the address late. It is read once, first, and from trusted peers only:
// later it is no command.
func TestPROXYProtocolByItsListener(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &esmtp.Server{Hostname: "mx.example.org", NewHandler: func(*esmtp.Session) esmtp.Handler { return whoami{} }}
	ended := make(chan error, 1)
	go func() {
		ended <- srv.Serve(&proxyproto.Listener{
			Listener:   tcp,
			ConnPolicy: proxyproto.MustPolicyFromRanges([]string{"127.0.0.0/8"}, proxyproto.REQUIRE, proxyproto.SKIP),
		})
	}()
	t.Cleanup(func() {
		srv.Close()
		srv.Shutdown(t.Context())
		<-ended
	})
	source, destination := &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 4711}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 25), Port: 25}
	for _, version := range []byte{1, 2} {
		conn, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		header := proxyproto.HeaderProxyFromAddrs(version, source, destination)
		if _, err := header.WriteTo(conn); err != nil {
			t.Fatal(err)
		}
		c := esmtptest.NewClient(t, conn)
		c.Expect("220 *")
		c.Cmd("NOOP", "250 2.0.0 203.0.113.7:4711")
		c.Cmd("PROXY TCP4 198.51.100.1 192.0.2.25 1 25", "500 5.5.1 *")
		c.Cmd("NOOP", "250 2.0.0 203.0.113.7:4711")
		c.Cmd("QUIT", "221 *")
		c.ExpectClose()
	}
}
