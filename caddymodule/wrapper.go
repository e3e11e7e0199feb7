package caddymodule

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(new(ListenerWrapper))
}

// ListenerWrapper lets mail clients in at the port of a web server. In a Caddyfile it stands in the global option servers:
//
//	{
//		servers :443 {
//			listener_wrappers {
//				esmtp {
//					server <name or address>
//					wait   <duration>
//				}
//				tls
//				esmtp {
//					...
//				}
//			}
//		}
//		esmtp {
//			server <name> {
//				...
//			}
//		}
//	}
//
// A client that begins with TLS or with an HTTP request, of version 1 or 2, goes on to the web server. One that begins with an SMTP
// command, or says nothing for a while, as a mail client does, goes to a server of the app esmtp. Before tls that is for plain ESMTP with
// STARTTLS; behind tls, or where there is no tls in the list, for ESMTP in TLS from the start. There the protocol names h2, http/1.1
// and smtp (ALPN) decide at once; smtp is added to those that the web server offers. Wrappers such as proxy_protocol come first.
//
// A web client that is silent at first gets the greeting of the mail server; see wait.
type ListenerWrapper struct {
	// Server is the mail server: the name of one of the app esmtp, or one of its addresses. Default: the only one that there is.
	Server string `json:"server,omitempty"`

	// Wait is how long a client may be silent before it is taken for a mail client. It delays the greeting of all that wait for it. Default 1s.
	Wait caddy.Duration `json:"wait,omitempty"`

	log    *slog.Logger
	server *Server

	web      *caddyhttp.Server
	httpPort int      // where it has no TLS
	names    []string // of its wrappers
	index    int      // ours among them
}

const (
	defaultWait = time.Second
	maxWait     = time.Minute
)

// CaddyModule returns the Caddy module information.
func (*ListenerWrapper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.esmtp", New: func() caddy.Module { return new(ListenerWrapper) }}
}

// Provision finds the mail server, which may have to be provisioned for it, and has the web server offer the protocol name smtp.
func (w *ListenerWrapper) Provision(ctx caddy.Context) error {
	w.log = ctx.Slogger()
	setDefault(&w.Wait, defaultWait)
	web, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return errors.New("the listener wrapper esmtp is for a web server: it belongs to the listener_wrappers of the option servers")
	}
	mod, err := ctx.AppIfConfigured("esmtp")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return errors.New("esmtp: there is no mail server: the option esmtp is missing")
	} else if err != nil {
		return err
	}
	app := mod.(*App)
	if w.server, err = app.wrappedServer(w.Server); err != nil {
		return err
	}
	w.web, w.httpPort, w.names = web, httpPort(ctx), wrapperNames(web)
	w.index = app.nextWrapper(web, w.names)
	if w.isBehindTLS() {
		offerSMTP(web)
	}
	return nil
}

// Validate checks the time.
func (w *ListenerWrapper) Validate() error {
	if w.Wait < 0 || w.Wait > caddy.Duration(maxWait) {
		return fmt.Errorf("esmtp: wait is %s: it can be up to %s", time.Duration(w.Wait), maxWait)
	}
	return nil
}

// offerSMTP adds smtp to the protocol names of a web server, which is about to provision its policies. One that offers no names takes all clients.
func offerSMTP(web *caddyhttp.Server) {
	for _, policy := range web.TLSConnPolicies {
		switch {
		case policy == nil || slices.Contains(policy.ALPN, protocolSMTP):
		case policy.ALPN == nil:
			policy.ALPN = []string{"h2", "http/1.1", protocolSMTP} // the first two are Caddy's default
		case len(policy.ALPN) > 0:
			policy.ALPN = append(policy.ALPN, protocolSMTP)
		}
	}
}

// WrapListener takes the mail clients out of what a listener accepts. Caddy calls it when it starts the web server.
func (w *ListenerWrapper) WrapListener(l net.Listener) net.Listener {
	return joinMux(l, w, w.placeOf(l.Addr()))
}

// UnmarshalCaddyfile sets up the wrapper from Caddyfile tokens. Syntax:
//
//	esmtp {
//		server <name or address>
//		wait   <duration>
//	}
func (w *ListenerWrapper) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // its name
	if d.NextArg() {
		return d.Errf("esmtp takes a block, not %q", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		var value string
		if (name == "server" || name == "wait") && !d.AllArgs(&value) {
			return d.Errf("%s takes one argument", name)
		}
		switch name {
		case "server":
			w.Server = value
		case "wait":
			wait, err := caddy.ParseDuration(value)
			if err != nil || wait <= 0 || wait > maxWait {
				return d.Errf("wait is a duration up to %s, such as 1s or 300ms, not %q", maxWait, value)
			}
			w.Wait = caddy.Duration(wait)
		default:
			return d.Errf("esmtp: unrecognized option %q%s", name, didYouMean(name, []string{"server", "wait"}))
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*ListenerWrapper)(nil)
	_ caddy.Validator       = (*ListenerWrapper)(nil)
	_ caddy.ListenerWrapper = (*ListenerWrapper)(nil)
	_ caddyfile.Unmarshaler = (*ListenerWrapper)(nil)
)
