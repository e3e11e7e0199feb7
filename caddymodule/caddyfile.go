package caddymodule

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("esmtp", parseOption)
}

// parseOption reads the global option esmtp; existing is what earlier ones came to. See [App] and [Server] for the syntax.
func parseOption(d *caddyfile.Dispenser, existing any) (any, error) {
	p := &parser{Dispenser: d, app: &App{Servers: make(map[string]*Server)}, places: make(places)}
	if before, ok := existing.(httpcaddyfile.App); ok {
		if err := json.Unmarshal(before.Value, p.app); err != nil {
			return nil, d.WrapErr(err)
		}
		p.rememberAddresses()
	}
	for d.Next() {
		if d.NextArg() {
			return nil, d.Errf("esmtp takes a block, not %q", d.Val())
		}
		for nesting := d.Nesting(); d.NextBlock(nesting); {
			if err := p.option(); err != nil {
				return nil, err
			}
		}
	}
	return httpcaddyfile.App{Name: "esmtp", Value: caddyconfig.JSON(p.app, nil)}, nil
}

// parser reads a global option.
type parser struct {
	*caddyfile.Dispenser
	app      *App
	places   places
	given    map[givenSetting]string
	matchers map[string]namedMatcher
	inRoute  bool
	rest     string // where the handle without a matcher is
}

// rememberAddresses notes the addresses of earlier options.
func (p *parser) rememberAddresses() {
	for name, srv := range p.app.Servers {
		for _, text := range srv.Listen {
			addrs, _ := parseAddress(text)
			for _, addr := range addrs {
				p.places.take(addr, "server "+name+" of an earlier esmtp block")
			}
		}
	}
}

// option reads one of the app's own settings, or a server block.
func (p *parser) option() error {
	switch p.Val() {
	case "queue":
		return p.queue()
	case "grace_period":
		return p.period(&p.app.GracePeriod)
	case "drain_timeout":
		return p.period(&p.app.DrainTimeout)
	case "exit_timeout":
		if err := p.period(&p.app.ExitTimeout); err != nil {
			return err
		}
		if p.app.ExitTimeout < 0 {
			return p.Err("exit_timeout can't be off: Caddy could never exit")
		}
		return nil
	}
	return p.server()
}

// period reads a duration of the app.
func (p *parser) period(v *caddy.Duration) error {
	if err := p.once(p.app); err != nil {
		return err
	}
	return p.duration(v)
}

// server reads a server block, from its name or first address on.
func (p *parser) server() error {
	srv := new(Server)
	name := ""
	tokens := p.NextSegment() // of the block only
	matchers, err := collectMatchers(caddyfile.NewDispenser(tokens))
	if err != nil {
		return err
	}
	sub := &parser{Dispenser: caddyfile.NewDispenser(tokens), app: p.app, places: p.places, matchers: matchers}
	for sub.Next() {
		var err error
		if sub.Val() == "server" {
			name, err = sub.serverName()
		} else {
			err = sub.listen(srv)
		}
		if err != nil {
			return err
		}
		for sub.NextArg() {
			if err := sub.listen(srv); err != nil {
				return err
			}
		}
		empty := true
		for nesting := sub.Nesting(); sub.NextBlock(nesting); {
			empty = false
			if err := sub.directive(srv); err != nil {
				return err
			}
		}
		if empty {
			return sub.Errf("the server %s has no block, or nothing in it", cmp.Or(name, strings.Join(srv.Listen, " ")))
		}
		if err := errors.Join(srv.checkTLS(), srv.checkTeaser(), srv.prepareRoutes()); err != nil {
			return sub.WrapErr(err)
		}
	}
	p.app.Servers[cmp.Or(name, p.app.freeName())] = srv
	return nil
}

// listen takes the current token as an address.
func (p *parser) listen(srv *Server) error {
	text := strings.TrimSuffix(p.Val(), ",")
	if text != "localhost" && !strings.ContainsAny(text, ":./{") {
		return p.Errf("unrecognized esmtp option %q%s; a server is an address, such as :25, and a block", text,
			didYouMean(text, []string{"grace_period", "drain_timeout", "exit_timeout", "server", "queue"}))
	}
	srv.Listen = append(srv.Listen, text)
	if strings.Contains(text, "{") {
		return nil // a placeholder: it is checked when its value is known
	}
	addrs, err := parseAddress(text)
	if err != nil {
		return p.WrapErr(err)
	}
	for _, addr := range addrs {
		if place := p.places.take(addr, fmt.Sprintf("%s:%d", p.File(), p.Line())); place != "" {
			return p.Errf("address %s is given already at %s", addr, place)
		}
	}
	return nil
}

// directive reads a line of a server block.
func (p *parser) directive(srv *Server) error {
	name := p.Val()
	switch read := serverSettings[name]; {
	case read != nil && !p.isLMTPHandler():
		return read(p, srv)
	case strings.HasPrefix(name, "@"):
		p.NextSegment() // collectMatchers has read it
		return nil
	case len(srv.Routes) > 0 && isHandler(name):
		return p.Errf("%s stands below handle: write it above, for all sessions, or in a handle without a matcher, for the rest", name)
	}
	return p.settingOrHandler(&srv.Settings, &srv.HandlersRaw)
}

func isHandler(name string) bool {
	_, err := caddy.GetModule("esmtp.handlers." + name)
	return err == nil
}

// settingOrHandler reads a line of a server block, or of a handle.
func (p *parser) settingOrHandler(st *Settings, handlers *[]json.RawMessage) error {
	name := p.Val()
	if name == "{" {
		return p.Err("the setting before takes no block")
	}
	if read, ok := settings[name]; ok {
		if err := p.once(st); err != nil {
			return err
		}
		return read(p, st)
	}
	if !isHandler(name) {
		return p.Errf("unrecognized directive %q%s", name, didYouMean(name, append(settingNames(), moduleNames("esmtp.handlers")...)))
	}
	handler, err := caddyfile.UnmarshalModule(p.Dispenser, "esmtp.handlers."+name)
	if err != nil {
		return err
	}
	var warnings []caddyconfig.Warning
	raw := caddyconfig.JSONModuleObject(handler, "handler", name, &warnings)
	if len(warnings) > 0 {
		return p.Errf("%s: %s", name, warnings[0].Message)
	}
	*handlers = append(*handlers, raw)
	return nil
}
