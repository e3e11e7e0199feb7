package caddymodule

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
)

// TLS says how a server uses TLS. In a Caddyfile:
//
//	tls [off|internal] {
//		required
//		connection_policy {
//			...
//		}
//	}
//
// The certificate is that of the server's hostname, and Caddy's own: got, kept and renewed as for a site, with no reload. A name that
// isn't public gets it from Caddy's own authority. Clients may ask for any server name, or none, and get this certificate. The only
// protocol name (ALPN) is smtp: a client that names others and not this one is refused. Sessions that have outlived their config can still be given
// the certificates that it had, until those expire.
//
// STARTTLS is offered on all addresses but those that are in TLS from the start, which are those that begin with tls:// and those with
// port 465. As long as there is no certificate STARTTLS is answered with 454.
//
// Without the setting a server uses TLS if its hostname is a public domain name, unless all of its addresses are loopback addresses
// or Unix sockets; or if one of its addresses is in TLS from the start.
type TLS struct {
	// Off means no TLS, whatever the hostname is. Port 465 is then one like any other.
	Off bool `json:"off,omitempty"`

	// Internal has Caddy's own authority issue the certificate, for a public name too, unless an automation policy names that already.
	Internal bool `json:"internal,omitempty"`

	// Required refuses all but EHLO, NOOP, STARTTLS and QUIT with 530 5.7.0 until TLS is on.
	Required bool `json:"required,omitempty"`

	// ConnectionPolicies are those of Caddy's sites: versions, ciphers, client certificates, which certificate for which client. The first one
	// that matches a client counts; a client that none matches is refused. Here alpn is smtp unless it is set, default_sni and fallback_sni
	// are the hostname. Default: one for all clients.
	ConnectionPolicies caddytls.ConnectionPolicies `json:"connection_policies,omitempty"`

	app    *caddytls.TLS
	name   string // that needs a certificate
	memory []*certMemory
}

// tls reads the setting tls.
func (p *parser) tls(st *Settings) error {
	t := new(TLS)
	if p.NextArg() {
		switch word := p.Val(); word {
		case "off":
			t.Off = true
		case "internal":
			t.Internal = true
		default:
			return p.Errf("tls takes off, internal or a block, not %q", word)
		}
		if p.NextArg() {
			return p.Errf("tls takes off, internal or a block: what is %q?", p.Val())
		}
	}
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		if t.Off {
			return p.Err("tls off takes no block")
		}
		switch name := p.Val(); name {
		case "required":
			if err := p.flag(&t.Required); err != nil {
				return err
			}
		case "connection_policy":
			policy := new(caddytls.ConnectionPolicy)
			if err := policy.UnmarshalCaddyfile(p.NewFromNextSegment()); err != nil {
				return err
			}
			t.ConnectionPolicies = append(t.ConnectionPolicies, policy)
		default:
			return p.Errf("tls: unrecognized option %q%s", name, didYouMean(name, []string{"required", "connection_policy"}))
		}
	}
	st.TLS = t
	return nil
}

// checkTLS finds what doesn't go together, as far as that can be told without the values of placeholders.
func (srv *Server) checkTLS() error {
	scheme := slices.ContainsFunc(srv.Listen, func(text string) bool { return strings.HasPrefix(text, schemeTLS) })
	switch {
	case srv.TLS != nil && srv.TLS.Off && scheme:
		return errors.New("tls is off, but an address begins with " + schemeTLS)
	case (srv.TLS != nil && !srv.TLS.Off || scheme) && srv.Hostname == "":
		return errors.New("tls needs a hostname: that is the name on the certificate")
	}
	return nil
}

