package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-esmtp/esmtp"
)

func init() {
	caddy.RegisterModule(new(MatchNot))
}

// Matcher is what a module of esmtp.matchers is. To be of use in a Caddyfile it is a caddyfile.Unmarshaler too, whose method gets all the lines of
// the matcher, one after the other, each with its name.
type Matcher interface {
	// Match reports whether the route is for a session. It is called on the session's goroutine, for many sessions at a time, when the client
	// has connected and before it is greeted: of the session there are [esmtp.Session.RemoteAddr], [esmtp.Session.LocalAddr] and, if it is in TLS from
	// the start, [esmtp.Session.TLS]. The client waits, so it should not take long.
	Match(s *esmtp.Session) bool
}

// matcherSets are sets of matchers, one of which must match.
type matcherSets [][]Matcher

// match reports whether all matchers of a set do. If there are no sets that is so too.
func (sets matcherSets) match(s *esmtp.Session) bool {
	for _, set := range sets {
		if matchAll(set, s) {
			return true
		}
	}
	return len(sets) == 0
}

func matchAll(set []Matcher, s *esmtp.Session) bool {
	for _, m := range set {
		if !m.Match(s) {
			return false
		}
	}
	return true
}

// loadMatchers loads the modules in the field MatchersRaw of owner.
func loadMatchers(ctx caddy.Context, owner any) (sets matcherSets, err error) {
	mods, err := ctx.LoadModule(owner, "MatchersRaw")
	if err != nil {
		return nil, err
	}
	list, _ := mods.([]map[string]any) // nil: there are none
	for _, mods := range list {
		var set []Matcher
		for _, mod := range mods {
			m, ok := mod.(Matcher)
			if !ok {
				return nil, fmt.Errorf("%T is in esmtp.matchers but has no method Match", mod)
			}
			set = append(set, m)
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// readMatchers reads a set of matchers: one on the rest of the line, or those in a block. Lines of the same matcher are one matcher.
func readMatchers(d *caddyfile.Dispenser) (caddy.ModuleMap, error) {
	owner := d.Val()
	lines := make(map[string][]caddyfile.Token)
	for nesting := d.Nesting(); d.NextArg() || d.NextBlock(nesting); {
		name := d.Val()
		if _, err := caddy.GetModule("esmtp.matchers." + name); err != nil {
			return nil, d.Errf("unrecognized matcher %q%s", name, didYouMean(name, moduleNames("esmtp.matchers")))
		}
		lines[name] = append(lines[name], d.NextSegment()...)
	}
	if len(lines) == 0 {
		return nil, d.Errf("%s takes a matcher, such as remote_ip 192.0.2.0/24, or a block of them", owner)
	}
	set := make(caddy.ModuleMap)
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		mod, err := caddy.GetModule("esmtp.matchers." + name)
		if err != nil {
			return nil, d.WrapErr(err)
		}
		m, ok := mod.New().(caddyfile.Unmarshaler)
		if !ok {
			return nil, d.Errf("the matcher %s can be given in JSON only", name)
		}
		if err := m.UnmarshalCaddyfile(caddyfile.NewDispenser(lines[name])); err != nil {
			return nil, err
		}
		set[name] = caddyconfig.JSON(m, nil)
	}
	return set, nil
}

// MatchNot matches the sessions that others don't match.
//
//	not <matcher> ...
//	not {
//		<matcher> ...
//	}
//
// Of matchers in a block it is enough if one doesn't match. If it is given several times each must hold.
type MatchNot struct {
	// MatchersRaw are sets of matchers, in JSON all that there is. There must be no set all of whose matchers match.
	MatchersRaw []caddy.ModuleMap `json:"-" caddy:"namespace=esmtp.matchers"`

	sets matcherSets
}

// CaddyModule returns the Caddy module information.
func (*MatchNot) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.matchers.not", New: func() caddy.Module { return new(MatchNot) }}
}

// UnmarshalJSON reads the sets.
func (m *MatchNot) UnmarshalJSON(p []byte) error { return json.Unmarshal(p, &m.MatchersRaw) }

// MarshalJSON writes the sets.
func (m *MatchNot) MarshalJSON() ([]byte, error) { return json.Marshal(m.MatchersRaw) }

// Provision loads the matchers.
func (m *MatchNot) Provision(ctx caddy.Context) (err error) {
	m.sets, err = loadMatchers(ctx, m)
	if len(m.sets) == 0 && err == nil {
		err = errors.New("not: there are no matchers")
	}
	return err
}

// Match reports whether no set matches.
func (m *MatchNot) Match(s *esmtp.Session) bool { return !m.sets.match(s) }

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	not <matcher> ...
//	not {
//		<matcher> ...
//	}
func (m *MatchNot) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		set, err := readMatchers(d)
		if err != nil {
			return err
		}
		m.MatchersRaw = append(m.MatchersRaw, set)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*MatchNot)(nil)
	_ caddyfile.Unmarshaler = (*MatchNot)(nil)
	_ Matcher               = (*MatchNot)(nil)
)
