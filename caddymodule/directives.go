package caddymodule

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// settings are the directives of a server block, or of a handle in it, that are no handlers. Each reads its line, and its block if it has one.
var settings map[string]func(*parser, *Settings) error

// serverSettings are those that a route can't have.
var serverSettings map[string]func(*parser, *Server) error

func init() {
	serverSettings = map[string]func(*parser, *Server) error{
		"lmtp":              (*parser).lmtp,
		"listener_wrappers": (*parser).listenerWrappers,
		"handle":            (*parser).handle,
	}
	settings = map[string]func(*parser, *Settings) error{
		"hostname":           (*parser).hostname,
		"max_size":           func(p *parser, st *Settings) error { return p.number(&st.Limits.MessageBytes, true, 1<<60) },
		"limits":             (*parser).limits,
		"timeouts":           (*parser).timeouts,
		"bare_newlines":      func(p *parser, st *Settings) error { return oneOf(p, &st.BareNewlines, bareNewlines) },
		"bad_header":         func(p *parser, st *Settings) error { return oneOf(p, &st.BadHeader, badHeaders) },
		"strict":             func(p *parser, st *Settings) error { return p.flag(&st.Strict) },
		"ignore_empty_lines": func(p *parser, st *Settings) error { return p.flag(&st.IgnoreEmptyLines) },
		"auth":               (*parser).auth,
		"tls":                (*parser).tls,
		"rates":              (*parser).rates,
		"tolerate_params":    func(p *parser, st *Settings) error { return p.words(&st.TolerateParams) },
		"xclient":            func(p *parser, st *Settings) error { return p.networks(&st.XCLIENT) },
		"xforward":           func(p *parser, st *Settings) error { return p.networks(&st.XFORWARD) },
		"forbid_early":       func(p *parser, st *Settings) error { return p.flag(&st.ForbidEarly) },
		"greeting_teaser":    (*parser).greetingTeaser,
		"allow_no_helo":      func(p *parser, st *Settings) error { return p.flag(&st.AllowNoHELO) },
	}
}

func settingNames() []string {
	return slices.AppendSeq(slices.Collect(maps.Keys(settings)), maps.Keys(serverSettings))
}

// argument reads the one argument of a setting.
func (p *parser) argument() (string, error) {
	var value string
	name := p.Val()
	if !p.AllArgs(&value) {
		return "", p.Errf("%s takes one argument", name)
	}
	return value, nil
}

func (p *parser) flag(v *bool) error {
	name := p.Val()
	if p.NextArg() {
		return p.Errf("%s takes no argument", name)
	}
	*v = true
	return nil
}

func (p *parser) hostname(st *Settings) error { return p.hostnameText(&st.Hostname) }

func (p *parser) hostnameText(v *string) error {
	value, err := p.argument()
	if err != nil {
		return err
	}
	if !strings.Contains(value, "{") {
		if err := checkHostname(value); err != nil {
			return p.WrapErr(err)
		}
	}
	*v = value
	return nil
}

func oneOf[T any](p *parser, v *string, values map[string]T) error {
	name := p.Val()
	value, err := p.argument()
	if err != nil {
		return err
	}
	if _, ok := values[value]; !ok || value == "" {
		return p.Errf("%s is one of %s, not %q", name, choices(values), value)
	}
	*v = value
	return nil
}

// limits reads the block limits.
func (p *parser) limits(st *Settings) error {
	if p.NextArg() {
		return p.Errf("limits takes a block, not %q", p.Val())
	}
	return p.numbers("limit", &st.Limits, st.Limits.all(), st.Limits.check)
}

// rates reads the block rates.
func (p *parser) rates(st *Settings) error {
	if p.NextArg() {
		return p.Errf("rates takes a block, not %q", p.Val())
	}
	return p.numbers("rate", &st.Rates, st.Rates.all(), st.Rates.check)
}

// numbers reads a block of numbers, and checks each as soon as it is there, for the line to be told.
func (p *parser) numbers(kind string, block any, all []limit, check func() error) error {
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		name := p.Val()
		i := slices.IndexFunc(all, func(l limit) bool { return l.name == name })
		if i < 0 {
			return p.Errf("unrecognized %s %q%s", kind, name, didYouMean(name, limitNames(all)))
		}
		if p.inRoute && slices.Contains(countedFirst[kind], name) {
			return p.Errf("the %s %s counts before the route is known: write it above handle", kind, name)
		}
		if err := p.once(block); err != nil {
			return err
		}
		if err := p.number(all[i].value, all[i].size, maxLimit); err != nil {
			return err
		}
		if err := check(); err != nil {
			return p.WrapErr(err)
		}
	}
	return nil
}

// greetingTeaser reads the text of the first line of a greeting that is held back.
func (p *parser) greetingTeaser(st *Settings) (err error) {
	st.GreetingTeaser, err = p.argument()
	return err
}

func limitNames(all []limit) (names []string) {
	for _, l := range all {
		names = append(names, l.name)
	}
	return names
}

// timeouts reads the block timeouts.
func (p *parser) timeouts(st *Settings) error {
	if p.NextArg() {
		return p.Errf("timeouts takes a block, not %q", p.Val())
	}
	all := st.Timeouts.all()
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		name := p.Val()
		i := slices.IndexFunc(all, func(t timeoutSetting) bool { return t.name == name })
		if i < 0 {
			return p.Errf("unrecognized timeout %q%s", name, didYouMean(name, timeoutNames(all)))
		}
		if err := p.once(&st.Timeouts); err != nil {
			return err
		}
		if err := p.duration(all[i].value); err != nil {
			return err
		}
	}
	return nil
}

// duration reads the argument of a setting as a duration, or off.
func (p *parser) duration(v *caddy.Duration) error {
	name := p.Val()
	value, err := p.argument()
	switch {
	case err != nil:
		return err
	case value == "off":
		*v = off
		return nil
	}
	d, err := caddy.ParseDuration(value)
	if err != nil || d <= 0 || d > maxTimeout {
		return p.Errf("%s is a duration, such as 30s, 5m or 1h, or off, not %q", name, value)
	}
	*v = caddy.Duration(d)
	return nil
}

// number reads the argument of a setting as a count or a size below limit, or off.
func (p *parser) number(v *int64, size bool, limit int64) error {
	name := p.Val()
	value, err := p.argument()
	switch {
	case err != nil:
		return err
	case value == "off":
		*v = off
		return nil
	}
	n, ok := parseSize(value)
	switch {
	case size && (!ok || n <= 0 || n >= limit):
		return p.Errf("%s is a size in octets, such as 1000, 64KiB or 50MiB, or off, not %q", name, value)
	case !size && (!ok || n <= 0 || n >= limit || strings.Trim(value, "0123456789") != ""):
		return p.Errf("%s is a number above 0, or off, not %q", name, value)
	}
	*v = n
	return nil
}

// units are the units of sizes, in lower case.
var units = map[string]int64{
	"": 1, "b": 1,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
}

// parseSize reads a size in octets: a whole number and a unit.
func parseSize(s string) (n int64, ok bool) {
	digits := strings.TrimRight(s, "BKMGTIbkmgti")
	unit, known := units[strings.ToLower(s[len(digits):])]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !known || err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, false
	}
	return n * unit, true
}
