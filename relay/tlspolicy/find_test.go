package tlspolicy

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay/internal/fakedns"
	"github.com/caddy-esmtp/esmtp/relay/internal/testcert"
	"github.com/caddy-esmtp/esmtp/relay/mtasts"
	"github.com/caddy-esmtp/esmtp/relay/resolver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is some authorities and hosts, and a DNS that knows them.
type world struct {
	ca, daneCA            *testcert.CA
	good, byDomain, other tls.Certificate // for the host, for the domain, for another host; by ca
	selfMade              tls.Certificate // by daneCA, for the host
	zone                  fakedns.Zone
	sts                   *mtasts.Finder
}

func newWorld(t *testing.T) *world {
	w := &world{ca: testcert.NewCA(t), daneCA: testcert.NewCA(t)}
	w.good, w.byDomain, w.other = w.ca.Issue(t, "mx.example.org"), w.ca.Issue(t, "example.org"), w.ca.Issue(t, "evil.example")
	w.selfMade = w.daneCA.Issue(t, "mx.example.org")
	w.zone = fakedns.Zone{}
	cache := mtasts.NewMemory(10)
	w.sts = &mtasts.Finder{Resolver: w.zone, Cache: cache}
	return w
}

func (w *world) policies() *Policies {
	return &Policies{Resolver: w.zone, STS: w.sts, RootCAs: w.ca.Pool()}
}

func (w *world) publish(t *testing.T, mode mtasts.Mode, mx ...string) {
	t.Helper()
	e := mtasts.Entry{Policy: mtasts.Policy{Mode: mode, MX: mx, MaxAge: time.Hour}, ID: "1", Expires: time.Now().Add(time.Hour)}
	if err := w.sts.Cache.Put(t.Context(), "example.org", e); err != nil {
		t.Fatal(err)
	}
}

func tlsa(usage uint8, c *x509.Certificate) resolver.Answer {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return resolver.Answer{Secure: true, TLSA: []resolver.Association{{Usage: usage, Selector: 1, Matching: 1, Data: sum[:]}}}
}

var (
	insecure = Peer{Domain: "example.org", Host: "mx.example.org", Canonical: "mx.example.org", Port: 25}
	secure   = Peer{Domain: "example.org", Host: "mx.example.org", Canonical: "mx.example.org", Port: 25, MXSecure: true, AddrSecure: true}
	fixed    = Peer{Host: "mx.example.org", Canonical: "mx.example.org", Port: 587, MXSecure: true}
)

// handshake connects to a server with the given certificate.
func handshake(t *testing.T, config *tls.Config, cert tls.Certificate) (sni string, err error) {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		server := tls.Server(b, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			sni = h.ServerName
			return &cert, nil
		}})
		server.Handshake()
		b.Close()
	}()
	err = tls.Client(a, config).HandshakeContext(t.Context())
	a.Close()
	<-done
	return sni, err
}

// accepted says which of the certificates a policy lets through: g(ood), d(omain's), o(ther), s(elf made).
func (w *world) accepted(t *testing.T, p Policy) (s string) {
	t.Helper()
	if p.Config == nil {
		return "no TLS"
	}
	for i, cert := range []tls.Certificate{w.good, w.byDomain, w.other, w.selfMade} {
		if _, err := handshake(t, p.Config, cert); err == nil {
			s += "gdos"[i : i+1]
		}
	}
	return s
}

