package caddymodule

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-esmtp/esmtp/relay/route"
)

// queue reads a queue block of the option esmtp.
func (p *parser) queue() error {
	name := defaultQueue
	if p.NextArg() {
		name = p.Val()
	}
	if p.NextArg() {
		return p.Errf("queue takes one name, not %q too", p.Val())
	}
	if _, there := p.app.Queues[name]; there {
		return p.Errf("there is a queue %s already", name)
	}
	q := new(Queue)
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		word := p.Val()
		read, ok := queueSettings[word]
		if !ok {
			return p.Errf("queue: unrecognized setting %q%s", word, didYouMean(word, slices.Collect(maps.Keys(queueSettings))))
		}
		if err := p.once(q); err != nil {
			return err
		}
		if err := read(p, q); err != nil {
			return err
		}
	}
	if err := q.checkHops(); err != nil { // of the whole block: a login can stand below its hop
		return p.WrapErr(err)
	}
	if p.app.Queues == nil {
		p.app.Queues = make(map[string]*Queue)
	}
	p.app.Queues[name] = q
	return nil
}

// queueSettings are the settings of a queue block.
var queueSettings map[string]func(*parser, *Queue) error

func init() {
	queueSettings = map[string]func(*parser, *Queue) error{
		"spool":            func(p *parser, q *Queue) error { return oneArgument(p.Dispenser, &q.Spool) },
		"keep_removed":     func(p *parser, q *Queue) error { return p.positive(&q.KeepRemoved) },
		"keep_quarantined": func(p *parser, q *Queue) error { return p.positive(&q.KeepQuarantined) },
		"hostname":         func(p *parser, q *Queue) error { return p.hostnameText(&q.Hostname) },
		"next_hop":         func(p *parser, q *Queue) error { return p.hops(&q.NextHops) },
		"route":            (*parser).queueRoute,
		"login":            (*parser).login,
		"xforward":         func(p *parser, q *Queue) error { return p.hops(&q.XFORWARD) },
		"tls":              func(p *parser, q *Queue) error { return oneOf(p, &q.TLS, tlsLevels) },
		"dns":              (*parser).dns,
		"trust_dns":        func(p *parser, q *Queue) error { return p.flag(&q.TrustDNS) },
		"no_dane":          func(p *parser, q *Queue) error { return p.flag(&q.NoDANE) },
		"no_mta_sts":       func(p *parser, q *Queue) error { return p.flag(&q.NoMTASTS) },
		"allow_private":    func(p *parser, q *Queue) error { return p.flag(&q.AllowPrivate) },
		"concurrency":      func(p *parser, q *Queue) error { return count(p.Dispenser, &q.Concurrency) },
		"per_route":        func(p *parser, q *Queue) error { return count(p.Dispenser, &q.PerRoute) },
		"retry":            func(p *parser, q *Queue) error { return durations(p.Dispenser, &q.Retry) },
		"expire":           func(p *parser, q *Queue) error { return p.positive(&q.Expire) },
		"expire_reports":   func(p *parser, q *Queue) error { return p.positive(&q.ExpireReports) },
		"warn":             func(p *parser, q *Queue) error { return p.duration(&q.Warn) },
	}
}

// positive reads a duration that can't be off.
func (p *parser) positive(v *caddy.Duration) error {
	name := p.Val()
	if err := p.duration(v); err != nil {
		return err
	}
	if *v < 0 {
		return p.Errf("%s can't be off", name)
	}
	return nil
}

// hops reads next hops.
func (p *parser) hops(v *[]string) error {
	name := p.Val()
	for p.NextArg() {
		if _, err := route.ParseHop(p.Val()); err != nil {
			return p.WrapErr(err)
		}
		*v = append(*v, p.Val())
	}
	if len(*v) == 0 {
		return p.Errf("%s takes next hops, such as mx.example.org:25 or unix//run/lmtp.sock", name)
	}
	return nil
}

// queueRoute reads the way for a domain.
func (p *parser) queueRoute(q *Queue) error {
	if !p.NextArg() {
		return p.Err("route takes a domain and next hops: route example.org mx.example.org:25")
	}
	r := QueueRoute{Domain: p.Val()}
	for p.NextArg() {
		if _, err := route.ParseHop(p.Val()); err != nil {
			return p.WrapErr(err)
		}
		r.NextHops = append(r.NextHops, p.Val())
	}
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		if p.Val() != "tls" {
			return p.Errf("route: unrecognized setting %q; there is tls", p.Val())
		}
		if err := oneOf(p, &r.TLS, tlsLevels); err != nil {
			return err
		}
	}
	if _, err := route.NewTable([]route.Rule{{Domain: r.Domain}}); err != nil {
		return p.WrapErr(err)
	}
	if slices.ContainsFunc(q.Routes, func(other QueueRoute) bool { return strings.EqualFold(other.Domain, r.Domain) }) {
		return p.Errf("there is a route for %s already", r.Domain)
	}
	q.Routes = append(q.Routes, r)
	return nil
}

// login reads the password for a hop.
func (p *parser) login(q *Queue) error {
	var l Login
	if !p.AllArgs(&l.Hop, &l.Password) {
		return p.Err("login takes a next hop with its user, and a password: login user@mx.example.org:587 {env.PASSWORD}")
	}
	hop, err := route.ParseHop(l.Hop)
	if err != nil {
		return p.WrapErr(err)
	}
	if hop.User == "" {
		return p.Errf("login: %s has no user: want user@host", hop)
	}
	q.Logins = append(q.Logins, l)
	if err := q.checkTwoLogins(); err != nil {
		return p.WrapErr(err)
	}
	return nil
}

// dns reads the addresses of name servers.
func (p *parser) dns(q *Queue) error {
	for p.NextArg() {
		if _, err := netip.ParseAddrPort(p.Val()); err != nil {
			if _, err := netip.ParseAddr(p.Val()); err != nil {
				return p.Errf("dns: %q is no IP address, such as 192.0.2.53 or [2001:db8::53]:53", p.Val())
			}
		}
		q.DNS = append(q.DNS, p.Val())
	}
	if len(q.DNS) == 0 {
		return p.Err("dns takes addresses of name servers")
	}
	return nil
}

// oneArgument reads the one argument of an option.
func oneArgument(d *caddyfile.Dispenser, v *string) error {
	name := d.Val()
	if !d.AllArgs(v) || *v == "" {
		return d.Errf("%s takes one argument", name)
	}
	return nil
}

// count reads a number above zero.
func count(d *caddyfile.Dispenser, v *int) error {
	name, text := d.Val(), ""
	if err := oneArgument(d, &text); err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 || n > maxCount {
		return d.Errf("%s is a number above 0, not %q", name, text)
	}
	*v = n
	return nil
}

// durations reads one duration or more.
func durations(d *caddyfile.Dispenser, v *[]caddy.Duration) error {
	name := d.Val()
	for d.NextArg() {
		wait, err := caddy.ParseDuration(d.Val())
		if err != nil || wait <= 0 || wait > maxTimeout {
			return d.Errf("%s takes durations, such as 1m 10m 1h, not %q", name, d.Val())
		}
		*v = append(*v, caddy.Duration(wait))
	}
	if len(*v) == 0 {
		return d.Errf("%s takes durations, such as 1m 10m 1h", name)
	}
	return nil
}