// wantsTLS returns the server's setting, or the one that goes without saying; nil if there is to be no TLS.
func (srv *Server) wantsTLS(hostname string) *TLS {
	implicit := slices.ContainsFunc(srv.addresses, func(a address) bool { return a.tls })
	local := len(srv.addresses) > 0 && !slices.ContainsFunc(srv.addresses, func(a address) bool { return !a.isLocal() })
	public := strings.Contains(hostname, ".") && certmagic.SubjectQualifiesForPublicCert(hostname) && !isIP(hostname)
	switch {
	case srv.TLS != nil && srv.TLS.Off:
		return nil
	case srv.TLS != nil:
		return srv.TLS
	case hostname != "" && (implicit || public && !local):
		return new(TLS)
	}
	return nil
}

// certificateName is the name that a certificate for a host is issued for: that of an address literal is the address.
func certificateName(hostname string) string {
	if literal, ok := strings.CutPrefix(hostname, "["); ok {
		return strings.TrimPrefix(strings.TrimSuffix(literal, "]"), "IPv6:")
	}
	return strings.ToLower(strings.TrimSuffix(hostname, "."))
}

func isIP(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

// provision makes the configuration for handshakes. The policies get the context of the sessions, the TLS app that of Caddy's config.
func (t *TLS) provision(ctx, sessions caddy.Context, hostname string) (*tls.Config, error) {
	app, err := ctx.App("tls")
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	t.app = app.(*caddytls.TLS)
	t.name = certificateName(hostname)
	if t.Internal || !certmagic.SubjectQualifiesForPublicCert(t.name) || isIP(t.name) {
		if err := t.issueInternally(); err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
	}
	if err := t.manageWhenStarted(ctx); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	if len(t.ConnectionPolicies) == 0 {
		t.ConnectionPolicies = caddytls.ConnectionPolicies{new(caddytls.ConnectionPolicy)}
	}
	for i, policy := range t.ConnectionPolicies {
		if policy == nil {
			return nil, fmt.Errorf("tls: connection policy %d: there is nothing in it", i)
		}
		if len(policy.ALPN) == 0 {
			policy.ALPN = []string{"smtp"} // RFC 7301 §3.2
		}
		setName(&policy.DefaultSNI, t.name) // without them a client that gives no name, or another one, is refused
		setName(&policy.FallbackSNI, t.name)
	}
	if err := t.ConnectionPolicies.Provision(sessions); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	for _, policy := range t.ConnectionPolicies {
		policy.TLSConfig.NextProtos = slices.Clone(policy.ALPN) // Caddy adds acme-tls/1, whose challenges don't come to our ports
		t.memory = append(t.memory, newCertMemory(policy))
	}
	return t.ConnectionPolicies.TLSConfig(sessions), nil
}

func setName(name *string, value string) {
	if *name == "" {
		*name = value
	}
}

// issueInternally makes a policy for our name, with Caddy's own authority, if none names it yet.
func (t *TLS) issueInternally() error {
	if t.app.Automation != nil {
		for _, policy := range t.app.Automation.Policies {
			if slices.Contains(policy.Subjects(), t.name) {
				return nil
			}
		}
	}
	return t.app.AddAutomationPolicy(&caddytls.AutomationPolicy{
		SubjectsRaw: []string{t.name},
		IssuersRaw:  []json.RawMessage{json.RawMessage(`{"module":"internal"}`)},
	})
}

// manageWhenStarted has Caddy get our certificate once all apps have started: the app tls may start after ours, and is not to be used while it does.
func (t *TLS) manageWhenStarted(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return err
	}
	return app.(*caddyevents.App).On("started", &certificateManager{t, ctx.Slogger()})
}

// certificateManager waits for Caddy to have started.
type certificateManager struct {
	tls *TLS
	log *slog.Logger
}

// Handle has Caddy get our certificate and renew it, unless there is one: from a file, or for a site.
func (m *certificateManager) Handle(context.Context, caddy.Event) error {
	t := m.tls
	if t.app.HasCertificateForSubject(t.name) {
		return nil
	}
	if err := t.app.Manage(map[string]struct{}{t.name: {}}); err != nil {
		m.log.Error("certificate can't be managed", "name", t.name, "error", err)
	}
	return nil
}