func TestPolicies(t *testing.T) {
	w := newWorld(t)
	nothing := func(*world) {}
	enforce := func(w *world) { w.publish(t, mtasts.ModeEnforce, "*.example.org") }
	enforceOther := func(w *world) { w.publish(t, mtasts.ModeEnforce, "mx.other.example") }
	testing_ := func(w *world) { w.publish(t, mtasts.ModeTesting, "mx.example.org") }
	testingOther := func(w *world) { w.publish(t, mtasts.ModeTesting, "mx.other.example") }
	record := func(key string, v any) func(*world) { return func(w *world) { w.zone["TLSA "+key] = v } }
	ee := record("_25._tcp.mx.example.org", tlsa(3, w.selfMade.Leaf))
	ta := record("_25._tcp.mx.example.org", tlsa(2, w.daneCA.Cert))
	both := func(a, b func(*world)) func(*world) { return func(w *world) { a(w); b(w) } }
	unsigned := tlsa(3, w.selfMade.Leaf)
	unsigned.Secure = false
	for name, c := range map[string]struct {
		set        func(*world)
		peer       Peer
		level      Level
		requireTLS bool
		want       string
	}{
		"nothing published":          {nothing, insecure, Opportunistic, false, "if offered configured false gdos"},
		"required":                   {nothing, insecure, Required, false, "always configured false gdos"},
		"verified":                   {nothing, insecure, Verified, false, "always configured true gd"},
		"verified, configured host":  {nothing, fixed, Verified, false, "always configured true g"},
		"verified, no name":          {nothing, Peer{MXSecure: true}, Verified, false, "always configured true "},
		"none":                       {enforce, secure, None, false, "never configured false no TLS"},
		"none, REQUIRETLS":           {nothing, secure, None, true, "550 5.7.30"},
		"MTA-STS":                    {enforce, insecure, Opportunistic, false, "always mta-sts true g"},
		"MTA-STS, another host":      {enforceOther, insecure, Opportunistic, false, "451 4.7.5"},
		"MTA-STS, testing":           {testing_, insecure, Opportunistic, false, "if offered mta-sts-testing false gdos"},
		"MTA-STS, testing, verified": {testing_, insecure, Verified, false, "always mta-sts-testing true gd"},
		"MTA-STS, testing, another":  {testingOther, insecure, Opportunistic, false, "if offered mta-sts-testing false gdos"},
		"MTA-STS, configured host":   {enforceOther, fixed, Opportunistic, false, "if offered configured false gdos"},
		"DANE-EE":                    {ee, secure, Opportunistic, false, "always dane true s"},
		"DANE-TA":                    {ta, secure, Opportunistic, false, "always dane true s"},
		"DANE, verified":             {ee, secure, Verified, false, "always dane true s"},
		"DANE over MTA-STS":          {both(ee, enforceOther), secure, Opportunistic, false, "always dane true s"},
		"DANE, MX not secure":        {ee, insecure, Opportunistic, false, "if offered configured false gdos"},
		"DANE, address not secure": {ee, Peer{Domain: "example.org", Host: "mx.example.org", Canonical: "mx.example.org", Port: 25, MXSecure: true},
			Opportunistic, false, "if offered configured false gdos"},
		"DANE, record not secure":    {record("_25._tcp.mx.example.org", unsigned), secure, Opportunistic, false, "if offered configured false gdos"},
		"DANE, can't be had":         {record("_25._tcp.mx.example.org", resolver.ErrTemporary), secure, Opportunistic, false, "451 4.4.3"},
		"DANE, can't be had, unused": {record("_25._tcp.mx.example.org", resolver.ErrTemporary), insecure, Opportunistic, false, "if offered configured false gdos"},
		"DANE, unusable":             {record("_25._tcp.mx.example.org", tlsa(1, w.good.Leaf)), secure, Opportunistic, false, "always dane false gdos"},
		"DANE, unusable, verified":   {record("_25._tcp.mx.example.org", tlsa(1, w.good.Leaf)), secure, Verified, false, "always dane true gd"},
		"DANE, unusable, MTA-STS":    {both(record("_25._tcp.mx.example.org", tlsa(1, w.good.Leaf)), enforce), secure, Opportunistic, false, "always mta-sts true g"},
		"DANE, another port":         {ee, fixed, Opportunistic, false, "if offered configured false gdos"},
		"DANE, configured host": {record("_587._tcp.mx.example.org", tlsa(3, w.selfMade.Leaf)), Peer{Host: "mx.example.org", Canonical: "mx.example.org", Port: 587, MXSecure: true, AddrSecure: true},
			Opportunistic, false, "always dane true s"},
		"DANE, where a CNAME leads": {record("_25._tcp.to.example.net", tlsa(3, w.selfMade.Leaf)), Peer{Domain: "example.org", Host: "mx.example.org", Canonical: "to.example.net", Port: 25, MXSecure: true, AddrSecure: true},
			Opportunistic, false, "always dane true s"},
		"DANE, where a CNAME begins": {ee, Peer{Domain: "example.org", Host: "mx.example.org", Canonical: "to.example.net", Port: 25, MXSecure: true, AddrSecure: true},
			Opportunistic, false, "always dane true s"},
		"DANE, a CNAME out of DNSSEC": {both(ee, func(w *world) { w.zone["CNAME mx.example.org"] = resolver.Answer{Name: "to.example.net", Secure: true} }),
			Peer{Domain: "example.org", Host: "mx.example.org", Canonical: "to.example.net", Port: 25, MXSecure: true}, Opportunistic, false, "always dane true s"},
		"DANE, a CNAME not secure": {both(ee, func(w *world) { w.zone["CNAME mx.example.org"] = resolver.Answer{Name: "to.example.net"} }),
			Peer{Domain: "example.org", Host: "mx.example.org", Canonical: "to.example.net", Port: 25, MXSecure: true}, Opportunistic, false, "if offered configured false gdos"},
		"REQUIRETLS, DNSSEC":           {nothing, secure, Opportunistic, true, "always configured true gd"},
		"REQUIRETLS, DANE":             {ee, secure, Opportunistic, true, "always dane true s"},
		"REQUIRETLS, MTA-STS":          {enforce, insecure, Opportunistic, true, "always mta-sts true g"},
		"REQUIRETLS, MTA-STS testing":  {testing_, insecure, Opportunistic, true, "always mta-sts-testing true gd"},
		"REQUIRETLS, testing, another": {testingOther, insecure, Opportunistic, true, "550 5.7.30"},
		"REQUIRETLS, nothing":          {nothing, insecure, Opportunistic, true, "550 5.7.30"},
		"REQUIRETLS, configured host":  {nothing, fixed, Opportunistic, true, "always configured true g"},
		"an address":                   {nothing, Peer{Host: "192.0.2.1", Canonical: "192.0.2.1", Port: 25, MXSecure: true}, Opportunistic, false, "if offered configured false gdos"},
	} {
		t.Run(name, func(t *testing.T) {
			clear(w.zone)
			w.zone["TXT _mta-sts.example.org"] = resolver.Answer{TXT: []string{"v=STSv1; id=1"}}
			w.publish(t, mtasts.ModeNone)
			c.set(w)
			p, err := w.policies().For(t.Context(), c.peer, c.level, c.requireTLS)
			got := fmt.Sprint(p.Mode, " ", p.Source, " ", p.Verified, " ")
			if err != nil {
				reply := esmtp.ReplyOf(err)
				got = fmt.Sprint(reply.Code, " ", reply.Enh)
			} else {
				got += w.accepted(t, p)
			}
			if got != c.want {
				t.Errorf("%s (%v), want %s", got, err, c.want)
			}
		})
	}
}

