package caddymodule

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// loadAnotherName loads a config with another name in TLS: Caddy drops the certificates that this has no use for.
func loadAnotherName(t *testing.T, path string) {
	t.Helper()
	loadTLS(t, tempDir(t), strings.Replace(tlsServer(path, "tls"), "mx.example.internal", "new.example.internal", 1))
	if len(caddytls.AllMatchingCertificates("mx.example.internal")) > 0 {
		t.Fatal("Caddy still has the certificate")
	}
}

// A session goes on with the certificates of its config, though the new one has none for its name, and though nobody had asked for them before.
func TestSTARTTLSOfASessionThatHasOutlivedItsCertificate(t *testing.T) {
	for name, serverName := range map[string]string{"our name": "mx.example.internal", "another name": "other.example.internal", "none": ""} {
		t.Run(name, func(t *testing.T) {
			path := socket(t)
			trust := tlsCaddy(t, tlsServer(path, "tls"), "mx.example.internal")
			c := dial(t, path)
			c.Expect("220 *")
			c.Cmd("EHLO client.example", "250 HELP")
			loadAnotherName(t, path)
			c.Cmd("STARTTLS", "220 *")
			config := trust.Clone()
			config.ServerName = serverName
			config.InsecureSkipVerify = true
			if err := c.StartTLS(config); err != nil {
				t.Fatal(err)
			}
			state := c.Conn.(*tls.Conn).ConnectionState()
			if _, err := state.PeerCertificates[0].Verify(verify(trust, state)); err != nil {
				t.Error(err)
			}
			c.Cmd("EHLO client.example", "250 HELP")
			c.Cmd("QUIT", "221 *")
		})
	}
}

// A certificate is remembered as long as it is valid, and given only when its config is gone and there is no other.
func TestARememberedCertificateIsTheLastResort(t *testing.T) {
	cert, _ := esmtptest.Certificate(t, "mx.example.org")
	other, _ := esmtptest.Certificate(t, "*.example.net")
	for _, c := range []*tls.Certificate{&cert, &other} {
		if c.Leaf == nil {
			t.Fatal("a certificate without a leaf")
		}
	}
	lost := errors.New("no certificate")
	var now *tls.Certificate
	policy := &caddytls.ConnectionPolicy{DefaultSNI: "mx.example.org", FallbackSNI: "mx.example.org"}
	policy.TLSConfig = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if now == nil {
			return new(tls.Certificate), lost
		}
		return now, nil
	}}
	m := newCertMemory(policy)
	ask := func(name string) *tls.Certificate {
		t.Helper()
		got, err := policy.TLSConfig.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
		if (err == nil) != (got != nil) {
			t.Errorf("got %v, %v", got, err)
		}
		return got
	}
	for _, now = range []*tls.Certificate{&cert, &other} {
		if ask("anything") != now {
			t.Error("not the certificate that there is")
		}
	}
	now = nil
	if ask("mx.example.org") != nil {
		t.Error("remembered though the config is there")
	}
	m.outlive = true
	for name, want := range map[string]*tls.Certificate{"": &cert, "MX.example.org.": &cert, "mx.example.net": &other, "a.b.example.net": &cert, "x": &cert} {
		if ask(name) != want {
			t.Errorf("%q: another certificate than expected", name)
		}
	}
	for _, when := range []time.Time{cert.Leaf.NotBefore.Add(-time.Second), cert.Leaf.NotAfter} {
		if m.recall("mx.example.org", when) != nil {
			t.Errorf("given at %s", when)
		}
	}
	fresh, _ := esmtptest.Certificate(t, "mx.example.org")
	now = &fresh
	if ask("mx.example.org") != now {
		t.Error("not the certificate that there is")
	}
	now = nil
	if ask("mx.example.org") != &fresh {
		t.Error("the older one is remembered")
	}
}

// Without a certificate to remember it is 454, as it is without a reload.
func TestSTARTTLSOfASessionThatHasOutlivedItsConfigWithoutACertificate(t *testing.T) {
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
	c := dial(t, path)
	c.Expect("220 *")
	c.Cmd("EHLO client.example", "250 HELP")
	load(t, tlsServer(path, "tls off"))
	c.Cmd("STARTTLS", "454 4.7.0 *")
	c.Cmd("NOOP", "250 *")
	c.Cmd("QUIT", "221 *")
}

// A route has a certificate of its own, if it has a name of its own: its sessions outlive that too.
func TestSTARTTLSOfARoutesSessionThatHasOutlivedItsCertificate(t *testing.T) {
	path := socket(t)
	trust := tlsCaddy(t, "unix/"+path+" {\nhostname other.example.internal\ntls\n@unix unix\nhandle @unix {\nhostname mx.example.internal\ntest_certified\nlog\n}\n}\n", "mx.example.internal")
	c := dial(t, path)
	c.Expect("220 mx.example.internal *")
	c.Cmd("EHLO client.example", "250 HELP")
	loadAnotherName(t, path)
	c.Cmd("STARTTLS", "220 *")
	if err := c.StartTLS(trust); err != nil {
		t.Fatal(err)
	}
	c.Cmd("QUIT", "221 *")
}
