package tlspolicy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay/dane"
	"github.com/caddy-esmtp/esmtp/relay/mtasts"
	"github.com/caddy-esmtp/esmtp/relay/resolver"
)

// The replies for hosts that must not get the mail. The texts are for the sender, who reads them in a report.
var (
	errTLSA       = esmtp.Deny(451, 4, 4, 3, "the DNS has no answer for now about the server's certificate")
	errSTS        = esmtp.Deny(451, 4, 7, 5, "the domain's MTA-STS policy doesn't know this server")
	errRequireTLS = esmtp.Deny(550, 5, 7, 30, "the way to this server can't be protected as the message asks for") // RFC 8689 §5
)

// For finds the policy for one host. The message asks for more with requireTLS (RFC 8689): a host that proves its name, of which it is
// sure that the domain named it, by DNSSEC or MTA-STS; the caller looks whether the server offers REQUIRETLS.
//
// An error wraps an [esmtp.Reply], which [esmtp.ReplyOf] finds, for this host: a temporary one if the policy could not be found out or doesn't
// let us deliver to this host (another one may do), a permanent one only for requireTLS.
func (p *Policies) For(ctx context.Context, peer Peer, level Level, requireTLS bool) (Policy, error) {
	if level == None {
		if requireTLS {
			return Policy{}, fmt.Errorf("tlspolicy: %s: no TLS by configuration: %w", peer.Host, errRequireTLS)
		}
		return Policy{Detail: "no TLS by configuration"}, nil
	}
	policy, err := p.dane(ctx, peer)
	if err != nil {
		return Policy{}, err
	}
	named := peer.MXSecure
	if !policy.Verified {
		var sts Policy
		if sts, err = p.sts(ctx, peer, &named); err != nil {
			return Policy{}, err
		}
		if sts.Verified || policy.Source == Configured {
			policy = sts
		}
	}
	if requireTLS && !named {
		return Policy{}, fmt.Errorf("tlspolicy: %s: neither DNSSEC nor MTA-STS say that this is the domain's host: %w", peer.Host, errRequireTLS)
	}
	if !policy.Verified && (level == Verified || requireTLS) {
		policy.Config, policy.Verified = p.pkix(peer), true
	}
	if policy.Config == nil {
		policy.Config = p.config(peer.Host)
	}
	if policy.Verified || level == Required {
		policy.Mode = Always
	}
	policy.Mode = max(policy.Mode, IfOffered)
	return policy, nil
}

// dane finds the TLSA records of a host (RFC 7672 §2.2). Only what DNSSEC vouches for counts, from the domain to the record.
func (p *Policies) dane(ctx context.Context, peer Peer) (Policy, error) {
	if p.NoDANE || p.Resolver == nil || !peer.MXSecure || !hasName(peer) {
		return Policy{}, nil
	}
	for _, base := range p.bases(ctx, peer) {
		a, err := p.Resolver.Lookup(ctx, "_"+strconv.Itoa(int(peer.Port))+"._tcp."+base, resolver.TLSA)
		switch {
		case errors.Is(err, resolver.ErrNotFound), errors.Is(err, resolver.ErrName):
			continue
		case err != nil: // somebody may be keeping it from us (RFC 7672 §2.1.2)
			return Policy{}, fmt.Errorf("tlspolicy: %s: %w: %w", base, errTLSA, err)
		case !a.Secure || len(a.TLSA) == 0:
			continue
		}
		set, names := dane.Usable(a.TLSA), []string{base}
		if peer.Domain != "" {
			names = append(names, peer.Domain) // RFC 7672 §3.2.2
		}
		config := p.config(base) // RFC 7672 §8.1: the server may choose its certificate by it
		if set.Empty() {
			return Policy{Mode: Always, Source: DANE, Config: config, Detail: "no TLSA record can be used"}, nil
		}
		config.VerifyConnection = func(s tls.ConnectionState) error { return set.Verify(s.PeerCertificates, names, time.Now()) }
		return Policy{Mode: Always, Source: DANE, Config: config, Verified: true}, nil
	}
	return Policy{}, nil
}

// hasName reports whether the host has a name, not only an address.
func hasName(peer Peer) bool {
	_, err := netip.ParseAddr(peer.Host)
	return peer.Host != "" && err != nil
}

// bases are the names that can have TLSA records: where the CNAMEs lead if all of the way is secure, then the name itself (RFC 7672 §2.2.2).
func (p *Policies) bases(ctx context.Context, peer Peer) []string {
	switch {
	case peer.Canonical == "" || peer.Canonical == peer.Host:
		if peer.AddrSecure {
			return []string{peer.Host}
		}
		return nil
	case peer.AddrSecure:
		return []string{peer.Canonical, peer.Host}
	}
	// Where the CNAMEs lead is not secure, but that there is one can be.
	if a, err := p.Resolver.Lookup(ctx, peer.Host, resolver.CNAME); err == nil && a.Secure {
		return []string{peer.Host}
	}
	return nil
}

// sts applies the MTA-STS policy of the domain (RFC 8461 §5). named becomes true if the policy names the host.
func (p *Policies) sts(ctx context.Context, peer Peer, named *bool) (Policy, error) {
	if p.STS == nil || peer.Domain == "" || !hasName(peer) {
		return Policy{}, nil
	}
	policy, ok := p.STS.Find(ctx, peer.Domain)
	if !ok {
		return Policy{}, nil
	}
	fits := policy.Matches(peer.Host)
	*named = *named || fits
	switch {
	case policy.Mode == mtasts.ModeEnforce && fits:
		return Policy{Mode: Always, Source: MTASTS, Config: p.verified(peer.Host, peer.Host), Verified: true}, nil
	case policy.Mode == mtasts.ModeEnforce:
		return Policy{}, fmt.Errorf("tlspolicy: %s: %w", peer.Host, errSTS)
	case fits:
		return Policy{Source: MTASTSTest}, nil
	}
	return Policy{Source: MTASTSTest, Detail: "the policy doesn't know this host"}, nil
}

// pkix is for a host that has to prove its name by operator's or sender's wish. A certificate for the domain does as well as one for the
// host: it says even more.
func (p *Policies) pkix(peer Peer) *tls.Config {
	if peer.Domain != "" && peer.Domain != peer.Host {
		return p.verified(peer.Host, peer.Host, peer.Domain)
	}
	return p.verified(peer.Host, peer.Host)
}

// verified makes a configuration in which the server must have a valid certificate for one of names.
func (p *Policies) verified(sni string, names ...string) *tls.Config {
	config := p.config(sni)
	config.VerifyConnection = func(s tls.ConnectionState) error {
		chain := s.PeerCertificates
		if len(chain) == 0 {
			return errors.New("tlspolicy: the server has no certificate")
		}
		others := x509.NewCertPool()
		for _, c := range chain[1:] {
			others.AddCert(c)
		}
		if _, err := chain[0].Verify(x509.VerifyOptions{Roots: p.RootCAs, Intermediates: others}); err != nil {
			return fmt.Errorf("tlspolicy: %w", err)
		}
		var err error
		for _, name := range names {
			if err = chain[0].VerifyHostname(name); err == nil {
				return nil
			}
		}
		return fmt.Errorf("tlspolicy: %w", err)
	}
	return config
}

// config makes a configuration for anybody; VerifyConnection does the checking, if there is to be any.
func (p *Policies) config(sni string) *tls.Config {
	config := &tls.Config{ServerName: sni, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	if p.Certificate != nil {
		config.Certificates = []tls.Certificate{*p.Certificate}
	}
	return config
}
