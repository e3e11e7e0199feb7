package caddymodule

import (
	"context"
	"fmt"
	"net"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// listenerWrappers reads the setting listener_wrappers.
func (p *parser) listenerWrappers(srv *Server) error {
	if p.NextArg() {
		return p.Errf("listener_wrappers takes a block, not %q", p.Val())
	}
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		name := p.Val()
		id := "caddy.listeners." + name
		switch _, err := caddy.GetModule(id); {
		case name == "tls":
			return p.Err("listener_wrappers: all wrappers come before TLS here: leave tls out")
		case name == "esmtp":
			return p.Err("listener_wrappers: the wrapper esmtp is for web servers: it belongs to the listener_wrappers of the option servers")
		case err != nil:
			return p.Errf("listener_wrappers: unrecognized wrapper %q%s", name, didYouMean(name, moduleNames("caddy.listeners")))
		}
		mod, err := caddyfile.UnmarshalModule(p.Dispenser, id)
		if err != nil {
			return err
		}
		srv.ListenerWrappersRaw = append(srv.ListenerWrappersRaw, caddyconfig.JSONModuleObject(mod, "wrapper", name, nil))
	}
	if len(srv.ListenerWrappersRaw) == 0 {
		return p.Err("listener_wrappers: there are none")
	}
	return nil
}

// loadWrappers loads the listener wrappers.
func (srv *Server) loadWrappers(ctx caddy.Context) error {
	if len(srv.ListenerWrappersRaw) == 0 {
		return nil
	}
	ctx.Context = context.WithValue(ctx.Context, caddyhttp.ServerCtxKey, nil) // that a wrapper of a web server may have had us provisioned for
	mods, err := ctx.LoadModule(srv, "ListenerWrappersRaw")
	if err != nil {
		return fmt.Errorf("listener_wrappers: %w", err)
	}
	for _, mod := range mods.([]any) {
		wrapper, ok := mod.(caddy.ListenerWrapper)
		if !ok {
			return fmt.Errorf("listener_wrappers: %T wraps no listener", mod)
		}
		srv.wrappers = append(srv.wrappers, wrapper)
	}
	return nil
}

// wrap puts the wrappers around a listener, the first one closest to the socket.
func (srv *Server) wrap(l net.Listener) net.Listener {
	for _, wrapper := range srv.wrappers {
		l = wrapper.WrapListener(l)
	}
	return l
}

// lmtp reads the setting lmtp. It is behind the addresses, and so can tell what is wrong with them.
func (p *parser) lmtp(srv *Server) error {
	if err := p.flag(&srv.LMTP); err != nil {
		return err
	}
	for _, text := range srv.Listen {
		addrs, _ := parseAddress(text)
		if err := checkLMTP(addrs); err != nil {
			return p.WrapErr(err)
		}
	}
	return nil
}

// checkLMTP refuses port 25 (RFC 2033 §5).
func checkLMTP(addrs []address) error {
	for _, addr := range addrs {
		if !addr.IsUnixNetwork() && !addr.IsFdNetwork() && addr.StartPort == defaultPort {
			return fmt.Errorf("lmtp: address %s has port 25, which is for SMTP (RFC 2033 §5): give it another one, such as 24, or a Unix socket", addr)
		}
	}
	return nil
}
