package caddymodule

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// namedMatcher is a set of matchers with a name.
type namedMatcher struct {
	set   caddy.ModuleMap
	place string // where it is defined
	taken string // where the handle is that has it
}

// collectMatchers reads the definitions in a server block, wherever in it they stand.
func collectMatchers(d *caddyfile.Dispenser) (map[string]namedMatcher, error) {
	all := make(map[string]namedMatcher)
	d.Next()
	d.RemainingArgs() // addresses
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if !strings.HasPrefix(name, "@") {
			d.NextSegment()
			continue
		}
		place := fmt.Sprintf("%s:%d", d.File(), d.Line())
		if first, ok := all[name]; ok {
			return nil, d.Errf("%s is defined already at %s", name, first.place)
		}
		if name == "@" {
			return nil, d.Err("a matcher needs a name, such as @partners")
		}
		definition := d.NewFromNextSegment()
		definition.Next()
		set, err := readMatchers(definition)
		if err != nil {
			return nil, err
		}
		all[name] = namedMatcher{set: set, place: place}
	}
	return all, nil
}

// handle reads a block handle.
func (p *parser) handle(srv *Server) error {
	place := fmt.Sprintf("%s:%d", p.File(), p.Line())
	r := new(Route)
	if p.rest != "" {
		return p.Errf("this handle is never reached: that at %s has no matcher, and so takes all that is left", p.rest)
	}
	if p.NextArg() {
		if err := p.takeMatcher(r, place); err != nil {
			return err
		}
		if p.NextArg() {
			return p.Errf("handle takes one matcher and a block: what is %q?", p.Val())
		}
	} else {
		p.rest = place
	}
	p.inRoute = true
	defer func() { p.inRoute = false }()
	empty := true
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		empty = false
		if err := p.routeDirective(r); err != nil {
			return err
		}
	}
	if empty {
		return p.Err("handle has no block, or nothing in it")
	}
	srv.Routes = append(srv.Routes, r)
	return nil
}

// takeMatcher takes the current token as the name of a route's matcher.
func (p *parser) takeMatcher(r *Route, place string) error {
	name := p.Val()
	m, ok := p.matchers[name]
	switch {
	case !strings.HasPrefix(name, "@"):
		return p.Errf("handle takes the name of a matcher, such as @partners, not %q", name)
	case !ok && len(p.matchers) == 0:
		return p.Errf("%s is not defined: write a line such as %s remote_ip 192.0.2.0/24 above", name, name)
	case !ok:
		return p.Errf("%s is not defined%s", name, didYouMean(name, matcherNames(p.matchers)))
	case m.taken != "":
		return p.Errf("this handle is never reached: that at %s takes all sessions of %s", m.taken, name)
	}
	m.taken = place
	p.matchers[name] = m
	r.Name = strings.TrimPrefix(name, "@")
	r.MatchersRaw = []caddy.ModuleMap{m.set}
	return nil
}

func matcherNames(all map[string]namedMatcher) (names []string) {
	for name := range all {
		names = append(names, name)
	}
	return names
}

// routeDirective reads a line in a handle.
func (p *parser) routeDirective(r *Route) error {
	name := p.Val()
	switch {
	case name == "handle":
		return p.Err("a handle can't be in another: give it a matcher that says all that must hold")
	case strings.HasPrefix(name, "@"):
		return p.Errf("%s is to be defined outside of handle", name)
	case serverSettings[name] != nil && !p.isLMTPHandler():
		return p.Errf("%s belongs to the addresses, and so to the server: write it outside of handle", name)
	}
	return p.settingOrHandler(&r.Settings, &r.HandlersRaw)
}
