package esmtptest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"
)

// Certificate makes a certificate for a host name, and a configuration for clients that trust it and nothing else. It can serve for
// a client certificate too.
func Certificate(t testing.TB, hostname string) (cert tls.Certificate, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		DNSNames:              []string{hostname},
		NotBefore:             time.Unix(0, 0), // long ago, also where testing/synctest sets the clock
		NotAfter:              time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	return cert, &tls.Config{RootCAs: pool, ServerName: hostname}
}

// StartTLS does a TLS handshake, after the server's 220 to STARTTLS or from the start. From then on the client speaks inside TLS.
func (c *Client) StartTLS(config *tls.Config) error {
	ctx, cancel := context.Background(), func() {}
	if c.Patience > 0 {
		ctx, cancel = context.WithTimeout(ctx, c.Patience)
	}
	defer cancel()
	conn := tls.Client(c.Conn, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	c.Conn, c.r = net.Conn(conn), bufio.NewReader(conn)
	return nil
}
