package caddymodule

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/handler/proxy"
	"github.com/caddy-esmtp/esmtp/relay/resolver"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

func init() {
	caddy.RegisterModule(new(Relay))
	caddy.RegisterModule(new(LMTP))
}

// Relay hands mail on to another mail server while the client waits: the next hop's answer is the client's answer. Nothing is kept here, so nothing
// can be lost. It is how to put Caddy in front of a mail server: certificates, checks and logs are Caddy's, the mail is the other's.
//
//	relay <hop...> {
//		tls      opportunistic|required|verified|none [<ca_file>]
//		auth     <user> <password>
//		forward  xclient|xforward|proxy
//		timeouts {
//			connect  <duration>
//			greeting <duration>
//			command  <duration>
//			data     <duration>
//			block    <duration>
//			final    <duration>
//		}
//	}
//
// A hop is "host", "host:port", "smtps://host", "lmtp://host:port", "mx://domain", "unix//path" (LMTP) or "smtp+unix:///path". They are tried in their
// order until one answers; one that didn't is left alone for up to 30 seconds. A session has one connection to the next hop, made at its first MAIL.
//
// EHLO offers only what the next hop does. What it can't take is refused before it is transferred.
//
// Relay ends a stack: handlers below it hear of the envelope, and keep nothing.
type Relay struct {
	// To are the next hops, in the order in which to try them. Placeholders such as `{env.*}` are replaced.
	To []string `json:"to"`

	// TLS is the least protection: `opportunistic`, the default, `required`, `verified` or `none`. With a login opportunistic means verified, but for
	// sockets.
	TLS string `json:"tls,omitempty"`

	// TLSCAFile has the certificates, in PEM, of who may vouch for next hops, instead of the system's. Only with `verified`.
	TLSCAFile string `json:"tls_ca_file,omitempty"`

	// Auth is how to log in at the next hop.
	Auth *RelayAuth `json:"auth,omitempty"`

	// Forward is how the next hop learns who the client is: `xclient`, `xforward` or `proxy`. It must be told to believe us.
	Forward string `json:"forward,omitempty"`

	// Timeouts are how long to wait for the next hop.
	Timeouts *RelayTimeouts `json:"timeouts,omitempty"`

	proxy *proxy.Proxy
}

// RelayAuth is a login at a next hop. Placeholders such as `{env.*}` are replaced. The password is only shown in TLS, to a
// server that proves its name unless TLS is `required`.
type RelayAuth struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// RelayTimeouts are how long to wait for a next hop. Defaults in brackets; most are those of RFC 5321 §4.5.3.2.
type RelayTimeouts struct {
	Connect  caddy.Duration `json:"connect,omitempty"`  // for the connection (10s)
	Greeting caddy.Duration `json:"greeting,omitempty"` // for the greeting, and for TLS (1m)
	Command  caddy.Duration `json:"command,omitempty"`  // for the reply to a command (5m)
	Data     caddy.Duration `json:"data,omitempty"`     // for the reply to DATA (2m)
	Block    caddy.Duration `json:"block,omitempty"`    // for 64 KiB of a message to be taken (3m)
	Final    caddy.Duration `json:"final,omitempty"`    // for the reply to a message (10m)
}

// LMTP hands mail on by LMTP while the client waits, to a server that delivers to mailboxes, such as Dovecot. It is [Relay] with hops that speak LMTP
// where they don't say otherwise.
//
//	lmtp <hop...> {
//		<the options of relay>
//	}
//
// The next hop has a reply for each recipient. Clients that speak LMTP, or SMTP with PRDR, which is offered, get them all. Any other client gets
// 451 if they differ, and sends the message again.
//
// Without an argument `lmtp` is a setting of the server: to speak LMTP itself.
type LMTP struct{ Relay }

// CaddyModule returns the Caddy module information.
func (*Relay) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.handlers.relay", New: func() caddy.Module { return new(Relay) }}
}

// CaddyModule returns the Caddy module information.
func (*LMTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.handlers.lmtp", New: func() caddy.Module { return new(LMTP) }}
}

