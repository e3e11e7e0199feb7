package caddymodule

import (
	"crypto/tls"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
)

// certMemory remembers the certificates of a connection policy, for sessions that outlive their config: Caddy forgets those that the new
// config has no use for, and STARTTLS would fail. It is a fallback only, and ends with the certificate.
type certMemory struct {
	policy *caddytls.ConnectionPolicy

	mu      sync.RWMutex // guards what follows
	outlive bool         // the config is gone
	certs   map[string]*tls.Certificate
}

// maxRemembered is how many names a memory holds: certificates that Caddy gets on demand can be for any number of them.
const maxRemembered = 1000

// newCertMemory makes a memory, and puts it behind the policy's own way to get a certificate.
func newCertMemory(policy *caddytls.ConnectionPolicy) *certMemory {
	m := &certMemory{policy: policy, certs: make(map[string]*tls.Certificate)}
	get := policy.TLSConfig.GetCertificate
	policy.TLSConfig.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := get(hello)
		if err == nil {
			m.keep(cert)
			return cert, nil
		}
		if old := m.recall(hello.ServerName, time.Now()); old != nil {
			return old, nil
		}
		return nil, err
	}
	return m
}

// keep remembers a certificate by the names in it. These are few: what clients ask for could be anything.
func (m *certMemory) keep(cert *tls.Certificate) {
	if cert.Leaf == nil {
		return
	}
	names := slices.Clone(cert.Leaf.DNSNames)
	for _, ip := range cert.Leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return
	}
	m.mu.RLock()
	known, ok := m.certs[strings.ToLower(names[0])]
	m.mu.RUnlock()
	if ok && known.Leaf == cert.Leaf {
		return // as in nearly every handshake
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		name = strings.ToLower(name)
		if _, ok := m.certs[name]; ok || len(m.certs) < maxRemembered {
			m.certs[name] = cert
		}
	}
}

// recall returns the certificate that the policy would have chosen for a server name, if the config is gone and it is still valid; else nil.
func (m *certMemory) recall(name string, now time.Time) *tls.Certificate {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if !m.outlive {
		return nil
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == "" {
		name = m.policy.DefaultSNI
	}
	_, parent, _ := strings.Cut(name, ".")
	for _, name := range []string{name, "*." + parent, m.policy.FallbackSNI} {
		if cert := m.certs[strings.ToLower(name)]; cert != nil && !now.Before(cert.Leaf.NotBefore) && now.Before(cert.Leaf.NotAfter) {
			return cert
		}
	}
	return nil
}

// outlive prepares for the time after the config, before Caddy forgets certificates: nobody may have asked for them yet. t can be nil.
func (t *TLS) outlive() {
	if t == nil {
		return
	}
	for _, m := range t.memory {
		if m.policy.CertSelection == nil { // else only handshakes tell which ones are right
			for _, name := range []string{m.policy.DefaultSNI, m.policy.FallbackSNI} {
				certs := caddytls.AllMatchingCertificates(name)
				slices.SortFunc(certs, func(a, b certmagic.Certificate) int { return a.Leaf.NotAfter.Compare(b.Leaf.NotAfter) })
				for _, cert := range certs { // the one that lasts longest comes last
					m.keep(&cert.Certificate)
				}
			}
		}
		m.mu.Lock()
		m.outlive = true
		m.mu.Unlock()
	}
}
