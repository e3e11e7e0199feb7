package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// maxTries is how many hosts are tried for a client that waits.
const maxTries = 10

// backend is a connection to a next hop.
type backend struct {
	*smtpclient.Conn
	host  host
	claim claim
}

// alive reports whether there is a connection, as far as is known.
func (b *backend) alive() bool { return b != nil && !b.Closed() }

// resetTime bounds how long the next hop may take to forget a transaction.
const resetTime = 10 * time.Second

// reset makes the next hop forget a transaction.
func (b *backend) reset() {
	ctx, cancel := context.WithTimeout(context.Background(), resetTime)
	defer cancel()
	if _, err := b.Reset(ctx); err != nil {
		b.Close()
	}
}

// host is where a hop leads: something to connect to.
type host struct {
	hop              route.Hop
	network, address string
	peer             tlspolicy.Peer
}

// errNoAnswer is for clients when nobody answers.
var errNoAnswer = esmtp.Deny(451, 4, 4, 1, "no answer from the next host")

// connect makes a connection to the first host that answers, in the name of the session's client, or, with nobody, in our own. An error is
// what to tell the client.
func (p *Proxy) connect(ctx context.Context, s *esmtp.Session, c claim) (*backend, error) {
	if !p.canForward(s) {
		return nil, fmt.Errorf("proxy: the client's address is not known: %w", replyNotHere)
	}
	tries := 0
	for _, hop := range p.Hops {
		hosts, err := p.hosts(ctx, hop)
		if err != nil {
			s.Logger().Error("next hop can't be found", "hop", hop.String(), "error", err)
			continue
		}
		for _, h := range hosts {
			if p.isDown(h) || tries == maxTries {
				continue
			}
			tries++
			begun := time.Now()
			conn, err := p.dial(ctx, s, h, c)
			switch {
			case err == nil:
				p.learn(conn)
				return &backend{Conn: conn, host: h, claim: c}, nil
			case ctx.Err() != nil || p.isAnswer(err):
				return nil, err
			}
			p.failed(s.Logger(), h, time.Since(begun), err)
		}
	}
	return nil, errNoAnswer
}

// isAnswer reports whether a host that refuses a connection means the client and not us: then it is the client's answer.
func (p *Proxy) isAnswer(err error) bool {
	var e *smtpclient.Error
	if !errors.As(err, &e) || e.Local {
		return false
	}
	return e.Verb == "XCLIENT" || p.Forward == ForwardPROXY && e.Verb == "greeting" && e.Class == smtpclient.Permanent
}

// hosts are the hosts of a hop.
func (p *Proxy) hosts(ctx context.Context, hop route.Hop) ([]host, error) {
	switch {
	case hop.Path != "":
		return []host{{hop: hop, network: "unix", address: hop.Path}}, nil
	case !hop.MX:
		peer := tlspolicy.Peer{Host: hop.Host, Canonical: hop.Host, Port: hop.Port, MXSecure: true}
		return []host{{hop, "tcp", net.JoinHostPort(hop.Host, strconv.Itoa(int(hop.Port))), peer}}, nil
	case p.Router == nil:
		return nil, errors.New("proxy: no Router for a hop with MX")
	}
	found, err := p.Router.Hosts(ctx, hop)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	var list []host
	for _, h := range found {
		for _, addr := range h.Addrs {
			list = append(list, host{hop, "tcp", addr.String(), h.Peer})
		}
	}
	return list, nil
}

// dial connects to a host. Where TLS is only a good thing to have, a handshake that fails is followed by another connection without it (RFC 3207
// §4.1, RFC 7435).
func (p *Proxy) dial(ctx context.Context, s *esmtp.Session, h host, c claim) (*smtpclient.Conn, error) {
	policy, err := p.policy(ctx, h)
	if err != nil {
		return nil, err
	}
	opts := p.options(s, h, policy)
	p.forward(s, c, opts)
	conn, err := p.open(ctx, h, opts)
	if errors.Is(err, smtpclient.ErrHandshake) && policy.Mode == tlspolicy.IfOffered && ctx.Err() == nil && !opts.ImplicitTLS {
		s.Logger().Warn("TLS handshake with the next hop failed, going on without", "host", h.address, "error", err)
		opts.TLS, opts.TLSConfig, opts.VerifiesServer = smtpclient.Never, nil, false
		conn, err = p.open(ctx, h, opts)
	}
	return conn, err
}

// policy finds out how a connection must be protected.
func (p *Proxy) policy(ctx context.Context, h host) (tlspolicy.Policy, error) {
	level := p.least(h)
	if h.network == "unix" && level == tlspolicy.Opportunistic {
		return tlspolicy.Policy{Mode: tlspolicy.Never}, nil // nobody is in between
	}
	policies := p.TLS
	if policies == nil {
		policies = &tlspolicy.Policies{NoDANE: true}
	}
	return policies.For(ctx, h.peer, level, false)
}

// least is the least protection of a connection to a host, where we log in more than elsewhere.
func (p *Proxy) least(h host) tlspolicy.Level {
	if p.Auth == nil || p.Auth.AllowInsecure || h.network == "unix" {
		return p.Level
	}
	return p.Level.ForPassword()
}

func (p *Proxy) options(s *esmtp.Session, h host, policy tlspolicy.Policy) *smtpclient.Options {
	opts := &smtpclient.Options{
		LocalName:      s.Hostname(),
		LMTP:           h.hop.Protocol == route.LMTP,
		ImplicitTLS:    h.hop.Protocol == route.SMTPS,
		TLSConfig:      policy.Config,
		VerifiesServer: policy.Verified,
		Auth:           p.Auth,
		Timeouts:       p.Timeouts,
	}
	switch policy.Mode {
	case tlspolicy.Never:
		opts.TLS = smtpclient.Never
	case tlspolicy.Always:
		opts.TLS = smtpclient.Required
	}
	t := &opts.Timeouts
	t.Connect, t.Greeting, t.Quit = or(t.Connect, 10*time.Second), or(t.Greeting, time.Minute), or(t.Quit, 2*time.Second)
	return opts
}

func (p *Proxy) open(ctx context.Context, h host, opts *smtpclient.Options) (*smtpclient.Conn, error) {
	dial := p.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	short, cancel := context.WithTimeout(ctx, opts.Timeouts.Connect)
	defer cancel()
	raw, err := dial(short, h.network, h.address)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w: %w", errNoAnswer, err)
	}
	return smtpclient.New(ctx, raw, opts)
}

// isDown reports whether a host has failed a short while ago.
func (p *Proxy) isDown(h host) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, ok := p.down[h.address]
	if ok && time.Now().After(until) {
		delete(p.down, h.address)
		return false
	}
	return ok
}

// failed leaves a host alone for ten times as long as it took to fail: one that refuses at once can soon be asked again, for one that doesn't answer
// not every session shall have to wait.
func (p *Proxy) failed(log *slog.Logger, h host, took time.Duration, err error) {
	pause := min(max(10*took, time.Second), 30*time.Second)
	log.Error("next hop doesn't answer", "hop", h.hop.String(), "host", h.address, "error", err, "pause", pause)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down == nil {
		p.down = make(map[string]time.Time)
	}
	p.down[h.address] = time.Now().Add(pause)
}
