package caddymodule

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/handler/auth"
)

func init() {
	caddy.RegisterModule(new(AuthHTTP))
	caddy.RegisterModule(new(AuthDovecot))
}

// AuthHTTP asks an application who may log in:
//
//	http <url> {
//		header  <name> <value>
//		timeout <duration>
//		tokens
//	}
//
// It gets a POST for each login, with user, password or token, mechanism, remote, helo, hostname, session and tls in JSON; and identity, if the client
// wants to act as somebody else than user. 2xx lets the client in, 401 and 403 don't, and everything else is answered with 454 4.7.0.
// Redirects are not followed.
type AuthHTTP struct {
	// URL is where the application is, with http or https. Placeholders such as {env.APP} are allowed.
	URL string `json:"url"`

	// Header goes with each request. Placeholders are allowed in values.
	Header http.Header `json:"header,omitempty"`

	// Timeout is the time for the answer. Default 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// Tokens offers OAUTHBEARER and XOAUTH2: the application takes tokens too.
	Tokens bool `json:"tokens,omitempty"`

	app *auth.Application
}

// CaddyModule returns the Caddy module information.
func (*AuthHTTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.auth.http", New: func() caddy.Module { return new(AuthHTTP) }}
}

// Provision checks the URL; the application isn't asked yet.
func (a *AuthHTTP) Provision(caddy.Context) (err error) {
	url, err := replace("http: url", a.URL)
	if err != nil {
		return err
	}
	if a.app, err = auth.NewApplication(url); err != nil {
		return err
	}
	if err := checkTime("http: timeout", a.Timeout); err != nil {
		return err
	}
	if a.Timeout > 0 {
		a.app.Timeout = time.Duration(a.Timeout)
	}
	a.app.Tokens = a.Tokens
	a.app.Header = make(http.Header)
	for name, values := range a.Header {
		for _, value := range values {
			if value, err = replaceFree("http: header "+name, value); err != nil {
				return err
			}
			a.app.Header.Add(name, value)
		}
	}
	return nil
}

// Cleanup closes connections that were kept for the next login.
func (a *AuthHTTP) Cleanup() error {
	if a.app != nil {
		a.app.Close()
	}
	return nil
}

// NewLayer makes the layer of a connection.
func (a *AuthHTTP) NewLayer(s *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return a.app.NewLayer(s, next)
}

// UnmarshalCaddyfile sets up the provider from Caddyfile tokens. Syntax:
//
//	http <url> {
//		header  <name> <value>
//		timeout <duration>
//		tokens
//	}
func (a *AuthHTTP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the provider
	if !d.AllArgs(&a.URL) {
		return d.Err("http takes a URL")
	}
	if !strings.Contains(a.URL, "{") {
		if _, err := auth.NewApplication(a.URL); err != nil {
			return d.WrapErr(err)
		}
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch name := d.Val(); name {
		case "header":
			var field, value string
			if !d.AllArgs(&field, &value) {
				return d.Err("http: header takes a name and a value")
			}
			if a.Header == nil {
				a.Header = make(http.Header)
			}
			a.Header.Add(field, value)
		case "timeout":
			if err := readTimeout(d, &a.Timeout); err != nil {
				return err
			}
		case "tokens":
			if d.NextArg() {
				return d.Err("tokens takes no argument")
			}
			a.Tokens = true
		default:
			return d.Errf("http: unrecognized option %q%s", name, didYouMean(name, []string{"header", "timeout", "tokens"}))
		}
	}
	return nil
}

// readTimeout reads the argument of timeout.
func readTimeout(d *caddyfile.Dispenser, v *caddy.Duration) error {
	var text string
	if !d.AllArgs(&text) {
		return d.Err("timeout takes one argument")
	}
	timeout, err := caddy.ParseDuration(text)
	if err != nil || timeout <= 0 || timeout > maxTimeout {
		return d.Errf("timeout is a duration, such as 5s, not %q", text)
	}
	*v = caddy.Duration(timeout)
	return nil
}

// AuthDovecot asks Dovecot who may log in, over the socket of its authentication service:
//
//	dovecot <socket> {
//		timeout <duration>
//	}
//
// The mechanisms are those that Dovecot has, but EXTERNAL and -PLUS. Dovecot needs a listener for us: service auth { unix_listener auth-client { mode =
// 0660 } }. It is told the client's address, and that it is in TLS.
type AuthDovecot struct {
	// Socket is the path of the socket, such as /run/dovecot/auth-client. Placeholders such as {env.DOVECOT} are allowed.
	Socket string `json:"socket"`

	// Timeout is the time for each of Dovecot's answers; it holds back those about wrong passwords. Default 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	dovecot *auth.Dovecot
}

// CaddyModule returns the Caddy module information.
func (*AuthDovecot) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.auth.dovecot", New: func() caddy.Module { return new(AuthDovecot) }}
}

// Provision checks the configuration; Dovecot isn't asked yet.
func (a *AuthDovecot) Provision(caddy.Context) error {
	socket, err := replace("dovecot: socket", a.Socket)
	if err != nil {
		return err
	}
	if socket == "" {
		return errors.New("dovecot: the path of the socket is empty")
	}
	if err := checkTime("dovecot: timeout", a.Timeout); err != nil {
		return err
	}
	a.dovecot = &auth.Dovecot{Socket: socket, Timeout: time.Duration(a.Timeout)}
	return nil
}

// NewLayer makes the layer of a connection.
func (a *AuthDovecot) NewLayer(s *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return a.dovecot.NewLayer(s, next)
}

// UnmarshalCaddyfile sets up the provider from Caddyfile tokens. Syntax:
//
//	dovecot <socket> {
//		timeout <duration>
//	}
func (a *AuthDovecot) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the provider
	if !d.AllArgs(&a.Socket) {
		return d.Err("dovecot takes the path of a socket")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if name := d.Val(); name != "timeout" {
			return d.Errf("dovecot: unrecognized option %q%s", name, didYouMean(name, []string{"timeout"}))
		}
		if err := readTimeout(d, &a.Timeout); err != nil {
			return err
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*AuthHTTP)(nil)
	_ caddy.CleanerUpper    = (*AuthHTTP)(nil)
	_ caddyfile.Unmarshaler = (*AuthHTTP)(nil)
	_ Layer                 = (*AuthHTTP)(nil)
	_ caddy.Provisioner     = (*AuthDovecot)(nil)
	_ caddyfile.Unmarshaler = (*AuthDovecot)(nil)
	_ Layer                 = (*AuthDovecot)(nil)
)
