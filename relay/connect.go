package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
	"github.com/caddy-esmtp/esmtp/smtpclient"
	"github.com/caddy-esmtp/esmtp/spool"
)

// addresses are the addresses of a host; a Unix socket has an empty one.
func addresses(h route.Host) []netip.AddrPort {
	if h.Hop.Path != "" {
		return []netip.AddrPort{{}}
	}
	return h.Addrs
}

// policyError is a host that we must not connect to.
type policyError struct{ error }

func (e policyError) Unwrap() error { return e.error }

func isPolicy(err error) bool { return errors.As(err, new(policyError)) }

// connect makes a connection to one address of a host, in the TLS that it takes. Where TLS is only a good thing to have, a handshake that fails is
// followed by another connection without it (RFC 3207 §4.1, RFC 7435).
func (a *attempt) connect(ctx context.Context, hop route.Hop, host route.Host, addr netip.AddrPort, level tlspolicy.Level) (*conn, error) {
	var policy tlspolicy.Policy
	var err error
	a.r.patiently(func() { policy, err = a.policy(ctx, host, level) })
	if err != nil {
		return nil, policyError{err}
	}
	opts := a.options(hop, policy)
	conn, err := a.dial(ctx, host, addr, opts)
	if errors.Is(err, smtpclient.ErrHandshake) && policy.Mode == tlspolicy.IfOffered && !opts.ImplicitTLS && ctx.Err() == nil {
		a.r.log.Info("TLS handshake failed, going on without", "item", a.item.ID.String(), "host", host.Host, "address", addr.String(), "error", err)
		clear := *opts
		clear.TLS, clear.TLSConfig, clear.VerifiesServer = smtpclient.Never, nil, false
		conn, err = a.dial(ctx, host, addr, &clear)
	}
	if err != nil {
		return nil, err
	}
	conn.policy = sourceName(policy.Source)
	return conn, nil
}

// policy finds out how the connection must be protected.
func (a *attempt) policy(ctx context.Context, host route.Host, level tlspolicy.Level) (tlspolicy.Policy, error) {
	policies := a.r.TLS
	if policies == nil {
		policies = &tlspolicy.Policies{NoDANE: true}
	}
	if host.Hop.Path != "" && level == tlspolicy.Opportunistic {
		return tlspolicy.Policy{Mode: tlspolicy.Never}, nil // nobody is in between
	}
	if a.waivesTLS() {
		waived := *policies
		waived.NoDANE, waived.STS = true, nil
		policies = &waived
	}
	return policies.For(ctx, host.Peer, level, a.requireTLS())
}

// options are for the client.
func (a *attempt) options(hop route.Hop, policy tlspolicy.Policy) *smtpclient.Options {
	opts := &smtpclient.Options{
		LocalName:      a.r.Hostname,
		Auth:           a.r.login(hop),
		LMTP:           hop.Protocol == route.LMTP,
		ImplicitTLS:    hop.Protocol == route.SMTPS,
		TLSConfig:      policy.Config,
		VerifiesServer: policy.Verified,
		Timeouts:       a.r.Timeouts,
		Limits:         a.r.Limits,
	}
	switch policy.Mode {
	case tlspolicy.Never:
		opts.TLS = smtpclient.Never
	case tlspolicy.Always:
		opts.TLS = smtpclient.Required
	}
	return opts
}

func (a *attempt) dial(ctx context.Context, host route.Host, addr netip.AddrPort, opts *smtpclient.Options) (*conn, error) {
	network, address := "tcp", addr.String()
	if host.Hop.Path != "" {
		network, address = "unix", host.Hop.Path
	}
	name := host.Host
	if name == "" {
		name = address
	}
	var raw net.Conn
	var err error
	a.r.patiently(func() { raw, err = a.r.Dial(ctx, network, address) })
	if err != nil {
		return nil, &smtpclient.Error{Class: smtpclient.Network, Verb: "connect", Reply: replyLost, Local: true, Err: err}
	}
	patient := &patientConn{Conn: raw, r: a.r, held: true}
	c, err := smtpclient.New(ctx, patient, opts)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, patient: patient, host: name, made: time.Now()}, nil
}

func tlsVersion(v uint16) string { return tls.VersionName(v) }

func sourceName(s tlspolicy.Source) string {
	switch s {
	case tlspolicy.DANE:
		return "dane"
	case tlspolicy.MTASTS, tlspolicy.MTASTSTest:
		return "mta-sts"
	}
	return "configured"
}

// forwarded is what XFORWARD says of where an item came from.
func forwarded(item *spool.Item) *esmtp.Forwarded {
	o := item.Origin
	f := &esmtp.Forwarded{Given: true, Name: o.Name, HELO: o.Helo, Proto: o.Protocol, Ident: item.ID.String(), Source: "REMOTE", Port: uint16(o.Port)}
	if addr, err := netip.ParseAddr(o.Client); err == nil {
		f.Addr = addr
	} else {
		f.Source = "LOCAL"
	}
	return f
}
