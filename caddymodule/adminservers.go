package caddymodule

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
)

// look is what the admin API keeps of a server, or of a route.
type look struct {
	loaded   time.Time // its config
	handlers []string
	auth     string // the provider
}

// newLook notes what a config says, before Caddy drops it.
func newLook(auth *Auth, handlers []json.RawMessage) *look {
	l := &look{loaded: time.Now(), handlers: handlerNames(handlers)}
	if auth != nil {
		l.auth = moduleName(auth.ProviderRaw, "provider")
	}
	return l
}

func handlerNames(raw []json.RawMessage) []string {
	names := []string{}
	for _, handler := range raw {
		names = append(names, moduleName(handler, "handler"))
	}
	return names
}

// moduleName reads the inline key of a module.
func moduleName(raw json.RawMessage, key string) string {
	var fields map[string]any
	json.Unmarshal(raw, &fields) // what is wrong with it is told by whoever loads it
	name, _ := fields[key].(string)
	return name
}

// liveServer is a server that has sessions, or can get them.
type liveServer struct {
	*Server
	draining  bool // its config is gone
	addresses []string
}

// liveServers lists the servers of the current config, and those of earlier ones whose sessions have not all ended.
func liveServers() []liveServer {
	old := make(map[*generation]bool)
	if app, err := caddy.ActiveContext().AppIfConfigured("esmtp"); err == nil {
		old[app.(*App).gen] = false
	}
	draining.Lock()
	for g := range draining.set {
		old[g] = true
	}
	draining.Unlock()
	var list []liveServer
	for g, draining := range old {
		list = append(list, g.live(draining)...)
	}
	slices.SortFunc(list, func(a, b liveServer) int {
		return cmp.Or(strings.Compare(a.name, b.name), b.look.loaded.Compare(a.look.loaded))
	})
	return list
}

// live lists the servers of a generation that has started; its listeners don't change any more.
func (g *generation) live(draining bool) (list []liveServer) {
	for _, l := range g.listeners {
		i := slices.IndexFunc(list, func(srv liveServer) bool { return srv.Server == l.server })
		if i < 0 {
			i = len(list)
			list = append(list, liveServer{Server: l.server, draining: draining})
		}
		text := l.Addr().String()
		if l.Addr().Network() == "unix" {
			text = "unix/" + text
		}
		if l.tls {
			text = schemeTLS + text
		}
		list[i].addresses = append(list[i].addresses, text)
	}
	return list
}

// serverView is a server in JSON.
type serverView struct {
	Name      string    `json:"name"`
	Addresses []string  `json:"addresses"`
	Loaded    time.Time `json:"loaded"`
	Draining  bool      `json:"draining"`
	Sessions  int       `json:"sessions"`
	LMTP      bool      `json:"lmtp"`
	settingsView
	Routes []routeView `json:"routes,omitempty"`
}

// routeView is a route in JSON: what its sessions have, and below the handlers of the server, its own.
type routeView struct {
	Name string `json:"name"`
	settingsView
}

// settingsView is what a server and its routes can each have.
type settingsView struct {
	Hostname    string   `json:"hostname"`
	TLS         bool     `json:"tls"`
	TLSRequired bool     `json:"tls_required"`
	Auth        string   `json:"auth,omitempty"`
	Handlers    []string `json:"handlers"`
	boundsView
}

// boundsView is what bounds sessions.
type boundsView struct {
	Limits   map[string]any `json:"limits"`
	Timeouts map[string]any `json:"timeouts"`
	Rates    map[string]any `json:"rates"`
}

// showServers is GET /esmtp/servers.
func showServers(w http.ResponseWriter, _ *http.Request, _ url.Values) error {
	views := []serverView{}
	for _, srv := range liveServers() {
		views = append(views, srv.view())
	}
	return writeJSON(w, http.StatusOK, map[string]any{"servers": views})
}

func (srv liveServer) view() serverView {
	view := serverView{
		Name:         srv.name,
		Addresses:    srv.addresses,
		Loaded:       srv.look.loaded,
		Draining:     srv.draining,
		Sessions:     srv.engine.SessionCount(),
		LMTP:         srv.LMTP,
		settingsView: srv.settings(),
	}
	for i, r := range srv.Routes {
		view.Routes = append(view.Routes, routeView{r.label(i), r.server.settings()})
	}
	return view
}

// settings are those of a server or, in one that is made for it, of a route.
func (srv *Server) settings() settingsView {
	return settingsView{
		Hostname:    hostnameOf(srv.engine),
		TLS:         srv.engine.TLSConfig != nil,
		TLSRequired: srv.engine.RequireTLS,
		Auth:        srv.look.auth,
		Handlers:    srv.look.handlers,
		boundsView:  srv.bounds(),
	}
}

// bounds are the limits, timeouts and rates in force; of a route those that it can set.
func (srv *Server) bounds() boundsView {
	limits, timeouts, rates := srv.engine.InForce()
	view := boundsView{limitsInForce(limits), timeoutsInForce(timeouts), ratesInForce(rates)}
	if srv.parent != nil {
		for kind, values := range map[string]map[string]any{"limit": view.Limits, "rate": view.Rates} {
			maps.DeleteFunc(values, func(name string, _ any) bool { return slices.Contains(countedFirst[kind], name) })
		}
	}
	return view
}

// hostnameOf is the name that a server goes by.
func hostnameOf(engine *esmtp.Server) string {
	if engine.Hostname != "" {
		return engine.Hostname
	}
	name, _ := os.Hostname()
	return name
}

// inForce is a limit in JSON: null if there is none.
func inForce[T ~int | ~int64](n T) any {
	if n == 0 {
		return nil
	}
	return n
}

// limitsInForce names limits as a config does.
func limitsInForce(l esmtp.Limits) map[string]any {
	return map[string]any{
		"message_bytes":           inForce(l.MessageBytes),
		"command_line":            inForce(l.CommandLine),
		"header_bytes":            inForce(l.HeaderBytes),
		"header_fields":           inForce(l.HeaderFields),
		"recipients":              inForce(l.Recipients),
		"messages":                inForce(l.Messages),
		"errors":                  inForce(l.Errors),
		"junk":                    inForce(l.Junk),
		"connections":             inForce(l.Connections),
		"connections_per_address": inForce(l.ConnectionsPerAddress),
		"auth_failures":           inForce(l.AuthFailures),
		"ipv4_prefix":             l.IPv4Prefix,
		"ipv6_prefix":             l.IPv6Prefix,
		"min_data_rate":           inForce(l.MinDataRate),
	}
}

// timeoutsInForce names timeouts as a config does, in seconds.
func timeoutsInForce(t esmtp.Timeouts) map[string]any {
	seconds := func(d time.Duration) any {
		if d == 0 {
			return nil
		}
		return d.Seconds()
	}
	return map[string]any{
		"command": seconds(t.Command), "data": seconds(t.Data), "write": seconds(t.Write), "session": seconds(t.Session),
		"deliver": seconds(t.Deliver), "greeting": t.Greeting.Seconds(), "error_delay": t.ErrorDelay.Seconds(),
	}
}

// ratesInForce names rates as a config does.
func ratesInForce(r esmtp.Rates) map[string]any {
	return map[string]any{
		"connections": inForce(r.Connections), "messages": inForce(r.Messages), "recipients": inForce(r.Recipients),
		"auth_failures": inForce(r.AuthFailures), "handshakes": inForce(r.Handshakes),
	}
}
