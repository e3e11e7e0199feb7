package esmtp_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

const tlsHost = "mx.example.org"

// tlsServer is a server with a certificate for tlsHost, and the configuration of a client that trusts it.
func tlsServer(t *testing.T) (*esmtp.Server, *tls.Config) {
	cert, client := esmtptest.Certificate(t, tlsHost)
	return &esmtp.Server{Hostname: tlsHost, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}, client
}

// secured is a handler that notes what it hears of TLS.
type secured struct {
	esmtp.Default
	version chan uint16
	refuse  bool
}

func (h *secured) STARTTLS(s *esmtp.Session) esmtp.Reply {
	if h.refuse {
		return esmtp.Deny(454, 4, 7, 0, "not now")
	}
	return h.Default.STARTTLS(s)
}

func (h *secured) Secured(s *esmtp.Session) { h.version <- s.TLS().Version }

func startTLS(t *testing.T, c *esmtptest.Client, config *tls.Config) {
	t.Helper()
	c.Cmd("STARTTLS", "220 2.0.0 Ready to start TLS")
	if err := c.StartTLS(config); err != nil {
		t.Fatal(err)
	}
}

// RFC 3207 §4.2: the server must discard any knowledge obtained from the client before the handshake. Rows G08, G34.
func TestSTARTTLSForgetsWhatCameBefore(t *testing.T) {
	srv, config := tlsServer(t)
	h := &secured{version: make(chan uint16, 1)}
	srv.NewHandler = func(*esmtp.Session) esmtp.Handler { return h }
	c := esmtptest.Dial(t, srv)
	c.Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: MAIL FROM:<a@client.example>\nS: 250 *\nC: RCPT TO:<b@example.org>\nS: 250 *")
	startTLS(t, c, config)
	if v := <-h.version; v < tls.VersionTLS12 {
		t.Errorf("Secured saw TLS version %x", v)
	}
	c.Run(`
C: DATA
S: 503 5.5.1 Need MAIL command
C: MAIL FROM:<a@client.example>
S: 503 5.5.1 Say HELO or EHLO first
C: STARTTLS
S: 503 5.5.1 TLS is on already
`)
	c.Send("EHLO client.example")
	lines, err := c.ReadReply()
	if err != nil || strings.Contains(strings.Join(lines, "\n"), "STARTTLS") {
		t.Errorf("EHLO inside TLS: %q, %v; STARTTLS must not be offered again", lines, err)
	}
	c.Cmd("MAIL FROM:<a@client.example>", "250 *")
}

// Row G35.
func TestSTARTTLSRefusals(t *testing.T) {
	srv, _ := tlsServer(t)
	c := esmtptest.Dial(t, srv)
	c.Run(`
S: 220 *
C: STARTTLS
S: 503 5.5.1 Say EHLO first
C: EHLO client.example
S: 250-*
S: ...
C: STARTTLS now
S: 501 5.5.4 STARTTLS takes no argument
C: STARTTLSX
S: 500 5.5.1 *
C: QUIT
S: 221 *
`)
	esmtptest.Run(t, &esmtp.Server{Hostname: tlsHost}, "S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: STARTTLS\nS: 502 5.5.1 TLS is not available")
}

func TestSTARTTLSRefusedByHandlerStaysInTheClear(t *testing.T) {
	srv, _ := tlsServer(t)
	srv.NewHandler = func(*esmtp.Session) esmtp.Handler { return &secured{refuse: true} }
	esmtptest.Run(t, srv, "S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: STARTTLS\nS: 454 4.7.0 not now\nC: NOOP\nS: 250 *")
}

func TestSTARTTLSWithoutACertificateIs454(t *testing.T) {
	none := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("none yet") }
	cert, _ := esmtptest.Certificate(t, tlsHost)
	for name, config := range map[string]*tls.Config{
		"a function for certificates": {GetCertificate: none},
		"a configuration for each client": {GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if hello.ServerName != tlsHost {
				t.Errorf("asked for %q, want %q", hello.ServerName, tlsHost)
			}
			return &tls.Config{GetCertificate: none}, nil
		}},
		"no configuration": {GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("none") }},
	} {
		t.Run(name, func(t *testing.T) {
			srv := &esmtp.Server{Hostname: tlsHost, TLSConfig: config}
			esmtptest.Run(t, srv, "S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: STARTTLS\nS: 454 4.7.0 *\nC: NOOP\nS: 250 *")
		})
	}
	for name, config := range map[string]*tls.Config{
		"no word on this client": {GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil },
			Certificates: []tls.Certificate{cert}},
		"an address literal": {GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{Certificates: []tls.Certificate{cert}}, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := &esmtp.Server{Hostname: "[192.0.2.1]", TLSConfig: config}
			esmtptest.Run(t, srv, "S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: STARTTLS\nS: 220 2.0.0 *")
		})
	}
}

// CVE-2011-0411: what comes behind STARTTLS in the clear must not be executed inside TLS.
func TestSTARTTLSInjectionEndsTheConnection(t *testing.T) {
	srv, _ := tlsServer(t)
	c := esmtptest.Dial(t, srv)
	c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...")
	c.Send("STARTTLS", "MAIL FROM:<evil@client.example>")
	c.Expect("554 5.5.0 *")
	c.ExpectClose()
}

