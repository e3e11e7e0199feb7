package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"sync"
	"time"
)

// certificateVar is how a server gets the certificate, with its key, in PEM. It is worth nothing outside of this run.
const certificateVar = "BENCH_CERTIFICATE"

// certificate is made once, so that all servers have the same.
var certificate = sync.OnceValues(makeCertificate)

func makeCertificate() (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("bench: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"sink.example"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", fmt.Errorf("bench: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("bench: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), nil
}

// serverTLS is what a server in Go gets, for work in TLS; else nil, so that it does not offer any. All but the certificate is Go's default.
func serverTLS(w *work) (*tls.Config, error) {
	if !w.tls {
		return nil, nil
	}
	text := []byte(os.Getenv(certificateVar))
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}, nil
}

// clientTLS is the same for all servers.
var clientTLS = &tls.Config{InsecureSkipVerify: true, ClientSessionCache: forgetful{}}

// forgetful makes the client ask for a session ticket, as mail servers do, without which Go's servers send none. It never comes back
// with one: every handshake is a full one.
type forgetful struct{}

func (forgetful) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (forgetful) Put(string, *tls.ClientSessionState)        {}

// secure does the handshake, behind the reply to STARTTLS.
func (c *client) secure() error {
	if c.r != c.w {
		return errors.New("bench: the server says more, behind its reply to STARTTLS")
	}
	conn := tls.Client(c.conn, clientTLS)
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	c.conn = conn
	return nil
}
