package caddymodule

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-esmtp/esmtp/handler/proxy"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
)

var (
	relayLevels = map[string]tlspolicy.Level{"": tlspolicy.Opportunistic, "opportunistic": tlspolicy.Opportunistic, "required": tlspolicy.Required,
		"verified": tlspolicy.Verified, "none": tlspolicy.None}
	relayForwards = map[string]proxy.Forward{"": proxy.ForwardNothing, "xclient": proxy.ForwardXCLIENT, "xforward": proxy.ForwardXFORWARD, "proxy": proxy.ForwardPROXY}
)

// isLMTPHandler reports whether the current token is lmtp with an argument: then it is the handler of that name, and not the setting.
func (p *parser) isLMTPHandler() bool { return p.Val() == "lmtp" && p.CountRemainingArgs() > 0 }

// parseHop reads a next hop; for lmtp one without a scheme speaks LMTP.
func parseHop(name, text string) (route.Hop, error) {
	if name == "lmtp" && !strings.Contains(text, "://") && !strings.HasPrefix(text, "unix/") {
		text = "lmtp://" + text
	}
	hop, err := route.ParseHop(text)
	switch {
	case err != nil:
		return hop, err
	case hop.User != "":
		return hop, fmt.Errorf("%q has a user: write it beside the password, in auth", text)
	case name == "lmtp" && hop.Protocol != route.LMTP:
		return hop, fmt.Errorf("%q doesn't speak LMTP: use relay", text)
	}
	return hop, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
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
func (r *Relay) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	name := d.Val()
	if r.To = d.RemainingArgs(); len(r.To) == 0 {
		return d.Errf("%s takes next hops, such as 127.0.0.1:2525", name)
	}
	for _, text := range r.To {
		if strings.Contains(text, "{") {
			continue // a placeholder: it is checked when its value is known
		}
		if _, err := parseHop(name, text); err != nil {
			return d.Errf("%s: %v", name, err)
		}
	}
	options := map[string]func(*caddyfile.Dispenser, string) error{"tls": r.readTLS, "auth": r.readAuth, "forward": r.readForward, "timeouts": r.readTimeouts}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		read, ok := options[d.Val()]
		if !ok {
			return d.Errf("%s: unrecognized option %q%s", name, d.Val(), didYouMean(d.Val(), []string{"tls", "auth", "forward", "timeouts"}))
		}
		if err := read(d, name); err != nil {
			return err
		}
	}
	return nil
}

func (r *Relay) readTLS(d *caddyfile.Dispenser, name string) error {
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 {
		return d.Errf("%s: tls takes one of %s, and with verified the path of a CA file", name, choices(relayLevels))
	}
	if _, ok := relayLevels[args[0]]; !ok || args[0] == "" {
		return d.Errf("%s: tls is one of %s, not %q", name, choices(relayLevels), args[0])
	}
	if r.TLS = args[0]; len(args) == 2 {
		if r.TLSCAFile = args[1]; r.TLS != "verified" {
			return d.Errf("%s: a CA file has no meaning but with tls verified", name)
		}
	}
	return nil
}

func (r *Relay) readAuth(d *caddyfile.Dispenser, name string) error {
	r.Auth = new(RelayAuth)
	if !d.AllArgs(&r.Auth.User, &r.Auth.Password) {
		return d.Errf("%s: auth takes a user and a password", name)
	}
	return nil
}

func (r *Relay) readForward(d *caddyfile.Dispenser, name string) error {
	if !d.AllArgs(&r.Forward) {
		return d.Errf("%s: forward takes one of %s", name, choices(relayForwards))
	}
	if _, ok := relayForwards[r.Forward]; !ok || r.Forward == "" {
		return d.Errf("%s: forward is one of %s, not %q", name, choices(relayForwards), r.Forward)
	}
	return nil
}

// all lists the timeouts with their names.
func (t *RelayTimeouts) all() map[string]*caddy.Duration {
	return map[string]*caddy.Duration{"connect": &t.Connect, "greeting": &t.Greeting, "command": &t.Command, "data": &t.Data, "block": &t.Block, "final": &t.Final}
}

// check finds timeouts that can't be.
func (t *RelayTimeouts) check() error {
	if t == nil {
		return nil
	}
	for name, v := range t.all() {
		if *v < 0 || *v > caddy.Duration(maxTimeout) {
			return fmt.Errorf("timeouts: %s can't be that", name)
		}
	}
	return nil
}

func (r *Relay) readTimeouts(d *caddyfile.Dispenser, name string) error {
	if d.NextArg() {
		return d.Errf("%s: timeouts takes a block, not %q", name, d.Val())
	}
	r.Timeouts = new(RelayTimeouts)
	all := r.Timeouts.all()
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		timeout := d.Val()
		v, ok := all[timeout]
		if !ok {
			return d.Errf("%s: unrecognized timeout %q%s", name, timeout, didYouMean(timeout, []string{"connect", "greeting", "command", "data", "block", "final"}))
		}
		var text string
		if !d.AllArgs(&text) {
			return d.Errf("%s: %s takes one argument", name, timeout)
		}
		value, err := caddy.ParseDuration(text)
		if err != nil || value <= 0 || value > maxTimeout {
			return d.Errf("%s: %s is a duration, such as 30s, 5m or 1h, not %q", name, timeout, text)
		}
		*v = caddy.Duration(value)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Relay)(nil)
	_ caddyfile.Unmarshaler = (*Relay)(nil)
	_ Layer                 = (*Relay)(nil)
	_ caddy.Provisioner     = (*LMTP)(nil)
	_ caddyfile.Unmarshaler = (*LMTP)(nil)
	_ Layer                 = (*LMTP)(nil)
)