func TestTheServerIsToldWhomWeWant(t *testing.T) {
	w := newWorld(t)
	w.zone["TLSA _25._tcp.to.example.net"] = tlsa(3, w.selfMade.Leaf)
	cname := Peer{Domain: "example.org", Host: "mx.example.org", Canonical: "to.example.net", Port: 25, MXSecure: true, AddrSecure: true}
	for _, c := range []struct {
		peer Peer
		want string
	}{{insecure, "mx.example.org"}, {cname, "to.example.net"}, {Peer{Host: "192.0.2.1"}, ""}, {Peer{}, ""}} {
		p, err := w.policies().For(t.Context(), c.peer, Opportunistic, false)
		if err != nil {
			t.Fatal(err)
		}
		if sni, err := handshake(t, p.Config, w.selfMade); err != nil || sni != c.want {
			t.Errorf("%+v: %q %v", c.peer, sni, err)
		}
	}
}

func TestDANEAndMTASTSCanBeLeftOut(t *testing.T) {
	w := newWorld(t)
	w.zone["TLSA _25._tcp.mx.example.org"] = tlsa(3, w.selfMade.Leaf)
	p := &Policies{Resolver: w.zone, NoDANE: true}
	if got, err := p.For(t.Context(), secure, Opportunistic, false); err != nil || got.Mode != IfOffered {
		t.Error(got, err)
	}
	if got, err := new(Policies).For(t.Context(), secure, Required, false); err != nil || got.Mode != Always {
		t.Error(got, err)
	}
}

func TestOurCertificateIsShown(t *testing.T) {
	w := newWorld(t)
	p, err := (&Policies{Certificate: &w.good}).For(t.Context(), insecure, Opportunistic, false)
	if err != nil || len(p.Config.Certificates) != 1 {
		t.Error(p, err)
	}
}