// Provision reads the hops; it connects to nobody.
func (r *Relay) Provision(caddy.Context) error { return r.provision("relay") }

// Provision reads the hops; it connects to nobody.
func (l *LMTP) Provision(caddy.Context) error { return l.provision("lmtp") }

func (r *Relay) provision(name string) error {
	p, err := r.build(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.proxy = p
	return nil
}

func (r *Relay) build(name string) (*proxy.Proxy, error) {
	if err := r.Timeouts.check(); err != nil {
		return nil, err
	}
	level, ok := relayLevels[r.TLS]
	if !ok {
		return nil, fmt.Errorf("tls is one of %s, not %q", choices(relayLevels), r.TLS)
	}
	forward, ok := relayForwards[r.Forward]
	if !ok {
		return nil, fmt.Errorf("forward is one of %s, not %q", choices(relayForwards), r.Forward)
	}
	p := &proxy.Proxy{Level: level, Forward: forward, Timeouts: r.Timeouts.client()}
	if err := r.addHops(p, name); err != nil {
		return nil, err
	}
	if r.Auth != nil {
		var err error
		if p.Auth, err = r.Auth.login(); err != nil {
			return nil, err
		}
	}
	roots, err := r.roots()
	if err != nil {
		return nil, err
	}
	if p.TLS = (&tlspolicy.Policies{RootCAs: roots, NoDANE: p.Router == nil}); p.Router != nil {
		p.TLS.Resolver = p.Router.Resolver
	}
	return p, nil
}

// login is the login as the client takes it.
func (a *RelayAuth) login() (*smtpclient.Auth, error) {
	user, err := replaceFree("auth: user", a.User)
	if err != nil {
		return nil, err
	}
	password, err := replaceFree("auth: password", a.Password)
	switch {
	case err != nil:
		return nil, err
	case user == "":
		return nil, errors.New("auth: there is no user")
	case password == "":
		return nil, errors.New("auth: the password is empty: leave auth out if the next hop wants none")
	}
	return &smtpclient.Auth{User: user, Password: password}, nil
}

// addHops reads the hops, and makes a resolver if one of them needs the DNS for more than an address.
func (r *Relay) addHops(p *proxy.Proxy, name string) error {
	if len(r.To) == 0 {
		return errors.New("there is no next hop")
	}
	for _, text := range r.To {
		text, err := replace("to", text)
		if err != nil {
			return err
		}
		hop, err := parseHop(name, text)
		if err != nil {
			return err
		}
		switch {
		case hop.Path != "" && p.Level == tlspolicy.Verified:
			return fmt.Errorf("%s is a socket, which has no name that could be verified: leave tls out", text)
		case hop.Protocol == route.SMTPS && p.Level == tlspolicy.None:
			return fmt.Errorf("%s is TLS from the start, and tls is none", text)
		}
		p.Hops = append(p.Hops, hop)
		if hop.MX && p.Router == nil {
			dns, err := resolver.New(resolver.Config{})
			if err != nil {
				return err
			}
			p.Router = &route.Router{Resolver: dns}
		}
	}
	return nil
}

// roots are who may vouch for next hops; nil for the system's.
func (r *Relay) roots() (*x509.CertPool, error) {
	if r.TLSCAFile == "" {
		return nil, nil
	}
	if r.TLS != "verified" {
		return nil, errors.New("a CA file has no meaning but with tls verified")
	}
	path, err := replace("tls_ca_file", r.TLSCAFile)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificates in PEM", r.TLSCAFile)
	}
	return roots, nil
}

// client is the timeouts as the client takes them.
func (t *RelayTimeouts) client() smtpclient.Timeouts {
	if t == nil {
		return smtpclient.Timeouts{}
	}
	d := func(v caddy.Duration) time.Duration { return time.Duration(v) }
	return smtpclient.Timeouts{Connect: d(t.Connect), Greeting: d(t.Greeting), Command: d(t.Command), Data: d(t.Data), Block: d(t.Block), Final: d(t.Final)}
}

// NewLayer makes the layer of a connection.
func (r *Relay) NewLayer(s *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return r.proxy.NewLayer(s, next)
}
