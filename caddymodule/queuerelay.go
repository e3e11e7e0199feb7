package caddymodule

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/relay/mtasts"
	"github.com/caddy-esmtp/esmtp/relay/resolver"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
	"github.com/caddy-esmtp/esmtp/relay/webhook"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// newRelay makes the relay, without its spool.
func (q *Queue) newRelay() (*relay.Relay, error) {
	level, ok := tlsLevels[q.TLS]
	if !ok {
		return nil, fmt.Errorf("tls %q is none of %s", q.TLS, choices(tlsLevels))
	}
	hops, err := parseHops(q.NextHops)
	if err != nil {
		return nil, err
	}
	table, err := q.table()
	if err != nil {
		return nil, err
	}
	if q.logins, err = q.auth(); err != nil {
		return nil, err
	}
	if err := q.checkLogins(hops); err != nil {
		return nil, err
	}
	forward, err := parseHops(q.XFORWARD)
	if err != nil {
		return nil, err
	}
	dns, err := q.resolver()
	if err != nil {
		return nil, err
	}
	policies := &tlspolicy.Policies{Resolver: dns, NoDANE: q.NoDANE}
	if !q.NoMTASTS {
		policies.STS = &mtasts.Finder{Resolver: dns, Cache: stsStorage{q.storage}, AllowPrivate: q.AllowPrivate, Logger: q.log}
	}
	r := &relay.Relay{
		Hostname: q.Hostname,
		Router:   &route.Router{Resolver: dns, Hostnames: append(q.hostnames, q.Hostname), Own: listensAt, AllowPrivate: q.AllowPrivate},
		Table:    table, NextHops: hops, TLS: policies, Level: level,
		Auth: q.login, Webhook: q.hook,
		Forward:     func(hop route.Hop) bool { return slices.Contains(forward, hop) },
		Concurrency: q.Concurrency, PerRoute: q.PerRoute, Logger: q.log,
		Schedule: relay.Schedule{
			Expire: time.Duration(q.Expire), ExpireReport: time.Duration(q.ExpireReports), Warn: time.Duration(q.Warn),
		},
	}
	r.Schedule.Retry, err = waits(q.Retry)
	return r, err
}

func parseHops(texts []string) (hops []route.Hop, err error) {
	for _, text := range texts {
		hop, err := route.ParseHop(text)
		if err != nil {
			return nil, err
		}
		hops = append(hops, hop)
	}
	return hops, nil
}

func (q *Queue) table() (*route.Table, error) {
	var rules []route.Rule
	for _, r := range q.Routes {
		text := r.TLS
		if text == "" {
			text = q.TLS
		}
		level, ok := tlsLevels[text]
		if !ok {
			return nil, fmt.Errorf("route %s: tls %q is none of %s", r.Domain, text, choices(tlsLevels))
		}
		hops, err := parseHops(r.NextHops)
		if err != nil {
			return nil, fmt.Errorf("route %s: %w", r.Domain, err)
		}
		if err := q.checkLogins(hops); err != nil {
			return nil, fmt.Errorf("route %s: %w", r.Domain, err)
		}
		rules = append(rules, route.Rule{Domain: r.Domain, Hops: hops, TLS: level})
	}
	return route.NewTable(rules)
}

// auth returns the logins, by hop.
func (q *Queue) auth() (map[route.Hop]*smtpclient.Auth, error) {
	logins := make(map[route.Hop]*smtpclient.Auth)
	for _, login := range q.Logins {
		hop, err := route.ParseHop(login.Hop)
		if err != nil {
			return nil, fmt.Errorf("login: %w", err)
		}
		if hop.User == "" {
			return nil, fmt.Errorf("login: %s has no user: want user@host", hop)
		}
		logins[hop] = &smtpclient.Auth{User: hop.User, Password: login.Password}
	}
	return logins, nil
}

// login is how to log in at a hop, nil if nobody says how.
func (q *Queue) login(hop route.Hop) (auth *smtpclient.Auth) {
	if hop.User == "" {
		return nil
	}
	q.ask(func(q *Queue) bool { auth = q.logins[hop]; return auth != nil })
	return auth
}

// hook is how to post to a URL, nil if nobody says how: it may need a token, or a signature.
func (q *Queue) hook(url string) (hook *webhook.Hook) {
	q.ask(func(q *Queue) bool { hook = q.hooks[url]; return hook != nil })
	return hook
}

// ask asks this queue, and if it doesn't know those with the same spool in configs that still have sessions: what these take is delivered here, and to
// hops that this config may not have.
func (q *Queue) ask(knows func(*Queue) bool) {
	if knows(q) {
		return
	}
	draining.Lock()
	defer draining.Unlock()
	for g := range draining.set {
		for _, other := range g.queues.queues {
			if other.url == q.url && knows(other) {
				return
			}
		}
	}
}

// checkLogins wants a password for each hop that has a user.
func (q *Queue) checkLogins(hops []route.Hop) error {
	logins, err := q.auth()
	if err != nil {
		return err
	}
	for _, hop := range hops {
		if hop.User != "" && logins[hop] == nil {
			return fmt.Errorf("next hop %s has a user and no password: want login %s <password> in the queue", hop, hop)
		}
	}
	return nil
}

func (q *Queue) resolver() (*resolver.Client, error) {
	config := resolver.Config{Trust: q.TrustDNS}
	for _, text := range q.DNS {
		addr, err := netip.ParseAddrPort(text)
		if err != nil {
			ip, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("dns %q is no IP address, such as 192.0.2.53 or [2001:db8::53]:53", text)
			}
			addr = netip.AddrPortFrom(ip, 53)
		}
		config.Servers = append(config.Servers, addr)
	}
	return resolver.New(config)
}
