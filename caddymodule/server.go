package caddymodule

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
)

// Server is a server: its addresses, its settings, and its stack of handlers. In a Caddyfile it is a block in the option esmtp, headed
// by its addresses:
//
//	<address...> {
//		hostname      <name>
//		max_size      <size>|off
//		limits {
//			command_line              <size>
//			header_bytes              <size>|off
//			header_fields             <count>|off
//			recipients                <count>|off
//			messages                  <count>|off
//			errors                    <count>|off
//			junk                      <count>|off
//			connections               <count>|off
//			connections_per_address   <count>|off
//			auth_failures             <count>|off
//			ipv4_prefix               <bits>
//			ipv6_prefix               <bits>
//			min_data_rate             <size>|off
//		}
//		timeouts {
//			command <duration>|off
//			data    <duration>|off
//			write   <duration>|off
//			session <duration>|off
//			deliver     <duration>|off
//			greeting    <duration>
//			error_delay <duration>|off
//		}
//		rates {
//			connections   <count>|off
//			messages      <count>|off
//			recipients    <count>|off
//			auth_failures <count>|off
//			handshakes    <count>|off
//		}
//		tolerate_params <name...>
//		xclient         <network...>
//		xforward        <network...>
//		forbid_early
//		greeting_teaser <text>
//		bare_newlines reject|fix|strip|pass
//		bad_header    insert_blank|keep|reject
//		strict
//		ignore_empty_lines
//		allow_no_helo
//		tls ...
//		auth {
//			...
//		}
//		lmtp
//		listener_wrappers {
//			<wrapper> ...
//		}
//		@<name> <matcher> ...
//		<handler> ...
//		handle [@<name>] {
//			<setting or handler> ...
//		}
//	}
//
// An address is one of Caddy: :25, 127.0.0.1:2525, [::1]:2525, tcp4/:25, :2525-2530, unix//run/esmtp.sock|0660, fd/3. The default port is
// 25. One that begins with tls://, such as tls://:2465, and one with port 465, is in TLS from the start; see [TLS]. A directive that is no setting is a handler, the module esmtp.handlers.<name>. Handlers are a stack, in their order: each may
// answer a verb, or hand it on to the next. The last one keeps the mail; if none does it is dropped. What stands in a handle is for some of the
// sessions; see [Route].
//
// A server can be given a name, which stands in the log, with "server <name>" before its addresses. It needs none if a [ListenerWrapper]
// names it: then its clients come in at the port of a web server.
//
// Sizes are in octets: 1000, 64KiB, 50MiB, 1GB.
type Server struct {
	// Listen are the addresses. One that begins with tls:// or has port 465 is in TLS from the start. Placeholders such as {env.PORT} are allowed.
	// A server that a listener wrapper of a web server names needs none.
	Listen []string `json:"listen,omitempty"`

	Settings

	// LMTP speaks the Local Mail Transfer Protocol (RFC 2033) instead of SMTP, for a mail server before this one: LHLO for EHLO, and at the
	// end of a message a reply for each recipient. Not for port 25.
	LMTP bool `json:"lmtp,omitempty"`

	// ListenerWrappersRaw are wrapped around the sockets, the first one closest to them, and all of them below TLS. With proxy_protocol the client's
	// address is what a proxy says.
	ListenerWrappersRaw []json.RawMessage `json:"listener_wrappers,omitempty" caddy:"namespace=caddy.listeners inline_key=wrapper"`

	// HandlersRaw is the stack of handlers, the outermost first. All sessions have them; those of their route come below.
	HandlersRaw []json.RawMessage `json:"handlers,omitempty" caddy:"namespace=esmtp.handlers inline_key=handler"`

	// Routes give sessions settings and handlers of their own, by what is known when a client connects: the first route that matches is taken.
	// A session that none matches has the server's own settings and handlers; if the server has no handlers of its own it gets 554.
	Routes []*Route `json:"routes,omitempty"`

	name      string
	addresses []address // one for each port
	tls       *TLS      // nil: none
	wrappers  []caddy.ListenerWrapper
	wrapped   *handover // what listener wrappers of web servers hand over; nil if none does
	stack     stack     // without the layers of auth
	engine    *esmtp.Server
	look      *look   // for the admin API
	parent    *Server // that this one is a route of; nil: it is none
}

