// Package tlspolicy decides how a connection to another mail server is protected: whether in TLS, and who the server must prove to be.
//
// The one idea: the operator sets the least that is acceptable, a [Level], and the receiving domain can ask for more, by DANE (RFC 7672)
// or MTA-STS (RFC 8461), DANE coming first (RFC 8461 §2). What comes out is one [Policy] for one host, with a *tls.Config that does all
// the checking.
//
//	policy, err := policies.For(ctx, host.Peer, tlspolicy.Opportunistic, false)
//	…
//	conn := tls.Client(c, policy.Config)
package tlspolicy

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/caddy-esmtp/esmtp/relay/mtasts"
	"github.com/caddy-esmtp/esmtp/relay/resolver"
)

// Level is the least protection that the operator asks for.
type Level uint8

// The levels. In all but None the policy that a domain publishes, by DANE or MTA-STS, makes it stricter.
const (
	Opportunistic Level = iota // TLS if it can be had, with anybody; else in the clear
	Required                   // TLS, with anybody
	Verified                   // TLS, with a host that proves its name (RFC 5280, RFC 9525), or by DANE
	None                       // in the clear
)

// String returns "opportunistic", "required", "verified" or "none".
func (l Level) String() string {
	return [...]string{"opportunistic", "required", "verified", "none"}[l]
}

// ForPassword is the level for a host that we show a password: it is for the server that it is meant for, and not for whoever answers in its place.
// Required and None are somebody's decision, and stay.
func (l Level) ForPassword() Level {
	if l == Opportunistic {
		return Verified
	}
	return l
}

// Peer is the host that a connection goes to, as far as TLS is concerned.
type Peer struct {
	// Domain is the recipients' domain if Host comes from its MX records, or is itself for lack of them; else, for a configured host or an
	// address, "".
	Domain string

	// Host is the name of the host: "mx.example.org", or its address if it has no name: "192.0.2.1". For a Unix socket it is "".
	Host string

	// Canonical is where Host's CNAMEs led; Host itself if there are none.
	Canonical string

	// Port is the TCP port, for the name of the TLSA records.
	Port uint16

	// MXSecure says that DNSSEC vouches for how Domain led to Host. It is true for a configured host.
	MXSecure bool

	// AddrSecure says that DNSSEC vouches for Host's addresses.
	AddrSecure bool
}

// Mode says when to use TLS.
type Mode uint8

// The modes.
const (
	Never     Mode = iota
	IfOffered      // if the server offers it; if the handshake fails another connection in the clear may be tried
	Always         // or deliver nothing to this host
)

// String returns "never", "if offered" or "always".
func (m Mode) String() string { return [...]string{"never", "if offered", "always"}[m] }

// Source says where a policy comes from, for logs and metrics.
type Source uint8

// The sources.
const (
	Configured Source = iota // the operator's level, and nothing stricter
	DANE                     // RFC 7672
	MTASTS                   // RFC 8461
	MTASTSTest               // RFC 8461 in mode testing: the policy asks for more than what is done
)

// String returns "configured", "dane", "mta-sts" or "mta-sts-testing".
func (s Source) String() string {
	return [...]string{"configured", "dane", "mta-sts", "mta-sts-testing"}[s]
}

// Policy is how to connect to one host.
type Policy struct {
	Mode   Mode
	Source Source

	// Config is for tls.Client; nil if Mode is Never. The handshake fails if the host doesn't prove what it must. It is the caller's own.
	Config *tls.Config

	// Verified says that a host with which the handshake succeeds has proved who it is; else TLS is only encryption.
	Verified bool

	// Detail says more for logs: "no usable TLSA records".
	Detail string
}

// Policies finds policies. Set the fields before the first call; any goroutine may call [Policies.For].
type Policies struct {
	// Resolver finds TLSA records.
	Resolver resolver.Resolver

	// STS finds MTA-STS policies. Nil: MTA-STS is not honoured.
	STS *mtasts.Finder

	// NoDANE leaves DANE out. Without a resolver that is trusted there is none anyway.
	NoDANE bool

	// RootCAs are who may vouch for names. Nil: those of the system.
	RootCAs *x509.CertPool

	// Certificate is shown to servers that ask for one. Nil: none.
	Certificate *tls.Certificate
}
