package caddymodule

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// certified gets the names that a certificate is there for.
var certified = make(chan string, 100)

// certWatcher is a handler whose module listens to Caddy's events. The app events can't be told in the config to do it: it may start after
// ours, and is then changed while it is in use.
type certWatcher struct{ esmtp.Handler }

func (*certWatcher) Provision(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return err
	}
	return app.(*caddyevents.App).On("cached_managed_cert", certEvents{})
}

type certEvents struct{}

func (certEvents) Handle(_ context.Context, e caddy.Event) error {
	sans, _ := e.Data["sans"].([]string)
	certified <- strings.Join(sans, " ")
	return nil
}

func init() { Register[certWatcher]("test_certified") }

// tlsCaddy runs a Caddy that keeps certificates in a folder of its own, and waits until it has one for each name. It returns a
// configuration for clients that trust Caddy's authority.
func tlsCaddy(t *testing.T, block string, names ...string) *tls.Config {
	t.Helper()
	storage := tempDir(t)
	loadTLS(t, storage, block)
	waitCertificates(t, names...)
	root, err := os.ReadFile(filepath.Join(storage, "pki/authorities/local/root.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	return &tls.Config{RootCAs: pool, ServerName: "mx.example.internal"}
}

func loadTLS(t *testing.T, storage, block string) {
	t.Helper()
	for len(certified) > 0 {
		<-certified // of another test
	}
	config, err := adapt("{\n" + private + "skip_install_trust\nstorage file_system " + storage + "\nesmtp {\n" + block + "\n}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t) })
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
}

func waitCertificates(t *testing.T, names ...string) {
	t.Helper()
	missing := make(map[string]bool)
	for _, name := range names {
		missing[name] = true
	}
	for len(missing) > 0 {
		select {
		case got := <-certified:
			delete(missing, got)
		case <-time.After(10 * time.Second):
			t.Fatalf("no certificate for %v", missing)
		}
	}
}

// tlsServer is a server block on a socket.
func tlsServer(path, settings string) string {
	return "unix/" + path + " {\nhostname mx.example.internal\n" + settings + "\ntest_certified\nlog debug\n}\n"
}

// upgrade says EHLO and STARTTLS.
func upgrade(t *testing.T, path string, config *tls.Config) (*esmtptest.Client, error) {
	t.Helper()
	c := dial(t, path)
	c.Expect("220 *")
	c.Cmd("EHLO client.example", "250 HELP")
	c.Cmd("STARTTLS", "220 2.0.0 *")
	return c, c.StartTLS(config)
}

func TestSTARTTLSWithACertificateOfCaddy(t *testing.T) {
	path := socket(t)
	trust := tlsCaddy(t, tlsServer(path, "tls"), "mx.example.internal")
	for name, serverName := range map[string]string{"our name": "mx.example.internal", "another name": "other.example.internal", "none": ""} {
		t.Run(name, func(t *testing.T) {
			config := trust.Clone()
			config.ServerName = serverName
			config.InsecureSkipVerify = true
			c, err := upgrade(t, path, config)
			if err != nil {
				t.Fatal(err)
			}
			state := c.Conn.(*tls.Conn).ConnectionState()
			if _, err := state.PeerCertificates[0].Verify(verify(trust, state)); err != nil {
				t.Error(err)
			}
			c.Run("C: EHLO client.example\nS: 250-*\nS: ...\nC: STARTTLS\nS: 503 5.5.1 *\nC: QUIT\nS: 221 *")
		})
	}
}

// verify are the options to verify the certificate of our host name with.
func verify(trust *tls.Config, state tls.ConnectionState) x509.VerifyOptions {
	between := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	return x509.VerifyOptions{DNSName: "mx.example.internal", Roots: trust.RootCAs, Intermediates: between}
}

// RFC 7301 §3.2: a client that wants to speak something else is refused (the attack ALPACA).
func TestOnlyTheProtocolNameSMTPIsServed(t *testing.T) {
	path := socket(t)
	trust := tlsCaddy(t, tlsServer(path, "tls"), "mx.example.internal")
	for names, want := range map[string]string{"": "", "smtp": "smtp", "h2 smtp": "smtp", "h2": "refused", "http/1.1": "refused", "acme-tls/1": "refused"} {
		config := trust.Clone()
		config.NextProtos = strings.Fields(names)
		c, err := upgrade(t, path, config)
		got := "refused"
		if err == nil {
			got = c.Conn.(*tls.Conn).ConnectionState().NegotiatedProtocol
		}
		if got != want {
			t.Errorf("a client that names %q: got %q (%v), want %q", names, got, err, want)
		}
	}
}

func TestTLSFromTheStart(t *testing.T) {
	path := socket(t)
	trust := tlsCaddy(t, "tls://"+tlsServer(path, ""), "mx.example.internal")
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c := esmtptest.NewClient(t, conn)
	if err := c.StartTLS(trust); err != nil {
		t.Fatal(err)
	}
	c.Expect("220 mx.example.internal *")
	c.Run("C: EHLO client.example\nS: 250-*\nS: ...\nC: STARTTLS\nS: 503 5.5.1 *\nC: MAIL FROM:<ann@example.org>\nS: 250 *")
}

func TestTLSRequired(t *testing.T) {
	path := socket(t)
	trust := tlsCaddy(t, tlsServer(path, "tls {\nrequired\n}"), "mx.example.internal")
	dial(t, path).Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: MAIL FROM:<ann@example.org>\nS: 530 5.7.0 *")
	c, err := upgrade(t, path, trust)
	if err != nil {
		t.Fatal(err)
	}
	c.Run("C: EHLO client.example\nS: 250-*\nS: ...\nC: MAIL FROM:<ann@example.org>\nS: 250 *")
}

// peer is a handler that tells who the client certificate says the client is.
type peer struct{ esmtp.Handler }

func (p *peer) NOOP(s *esmtp.Session, _ string) esmtp.Reply {
	if state := s.TLS(); state != nil && len(state.VerifiedChains) > 0 {
		return esmtp.OK("hello " + state.PeerCertificates[0].DNSNames[0])
	}
	return esmtp.OK("hello stranger")
}

func init() { Register[peer]("test_peer") }

func TestClientCertificatesAreVisibleToHandlers(t *testing.T) {
	path, dir := socket(t), tempDir(t)
	cert, _ := esmtptest.Certificate(t, "client.example")
	if err := os.WriteFile(dir+"/ca.pem", certPEM(cert.Certificate[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	trust := tlsCaddy(t, tlsServer(path, "tls {\nconnection_policy {\nclient_auth {\nmode verify_if_given\ntrust_pool file "+dir+
		"/ca.pem\n}\n}\n}\ntest_peer"), "mx.example.internal")
	for want, certs := range map[string][]tls.Certificate{"hello stranger": nil, "hello client.example": {cert}} {
		config := trust.Clone()
		config.Certificates = certs
		c, err := upgrade(t, path, config)
		if err != nil {
			t.Fatal(err)
		}
		c.Cmd("NOOP", "250 2.0.0 "+want)
	}
}

// There is no certificate, and can't be one: its name is that of another policy, whose authority doesn't exist.
func TestSTARTTLSWithoutACertificateIs454(t *testing.T) {
	path := socket(t)
	config, err := adapt("{\n" + private + "skip_install_trust\nstorage file_system " + tempDir(t) + "\nesmtp {\n" + tlsServer(path, "tls") +
		"}\n}\nhttps://mx.example.internal:0 {\nbind 127.0.0.1\ntls {\nissuer acme https://127.0.0.1:1/none\n}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t) })
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	dial(t, path).Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: STARTTLS\nS: 454 4.7.0 *\nC: NOOP\nS: 250 *")
}

// A session that began before a reload can still get its TLS, and a new certificate needs no reload.
func TestSTARTTLSAfterAReload(t *testing.T) {
	path, storage := socket(t), tempDir(t)
	loadTLS(t, storage, tlsServer(path, "tls"))
	waitCertificates(t, "mx.example.internal")
	c := dial(t, path)
	c.Expect("220 *")
	c.Cmd("EHLO client.example", "250 HELP")
	loadTLS(t, storage, "grace_period 20s\n"+tlsServer(path, "tls"))
	c.Cmd("STARTTLS", "220 *")
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		t.Fatal(err)
	}
	c.Cmd("QUIT", "221 *")
}

func TestWhoGetsTLSWithoutAsking(t *testing.T) {
	for _, test := range []struct {
		listen, hostname string
		tls              *TLS
		want             bool
	}{
		{":25", "mx.example.org", nil, true},
		{"fd/3", "mx.example.org", nil, true},
		{"127.0.0.1:25", "mx.example.org", nil, false},
		{"[::1]:25", "mx.example.org", nil, false},
		{"localhost:25", "mx.example.org", nil, false},
		{"unix//run/x", "mx.example.org", nil, false},
		{":25", "mx.internal", nil, false},
		{":25", "mx", nil, false},
		{":25", "[192.0.2.1]", nil, false},
		{":25", "", nil, false},
		{":465", "mx", nil, true},
		{"127.0.0.1:465", "mx.example.org", nil, true},
		{"tls://127.0.0.1:2465", "mx.example.org", nil, true},
		{"unix//run/x", "mx", new(TLS), true},
		{":25", "mx.example.org", &TLS{Off: true}, false},
		{":465", "mx.example.org", &TLS{Off: true}, false},
	} {
		srv := &Server{Listen: []string{test.listen}, Settings: Settings{TLS: test.tls}}
		if err := srv.provisionAddresses(); err != nil {
			t.Fatal(err)
		}
		if got := srv.wantsTLS(test.hostname) != nil; got != test.want {
			t.Errorf("%s %s: got TLS %t, want %t", test.listen, test.hostname, got, test.want)
		}
	}
}

func TestCertificateName(t *testing.T) {
	for hostname, want := range map[string]string{"MX.Example.org": "mx.example.org", "mx.example.org.": "mx.example.org",
		"[192.0.2.1]": "192.0.2.1", "[IPv6:2001:db8::1]": "2001:db8::1"} {
		if got := certificateName(hostname); got != want || !certmagic.SubjectQualifiesForCert(got) {
			t.Errorf("%s: got %q, want %q", hostname, got, want)
		}
	}
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