// provision loads the handlers, and makes the engine.
//
// ctx is that of the config, sessions one that lives as long as a session does.
func (srv *Server) provision(ctx, sessions caddy.Context, name string, log *slog.Logger) error {
	srv.name = name
	srv.look = newLook(srv.Auth, srv.HandlersRaw)
	if err := srv.provisionAddresses(); err != nil {
		return err
	}
	if err := srv.prepareRoutes(); err != nil {
		return err
	}
	if err := srv.loadWrappers(sessions); err != nil {
		return err
	}
	common, err := loadStack(sessions, srv)
	if err != nil {
		return err
	}
	logs := loggers{log.With("server", name), accessLog(ctx, name)}
	own := common
	if len(common.layers) == 0 && len(srv.Routes) > 0 {
		own = stack{layers: []esmtp.Layer{refuseAll}, end: 1}
	}
	if err := srv.assemble(ctx, sessions, own, logs); err != nil {
		return err
	}
	if srv.engine.Observer, err = observe(ctx, srv); err != nil { // of its routes' sessions too
		return err
	}
	if len(srv.Routes) > 0 {
		srv.engine.Select = srv.selectRoute
	}
	if err := srv.provisionRoutes(ctx, sessions, common, logs); err != nil {
		return err
	}
	srv.warnOpenRelay(logs)
	return nil
}

// assemble makes the engine, of the settings and a stack of handlers, and has it vet them.
func (srv *Server) assemble(ctx, sessions caddy.Context, handlers stack, log loggers) error {
	if err := errors.Join(srv.check(), srv.checkTeaser()); err != nil {
		return err
	}
	hostname, err := replace("hostname", srv.Hostname)
	if err != nil {
		return err
	}
	if len(handlers.layers) == 0 {
		log.own.Warn("server has no handlers: it accepts all mail and keeps none")
	}
	srv.stack = handlers
	login := srv.Auth
	if login == nil {
		login = new(Auth)
	} else if handlers, err = handlers.withAuth(sessions, login); err != nil {
		return err
	}
	tlsConfig, err := srv.provisionTLS(ctx, sessions, hostname)
	if err != nil {
		return err
	}
	trusted, err := srv.trust()
	if err != nil {
		return err
	}
	newEngine := func() *esmtp.Server {
		return &esmtp.Server{
			Hostname:          hostname,
			NewHandler:        esmtp.Stack(handlers.layers...),
			Limits:            srv.Limits.engine(),
			Timeouts:          srv.Timeouts.engine(),
			Rates:             srv.Rates.engine(),
			Clients:           &tallyOf(srv.name).clients,
			ForbidEarly:       srv.ForbidEarly,
			TolerateParams:    srv.TolerateParams,
			TrustXCLIENT:      trusted.xclient,
			TrustXFORWARD:     trusted.xforward,
			GreetingTeaser:    srv.GreetingTeaser,
			BareNewlines:      bareNewlines[srv.BareNewlines],
			BadHeader:         badHeaders[srv.BadHeader],
			Strict:            srv.Strict,
			IgnoreEmptyLines:  srv.IgnoreEmptyLines,
			AllowInsecureAuth: login.AllowInsecure,
			AllowNoHELO:       srv.AllowNoHELO,
			TLSConfig:         tlsConfig,
			RequireTLS:        srv.tls != nil && srv.tls.Required,
			LMTP:              srv.LMTP,
			RequireAuth:       login.Required,
			Logger:            log.own,
			AccessLog:         log.access,
		}
	}
	srv.engine = newEngine()
	return newEngine().Close() // a server that is closed has vetted its handlers first
}

// provisionTLS decides about TLS; a nil config means none.
func (srv *Server) provisionTLS(ctx, sessions caddy.Context, hostname string) (*tls.Config, error) {
	if from := srv.parent; from != nil && srv.TLS == from.TLS && hostname == from.engine.Hostname {
		srv.tls = from.tls
		return from.engine.TLSConfig, nil
	}
	if err := srv.checkTLS(); err != nil {
		return nil, err
	}
	if srv.tls = srv.wantsTLS(hostname); srv.tls == nil {
		return nil, nil
	}
	return srv.tls.provision(ctx, sessions, hostname)
}

func (srv *Server) provisionAddresses() error {
	srv.addresses = nil
	for _, text := range srv.Listen {
		text, err := replace("listen", text)
		if err != nil {
			return err
		}
		addrs, err := parseAddress(text)
		if err != nil {
			return err
		}
		srv.addresses = append(srv.addresses, addrs...)
	}
	if srv.LMTP {
		return checkLMTP(srv.addresses)
	}
	return nil
}
