package caddymodule

import (
	"errors"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/handler/senders"
)

func init() {
	caddy.RegisterModule(new(Senders))
}

// Senders says who may send as whom: a client that is logged in and gives a reverse-path that is not its user's gets 553 5.7.1. The null path is
// everybody's, and clients that are not logged in are none of its business: see the setting auth for that.
//
//	senders <pattern...> {
//		<user>|* <pattern...>
//	}
//
// A pattern is an address, user@example.org, all of a domain, *@example.org, or all of the domains below one, *.example.org. In it {user} stands for
// the name that the client is logged in by: {user}@example.org, or {user} alone if names are addresses. Patterns on the first line, and those of the
// user *, are for all users.
type Senders struct {
	// Users are the patterns of each user, by his name; those of * are everybody's.
	Users map[string][]string `json:"users"`

	rules *senders.Rules
}

// CaddyModule returns the Caddy module information.
func (*Senders) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.handlers.senders", New: func() caddy.Module { return new(Senders) }}
}

// Provision reads the patterns.
func (h *Senders) Provision(caddy.Context) error {
	h.rules = senders.New()
	for _, user := range slices.Sorted(maps.Keys(h.Users)) {
		for _, pattern := range h.Users[user] {
			if err := h.rules.Add(user, pattern); err != nil {
				return err
			}
		}
	}
	if len(h.Users) == 0 {
		return errors.New("senders: no addresses")
	}
	return nil
}

// NewLayer makes the layer of a connection.
func (h *Senders) NewLayer(s *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return h.rules.NewLayer(s, next)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	senders <pattern...> {
//		<user>|* <pattern...>
//	}
func (h *Senders) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	h.Users = make(map[string][]string)
	if err := h.add(d, "*"); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		user := d.Val()
		if err := h.add(d, user); err != nil {
			return err
		}
		if len(h.Users[user]) == 0 {
			return d.Errf("senders: %s: want a user and the addresses that are his, such as %s@example.org", user, user)
		}
	}
	if len(h.Users) == 0 {
		return d.Err("senders takes addresses, such as {user}@example.org")
	}
	return nil
}

// add takes the arguments that are left on the line as patterns of a user.
func (h *Senders) add(d *caddyfile.Dispenser, user string) error {
	for d.NextArg() {
		if err := senders.New().Add(user, d.Val()); err != nil {
			return d.WrapErr(err)
		}
		h.Users[user] = append(h.Users[user], d.Val())
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Senders)(nil)
	_ caddyfile.Unmarshaler = (*Senders)(nil)
	_ Layer                 = (*Senders)(nil)
)
