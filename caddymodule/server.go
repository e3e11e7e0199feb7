package caddymodule

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"

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
//		allow_no_helo
//		tls ...
//		auth {
//			...
//		}
//		lmtp
//		listener_wrappers {
//			<wrapper> ...
//		}
//		<handler> ...
//	}
//
// An address is one of Caddy: :25, 127.0.0.1:2525, [::1]:2525, tcp4/:25, :2525-2530, unix//run/esmtp.sock|0660, fd/3. The default port is
// 25. One that begins with tls://, such as tls://:2465, and one with port 465, is in TLS from the start; see [TLS]. A directive that is no setting is a handler, the module esmtp.handlers.<name>. Handlers are a stack, in their order: each may
// answer a verb, or hand it on to the next. The last one keeps the mail; if none does it is dropped.
//
// Sizes are in octets: 1000, 64KiB, 50MiB, 1GB.
type Server struct {
	// Listen are the addresses. One that begins with tls:// or has port 465 is in TLS from the start. Placeholders such as {env.PORT} are allowed.
	Listen []string `json:"listen,omitempty"`

	// Hostname is the name in the greeting and in Received fields: a domain name that leads here, or an address literal. Placeholders
	// are allowed. Default: the name that the operating system has.
	Hostname string `json:"hostname,omitempty"`

	// Limits bounds what clients can make the server do.
	Limits Limits `json:"limits,omitzero"`

	// Timeouts bounds how long clients can take.
	Timeouts Timeouts `json:"timeouts,omitzero"`

	// Rates bounds what one client can do in a minute.
	Rates Rates `json:"rates,omitzero"`

	// TolerateParams names parameters of MAIL and RCPT, such as XOORG, that are accepted though nobody here knows them. Others get 555.
	TolerateParams []string `json:"tolerate_params,omitempty"`

	// XCLIENT are the networks of proxies that are believed who the client is, by the command XCLIENT of Postfix; single addresses are allowed too.
	// The command is neither offered to others nor taken from them.
	XCLIENT []string `json:"xclient,omitempty"`

	// XFORWARD are the networks of those that may tell, by the command XFORWARD of Postfix, where a message came from. It is for handlers and logs.
	XFORWARD []string `json:"xforward,omitempty"`

	// ForbidEarly ends a session with 554 5.5.0 when the client sends more than it may before it has the reply (RFC 2920).
	ForbidEarly bool `json:"forbid_early,omitempty"`

	// GreetingTeaser is the text of a first line of the greeting, which is sent before the timeout greeting begins: clients in a hurry take it
	// for all of the greeting. Default: none is sent.
	GreetingTeaser string `json:"greeting_teaser,omitempty"`

	// BareNewlines says what happens to a CR or LF in a message that is not part of a CRLF: reject refuses the message with 554 5.6.0, fix
	// makes it a CRLF, strip drops it, and pass hands it on, for handlers that can't be confused by it. Default: reject.
	BareNewlines string `json:"bare_newlines,omitempty"`

	// BadHeader says what happens to a message whose header has a line that is no field: insert_blank makes that line the first of the
	// body, keep does so without a blank line in between, and reject refuses the message with 550 5.6.0. Default: insert_blank.
	BadHeader string `json:"bad_header,omitempty"`

	// Strict asks for commands to the letter of RFC 5321.
	Strict bool `json:"strict,omitempty"`

	// AllowNoHELO accepts MAIL without a HELO or EHLO before it.
	AllowNoHELO bool `json:"allow_no_helo,omitempty"`

	// TLS says how the server uses TLS. Without it a server uses it if its hostname is a public domain name, unless all of its addresses are
	// loopback addresses or Unix sockets; or if one of its addresses is in TLS from the start.
	TLS *TLS `json:"tls,omitempty"`

	// Auth says who may log in. Without it nobody can, unless a handler has mechanisms for it.
	Auth *Auth `json:"auth,omitempty"`

	// LMTP speaks the Local Mail Transfer Protocol (RFC 2033) instead of SMTP, for a mail server before this one: LHLO for EHLO, and at the
	// end of a message a reply for each recipient. Not for port 25.
	LMTP bool `json:"lmtp,omitempty"`

	// ListenerWrappersRaw are wrapped around the sockets, the first one closest to them, and all of them below TLS. With proxy_protocol the client's
	// address is what a proxy says.
	ListenerWrappersRaw []json.RawMessage `json:"listener_wrappers,omitempty" caddy:"namespace=caddy.listeners inline_key=wrapper"`

	// HandlersRaw is the stack of handlers, the outermost first.
	HandlersRaw []json.RawMessage `json:"handlers,omitempty" caddy:"namespace=esmtp.handlers inline_key=handler"`

	name      string
	addresses []address // one for each port
	tls       *TLS      // nil: none
	wrappers  []caddy.ListenerWrapper
	end       int // the first handler that ends the stack
	engine    *esmtp.Server
	look      *look // for the admin API
}

