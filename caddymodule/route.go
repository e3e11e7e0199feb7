package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
)

// Route gives some of a server's sessions settings and handlers of their own. In a Caddyfile it is a block handle in that of a server:
//
//	@<name> <matcher> ...
//	@<name> {
//		<matcher> ...
//	}
//	handle [@<name>] {
//		<setting or handler> ...
//	}
//
// A session takes the first route that matches, when the client connects, and stays with it. A handle without a matcher is the last: it is for the
// rest. A matcher is a module esmtp.matchers.<name>; several in a block must all match.
//
// What a route doesn't set is as the server has it; each limit, timeout and rate counts for itself, auth and tls as a whole. What is on in the server
// can't be turned off. Handlers that stand above the first handle are those of all sessions, and the route's are below them.
//
// A route can't have listener_wrappers and lmtp, which belong to the addresses, nor the limits connections, connections_per_address, ipv4_prefix and
// ipv6_prefix and the rates connections and handshakes, which count before the route is known.
type Route struct {
	// Name stands in the log. Default: the number of the route, from 0.
	Name string `json:"name,omitempty"`

	// MatchersRaw are sets of matchers. The route matches if all matchers of one of the sets do. Default: it matches always.
	MatchersRaw []caddy.ModuleMap `json:"match,omitempty" caddy:"namespace=esmtp.matchers"`

	Settings

	// HandlersRaw are the handlers below those of the server, the outermost first.
	HandlersRaw []json.RawMessage `json:"handlers,omitempty" caddy:"namespace=esmtp.handlers inline_key=handler"`

	matchers matcherSets
	server   *Server // with the route's settings; it listens nowhere
}

// countedFirst are the limits and rates that count before the route of a session is known.
var countedFirst = map[string][]string{
	"limit": {"connections", "connections_per_address", "ipv4_prefix", "ipv6_prefix"},
	"rate":  {"connections", "handshakes"},
}

// check says what in a route belongs to the server.
func (r *Route) check() error {
	for kind, all := range map[string][]limit{"limit": r.Limits.all(), "rate": r.Rates.all()} {
		for _, l := range all {
			if *l.value != 0 && slices.Contains(countedFirst[kind], l.name) {
				return fmt.Errorf("the %s %s counts before the route is known: only the server can have it", kind, l.name)
			}
		}
	}
	return r.Settings.check()
}

// isForAll reports whether the route matches every session.
func (r *Route) isForAll() bool {
	return len(r.MatchersRaw) == 0 || slices.ContainsFunc(r.MatchersRaw, func(set caddy.ModuleMap) bool { return len(set) == 0 })
}

// label is the name of route i in logs and errors.
func (r *Route) label(i int) string {
	if r.Name != "" {
		return r.Name
	}
	return strconv.Itoa(i)
}

// prepareRoutes finds out the settings of all routes. It comes before the server's own are provisioned, which changes some of them.
func (srv *Server) prepareRoutes() error {
	for i, r := range srv.Routes {
		if r == nil {
			return fmt.Errorf("route %d: there is nothing in it", i)
		}
		if err := r.check(); err != nil {
			return fmt.Errorf("route %s: %w", r.label(i), err)
		}
		if i < len(srv.Routes)-1 && r.isForAll() {
			return fmt.Errorf("route %s: it matches all sessions, and so the routes behind it are never taken", r.label(i))
		}
		if err := r.prepare(srv); err != nil {
			return fmt.Errorf("route %s: %w", r.label(i), err)
		}
	}
	return nil
}

// prepare makes a server with the settings of the route.
func (r *Route) prepare(srv *Server) error {
	settings := r.Settings
	settings.inherit(&srv.Settings)
	if r.TLS == nil && srv.TLS != nil && settings.Hostname != srv.Hostname {
		tls, err := srv.TLS.clone() // for another certificate
		if err != nil {
			return err
		}
		settings.TLS = tls
	}
	r.server = &Server{Settings: settings, LMTP: srv.LMTP, name: srv.name, addresses: srv.addresses, parent: srv,
		look: newLook(settings.Auth, r.HandlersRaw)}
	return errors.Join(r.server.checkTLS(), r.server.checkTeaser())
}

// clone copies what the config says, before it is provisioned.
func (t *TLS) clone() (*TLS, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	copied := new(TLS)
	return copied, json.Unmarshal(text, copied)
}

// provisionRoutes loads the matchers and handlers of all routes, and makes an engine for each. common are the handlers of all sessions.
func (srv *Server) provisionRoutes(ctx, sessions caddy.Context, common stack, log loggers) error {
	for i, r := range srv.Routes {
		if err := r.provision(ctx, sessions, common, log.with("route", r.label(i))); err != nil {
			return fmt.Errorf("route %s: %w", r.label(i), err)
		}
	}
	return nil
}

func (r *Route) provision(ctx, sessions caddy.Context, common stack, log loggers) (err error) {
	if r.matchers, err = loadMatchers(sessions, r); err != nil {
		return err
	}
	own, err := loadStack(sessions, r)
	if err != nil {
		return err
	}
	if len(own.layers) > 0 && common.end < len(common.layers) {
		return errors.New("its handlers are never asked: one of the server's, which are above them, hands nothing on")
	}
	return r.server.assemble(ctx, sessions, common.above(own), log)
}

// selectRoute finds the settings of a session; nil means the server's own.
func (srv *Server) selectRoute(s *esmtp.Session) *esmtp.Server {
	for _, r := range srv.Routes {
		if r.matchers.match(s) {
			return r.server.engine
		}
	}
	return nil
}

// routeOf is the name of the route that these settings are of, "" if they are the server's own.
func (srv *Server) routeOf(settings *esmtp.Server) string {
	for i, r := range srv.Routes {
		if r.server.engine == settings {
			return r.label(i)
		}
	}
	return ""
}

var replyNoRoute = esmtp.Deny(554, 5, 7, 1, "No service for you here")

// refuser refuses all sessions.
type refuser struct{ esmtp.Handler }

// refuseAll is the stack of a server with routes and no other handlers, for sessions that no route matches: their mail would be lost.
func refuseAll(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler { return &refuser{next} }

// CONNECT refuses.
func (*refuser) CONNECT(*esmtp.Session) esmtp.Reply { return replyNoRoute }
