package caddymodule

import (
	"encoding/json"
	"net"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// place is what stays the same of where a wrapper stands when others, such as proxy_protocol, come and go: so connections that are being
// recognized go on when the config changes. They can't cross TLS.
type place struct {
	secure bool // it sees connections in TLS
	nth    int  // of ours on this side of TLS
}

// placeOf returns the place of the wrapper at an address. The policies of the web server must be complete.
func (w *ListenerWrapper) placeOf(addr net.Addr) (p place) {
	side := w.names[:w.index]
	if p.secure = w.isBehindTLS() && w.hasTLS(addr); p.secure {
		side = side[slices.Index(w.names, "tls")+1:]
	}
	for _, name := range side {
		if name == "esmtp" {
			p.nth++
		}
	}
	return p
}

// isBehindTLS reports whether tls comes before the wrapper. If it isn't in the list Caddy puts it first.
func (w *ListenerWrapper) isBehindTLS() bool { return slices.Index(w.names, "tls") < w.index }

// hasTLS reports whether the web server speaks TLS at an address, by Caddy's rule.
func (w *ListenerWrapper) hasTLS(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return len(w.web.TLSConnPolicies) > 0 && !(ok && tcp.Port == w.httpPort)
}

// httpPort returns the port that has no TLS in the app that is being provisioned.
func httpPort(ctx caddy.Context) int {
	for _, mod := range ctx.Modules() {
		if app, ok := mod.(*caddyhttp.App); ok && app.HTTPPort != 0 {
			return app.HTTPPort
		}
	}
	return caddyhttp.DefaultHTTPPort
}

// wrapperNames lists the wrappers of a web server, the first one closest to the socket.
func wrapperNames(web *caddyhttp.Server) []string {
	names := make([]string, len(web.ListenerWrappersRaw))
	for i, raw := range web.ListenerWrappersRaw {
		var mod struct {
			Wrapper string `json:"wrapper"`
		}
		json.Unmarshal(raw, &mod) // Caddy has found that it can
		names[i] = mod.Wrapper
	}
	return names
}