// The policies, by the names that a config has for them.
var (
	bareNewlines = map[string]esmtp.BareNewlines{
		"": esmtp.RejectBare, "reject": esmtp.RejectBare, "fix": esmtp.FixBare, "strip": esmtp.StripBare, "pass": esmtp.PassBare,
	}
	badHeaders = map[string]esmtp.BadHeader{
		"": esmtp.InsertBlank, "insert_blank": esmtp.InsertBlank, "keep": esmtp.KeepBad, "reject": esmtp.RejectBad,
	}
)

// provision loads the handlers, and makes the engine.
//
// ctx is that of the config, sessions one that lives as long as a session does.
func (srv *Server) provision(ctx, sessions caddy.Context, name string, log *slog.Logger) error {
	srv.name = name
	srv.look = newLook(srv)
	if err := srv.provisionAddresses(); err != nil {
		return err
	}
	bare, ok := bareNewlines[srv.BareNewlines]
	if !ok {
		return fmt.Errorf("bare_newlines %q is none of %s", srv.BareNewlines, choices(bareNewlines))
	}
	bad, ok := badHeaders[srv.BadHeader]
	if !ok {
		return fmt.Errorf("bad_header %q is none of %s", srv.BadHeader, choices(badHeaders))
	}
	if err := errors.Join(srv.Limits.check(), srv.Timeouts.check(), srv.Rates.check()); err != nil {
		return err
	}
	xclient, err := prefixes("xclient", srv.XCLIENT)
	if err != nil {
		return err
	}
	xforward, err := prefixes("xforward", srv.XFORWARD)
	if err != nil {
		return err
	}
	hostname, err := caddy.NewReplacer().ReplaceOrErr(srv.Hostname, true, true)
	if err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	if err := srv.loadWrappers(sessions); err != nil {
		return err
	}
	stack, err := srv.loadHandlers(sessions)
	if err != nil {
		return err
	}
	if len(stack) == 0 {
		log.Warn("server has no handlers: it accepts all mail and keeps none", "server", name)
	}
	if stack, err = srv.addAuth(sessions, stack); err != nil {
		return err
	}
	tlsConfig, err := srv.provisionTLS(ctx, sessions, hostname)
	if err != nil {
		return err
	}
	login := srv.Auth
	if login == nil {
		login = new(Auth)
	}
	newEngine := func() *esmtp.Server {
		return &esmtp.Server{
			Hostname:          hostname,
			NewHandler:        esmtp.Stack(stack...),
			Limits:            srv.Limits.engine(),
			Timeouts:          srv.Timeouts.engine(),
			Rates:             srv.Rates.engine(),
			ForbidEarly:       srv.ForbidEarly,
			TolerateParams:    srv.TolerateParams,
			TrustXCLIENT:      xclient,
			TrustXFORWARD:     xforward,
			GreetingTeaser:    srv.GreetingTeaser,
			BareNewlines:      bare,
			BadHeader:         bad,
			Strict:            srv.Strict,
			AllowInsecureAuth: login.AllowInsecure,
			AllowNoHELO:       srv.AllowNoHELO,
			TLSConfig:         tlsConfig,
			RequireTLS:        srv.tls != nil && srv.tls.Required,
			LMTP:              srv.LMTP,
			RequireAuth:       login.Required,
			Observer:          adminObserver(name),
			Logger:            log.With("server", name),
		}
	}
	srv.engine = newEngine()
	return newEngine().Close() // a server that is closed has vetted its handlers first
}

// provisionTLS decides about TLS; a nil config means none.
func (srv *Server) provisionTLS(ctx, sessions caddy.Context, hostname string) (*tls.Config, error) {
	if err := srv.checkTLS(); err != nil {
		return nil, err
	}
	if srv.tls = srv.wantsTLS(hostname); srv.tls == nil {
		return nil, nil
	}
	return srv.tls.provision(ctx, sessions, hostname)
}

func (srv *Server) provisionAddresses() error {
	if len(srv.Listen) == 0 {
		return errors.New("there is no address to listen on")
	}
	srv.addresses = nil
	for _, text := range srv.Listen {
		text, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
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

func (srv *Server) loadHandlers(ctx caddy.Context) ([]esmtp.Layer, error) {
	if len(srv.HandlersRaw) == 0 {
		return nil, nil
	}
	mods, err := ctx.LoadModule(srv, "HandlersRaw")
	if err != nil {
		return nil, err
	}
	var stack []esmtp.Layer
	srv.end = len(mods.([]any))
	for i, mod := range mods.([]any) {
		layer, ok := mod.(Layer)
		if !ok {
			return nil, fmt.Errorf("%T is in esmtp.handlers but has no method NewLayer", mod)
		}
		stack = append(stack, layer.NewLayer)
		if g, ok := mod.(interface{ endsStack() bool }); ok && g.endsStack() {
			srv.end = min(srv.end, i)
		}
	}
	return stack, nil
}

// addAuth puts the layers of auth below the handlers, but above one that hands nothing on.
func (srv *Server) addAuth(ctx caddy.Context, stack []esmtp.Layer) ([]esmtp.Layer, error) {
	if srv.Auth == nil {
		return stack, nil
	}
	layers, err := srv.Auth.load(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Insert(stack, srv.end, layers...), nil
}
