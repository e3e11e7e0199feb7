package caddymodule

import (
	"encoding/json"
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
	p := &parser{Dispenser: d, app: &App{Servers: make(map[string]*Server)}, places: make(map[string]string)}
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
	app    *App
	places map[string]string // where an address was given
}

// rememberAddresses notes the addresses of earlier options.
func (p *parser) rememberAddresses() {
	for name, srv := range p.app.Servers {
		for _, text := range srv.Listen {
			addrs, _ := parseAddress(text)
			for _, addr := range addrs {
				p.places[addressKey(addr)] = "server " + name + " of an earlier esmtp block"
			}
		}
	}
}

// option reads one of the app's own settings, or a server block.
func (p *parser) option() error {
	switch p.Val() {
	case "grace_period":
		return p.duration(&p.app.GracePeriod)
	case "drain_timeout":
		return p.duration(&p.app.DrainTimeout)
	case "exit_timeout":
		if err := p.duration(&p.app.ExitTimeout); err != nil {
			return err
		}
		if p.app.ExitTimeout < 0 {
			return p.Err("exit_timeout can't be off: Caddy could never exit")
		}
		return nil
	}
	return p.server()
}

// server reads a server block, from its first address on.
func (p *parser) server() error {
	srv := new(Server)
	head := p.NewFromNextSegment() // the tokens of the block only
	sub := &parser{Dispenser: head, app: p.app, places: p.places}
	for sub.Next() {
		if err := sub.listen(srv); err != nil {
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
			return sub.Errf("the server %s has no block, or nothing in it", strings.Join(srv.Listen, " "))
		}
		if err := srv.checkTLS(); err != nil {
			return sub.WrapErr(err)
		}
	}
	p.app.Servers[fmt.Sprintf("srv%d", len(p.app.Servers))] = srv
	return nil
}

// listen takes the current token as an address.
func (p *parser) listen(srv *Server) error {
	text := strings.TrimSuffix(p.Val(), ",")
	if text != "localhost" && !strings.ContainsAny(text, ":./{") {
		return p.Errf("unrecognized esmtp option %q%s; a server is an address, such as :25, and a block", text,
			didYouMean(text, []string{"grace_period", "drain_timeout", "exit_timeout"}))
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
		key := addressKey(addr)
		if place := p.places[key]; place != "" {
			return p.Errf("address %s is given already at %s", addr, place)
		}
		if key != "" {
			p.places[key] = fmt.Sprintf("%s:%d", p.File(), p.Line())
		}
	}
	return nil
}

// directive reads a line of a server block: a setting, or a handler.
func (p *parser) directive(srv *Server) error {
	name := p.Val()
	if name == "{" {
		return p.Err("the setting before takes no block")
	}
	if read, ok := settings[name]; ok && !p.isLMTPHandler() {
		return read(p, srv)
	}
	id := "esmtp.handlers." + name
	if _, err := caddy.GetModule(id); err != nil {
		return p.Errf("unrecognized directive %q%s", name, didYouMean(name, append(settingNames(), moduleNames("esmtp.handlers")...)))
	}
	handler, err := caddyfile.UnmarshalModule(p.Dispenser, id)
	if err != nil {
		return err
	}
	var warnings []caddyconfig.Warning
	raw := caddyconfig.JSONModuleObject(handler, "handler", name, &warnings)
	if len(warnings) > 0 {
		return p.Errf("%s: %s", name, warnings[0].Message)
	}
	srv.HandlersRaw = append(srv.HandlersRaw, raw)
	return nil
}