func TestFailedHandshakeClosesWithoutAWord(t *testing.T) {
	srv, config := tlsServer(t)
	c := esmtptest.Dial(t, srv)
	c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: STARTTLS\nS: 220 *")
	c.SendRaw("EHLO in the clear\r\nMAIL FROM:<evil@client.example>\r\n")
	rest, err := io.ReadAll(c.Conn)
	if err != nil || strings.Contains(string(rest), "250") || strings.Contains(string(rest), "421") {
		t.Errorf("after a failed handshake the server wrote %q, %v", rest, err)
	}
	config.MaxVersion = tls.VersionTLS11
	config.MinVersion = tls.VersionTLS10
	old := esmtptest.Dial(t, srvCopy(t))
	old.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: STARTTLS\nS: 220 *")
	if err := old.StartTLS(config); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}

func srvCopy(t *testing.T) *esmtp.Server {
	srv, _ := tlsServer(t)
	return srv
}

// RFC 7301 §3.2, ALPACA: a client that wants another protocol is refused; one that names none, or smtp, is served.
func TestALPN(t *testing.T) {
	for _, test := range []struct {
		protos []string
		ok     bool
	}{
		{nil, true},
		{[]string{"smtp"}, true},
		{[]string{"h2", "smtp"}, true},
		{[]string{"h2", "http/1.1"}, false},
		{[]string{"http/1.1"}, false},
	} {
		srv, config := tlsServer(t)
		config.NextProtos = test.protos
		c := esmtptest.Dial(t, srv)
		c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: STARTTLS\nS: 220 *")
		if err := c.StartTLS(config); (err == nil) != test.ok {
			t.Errorf("ALPN %q: got %v, want ok %v", test.protos, err, test.ok)
		}
	}
}

// RFC 3207 §4: with TLS required, only NOOP, EHLO, STARTTLS and QUIT are answered in the clear; a BDAT's octets are no commands.
func TestRequireTLS(t *testing.T) {
	srv, config := tlsServer(t)
	srv.RequireTLS = true
	c := esmtptest.Dial(t, srv)
	c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...")
	for _, cmd := range []string{"MAIL FROM:<a@b.example>", "RSET", "VRFY a", "HELP", "PING", "BDAT 6\r\nNOOP"} {
		c.SendRaw(cmd + "\r\n")
		if cmd[0] == 'B' {
			c.Expect("530 5.7.0 *")
			continue
		}
		c.Expect("530 5.7.0 Must issue a STARTTLS command first")
	}
	c.Cmd("HELO a", "530 Must issue a STARTTLS command first")
	c.Cmd("NOOP", "250 *")
	startTLS(t, c, config)
	c.Run("C: EHLO a\nS: 250-*\nS: ...\nC: MAIL FROM:<a@b.example>\nS: 250 *\nC: QUIT\nS: 221 *")
}

func TestServeTLSIsSecureFromTheStart(t *testing.T) {
	srv, config := tlsServer(t)
	srv.RequireTLS = true
	l := esmtptest.Listen()
	ended := make(chan error, 1)
	go func() { ended <- srv.ServeTLS(l) }()
	conn, err := l.Dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := esmtptest.NewClient(t, conn)
	if err := c.StartTLS(config); err != nil {
		t.Fatal(err)
	}
	c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: STARTTLS\nS: 503 *\nC: MAIL FROM:<a@b.example>\nS: 250 *\nC: QUIT\nS: 221 *")
	c.ExpectClose()
	srv.Close()
	if err := <-ended; !errors.Is(err, esmtp.ErrServerClosed) {
		t.Errorf("ServeTLS returned %v", err)
	}
	if err := new(esmtp.Server).ServeTLS(esmtptest.Listen()); err == nil {
		t.Error("ServeTLS without a TLSConfig must be an error")
	}
}

// shaken is a connection whose handshake was made before: in three seconds, and with err.
type shaken struct {
	*esmtptest.Conn
	err error
}

func (shaken) ConnectionState() tls.ConnectionState {
	return tls.ConnectionState{HandshakeComplete: true}
}
func (c shaken) HandshakeContext(context.Context) error { return c.err }
func (shaken) HandshakeTime() time.Duration             { return 3 * time.Second }

// A handshake that somebody else made counts as one of ours.
func TestAHandshakeThatWasMadeBeforeCounts(t *testing.T) {
	broken := errors.New("broken")
	var h heard
	srv := &esmtp.Server{Rates: esmtp.Rates{Handshakes: 2}, Observer: observe(&h)}
	srv.Observer.Secured = func(s *esmtp.Session, took time.Duration, err error) { h.add(fmt.Sprint("secured ", took, err)) }
	for i, err := range []error{nil, broken, nil} {
		client, server := esmtptest.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- srv.ServeConn(shaken{server, err}) }()
		c := esmtptest.NewClient(t, client)
		if i == 0 {
			c.Run("S: 220 *\nC: QUIT\nS: 221 *")
		}
		c.ExpectClose()
		client.Close()
		if got := <-ended; !errors.Is(got, []error{nil, broken, esmtp.ErrTooMany}[i]) {
			t.Errorf("number %d ended with %v", i, got)
		}
	}
	want := "[connected secured 3s <nil> CONNECT 220 QUIT 221 ended <nil>" +
		" connected secured 3s broken failed handshake ended esmtp: TLS handshake failed\nbroken" +
		" connected limit handshake_rate refused esmtp: too many connections 0 ended esmtp: too many connections]"
	if got := h.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// clientPool trusts a client certificate.
func clientPool(cert tls.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	return pool
}

// Sockets are read in a way of their own, and TLS over them is not.
func TestSTARTTLSOverASocket(t *testing.T) {
	srv, client := tlsServer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-served; err != esmtp.ErrServerClosed {
			t.Error(err)
		}
	})
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := esmtptest.NewClient(t, conn)
	c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...")
	startTLS(t, c, client)
	c.Run("C: NOOP\nS: 250 *\nC: EHLO a\nS: 250-*\nS: ...\nC: QUIT\nS: 221 *")
}
