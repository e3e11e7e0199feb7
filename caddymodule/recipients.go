package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/handler/recipients"
)

func init() {
	caddy.RegisterModule(new(Recipients))
}

// Recipients says which addresses are ours. A recipient in a domain that is not is refused with 550 5.7.1, and one that doesn't exist in
// a domain that is with 550 5.1.1. Postmaster exists in every domain, and without one.
//
//	recipients <pattern...> {
//		<pattern...>
//	}
//
// A pattern is an address, user@example.org; all of a domain, *@example.org or just example.org; or all of the domains below one,
// *@*.example.org or *.example.org. Local parts and domains are compared without case; domains may be internationalised.
type Recipients struct {
	// Addresses are the patterns, at least one. Placeholders such as {env.DOMAIN} are allowed.
	Addresses []string `json:"addresses"`

	list *recipients.List
}

// CaddyModule returns the Caddy module information.
func (*Recipients) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.handlers.recipients", New: func() caddy.Module { return new(Recipients) }}
}

// Provision reads the patterns.
func (r *Recipients) Provision(caddy.Context) (err error) {
	patterns := make([]string, len(r.Addresses))
	for i, pattern := range r.Addresses {
		if patterns[i], err = replace("recipients", pattern); err != nil {
			return err
		}
	}
	r.list, err = recipients.New(patterns...)
	return err
}

// NewLayer makes the layer of a connection.
func (r *Recipients) NewLayer(s *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return r.list.NewLayer(s, next)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	recipients <pattern...> {
//		<pattern...>
//	}
func (r *Recipients) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	for d.NextArg() {
		if err := r.add(d); err != nil {
			return err
		}
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := r.add(d); err != nil {
			return err
		}
		for d.NextArg() {
			if err := r.add(d); err != nil {
				return err
			}
		}
	}
	if len(r.Addresses) == 0 {
		return d.Err("recipients takes addresses, such as *@example.org")
	}
	return nil
}

// add takes the current token as a pattern.
func (r *Recipients) add(d *caddyfile.Dispenser) error {
	pattern := d.Val()
	r.Addresses = append(r.Addresses, pattern)
	if caddy.NewReplacer().ReplaceAll(pattern, "") != pattern {
		return nil // its placeholders may have another value when it is used
	}
	if _, err := recipients.New(pattern); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Recipients)(nil)
	_ caddyfile.Unmarshaler = (*Recipients)(nil)
	_ Layer                 = (*Recipients)(nil)
)
