package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/handler/auth"
)

// Auth says who may log in to a server. In a Caddyfile:
//
//	auth {
//		<provider> ...
//		required
//		mechanisms <name...>
//		allow_insecure
//	}
//
// A provider is a module esmtp.auth.<name>; there is one. Its layer is below all handlers, but above one that ends the stack, so that handlers
// can watch logins and change what comes of them.
//
// Wrong passwords are answered later each time, and the third ends the session.
type Auth struct {
	// ProviderRaw knows who may log in. Modules of esmtp.auth have the method of esmtp.handlers, NewLayer; their layers override
	// Mechanisms, and Authenticate, Secret or AUTH.
	ProviderRaw json.RawMessage `json:"provider,omitempty" caddy:"namespace=esmtp.auth inline_key=provider"`

	// Required refuses MAIL, BDAT, VRFY and EXPN with 530 5.7.0 until the client is logged in.
	Required bool `json:"required,omitempty"`

	// Mechanisms are the SASL mechanisms that are offered, of those that the provider has. Default: all of them.
	Mechanisms []string `json:"mechanisms,omitempty"`

	// AllowInsecure offers PLAIN, LOGIN, OAUTHBEARER and XOAUTH2 in the clear too. Anybody on the way can read the passwords.
	AllowInsecure bool `json:"allow_insecure,omitempty"`

	layers []esmtp.Layer // once they are loaded
}

// knownMechanisms are the SASL mechanisms that there are, as far as mail is concerned; Dovecot can have them all.
var knownMechanisms = []string{
	"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512",
	"SCRAM-SHA-512-PLUS", "OAUTHBEARER", "XOAUTH2", "EXTERNAL", "ANONYMOUS", "GSSAPI", "GSS-SPNEGO", "NTLM", "OTP",
}

var authOptions = []string{"required", "mechanisms", "allow_insecure"}

// auth reads the setting auth.
func (p *parser) auth(st *Settings) error {
	if p.NextArg() {
		return p.Errf("auth takes a block, not %q", p.Val())
	}
	a := new(Auth)
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		var err error
		switch p.Val() {
		case "required":
			err = p.flag(&a.Required)
		case "allow_insecure":
			err = p.flag(&a.AllowInsecure)
		case "mechanisms":
			if p.CountRemainingArgs() == 0 {
				return p.Err("mechanisms takes names, such as PLAIN or SCRAM-SHA-256")
			}
			a.Mechanisms = append(a.Mechanisms, p.RemainingArgs()...)
			if err = a.checkMechanisms(); err != nil {
				err = p.WrapErr(err)
			}
		default:
			err = p.provider(a)
		}
		if err != nil {
			return err
		}
	}
	if a.ProviderRaw == nil {
		return p.Errf("auth needs one that knows who may log in%s", didYouMean("", moduleNames("esmtp.auth")))
	}
	st.Auth = a
	return nil
}

// provider reads a module of esmtp.auth.
func (p *parser) provider(a *Auth) error {
	name := p.Val()
	id := "esmtp.auth." + name
	if _, err := caddy.GetModule(id); err != nil {
		return p.Errf("auth: unrecognized option %q%s", name, didYouMean(name, append(moduleNames("esmtp.auth"), authOptions...)))
	}
	if a.ProviderRaw != nil {
		return p.Err("auth: there is one already that knows who may log in")
	}
	mod, err := caddyfile.UnmarshalModule(p.Dispenser, id)
	if err != nil {
		return err
	}
	a.ProviderRaw = caddyconfig.JSONModuleObject(mod, "provider", name, nil)
	return nil
}

func (a *Auth) checkMechanisms() error {
	for _, name := range a.Mechanisms {
		if !slices.Contains(knownMechanisms, strings.ToUpper(name)) {
			return fmt.Errorf("auth: unrecognized mechanism %q%s", name, didYouMean(strings.ToUpper(name), knownMechanisms))
		}
	}
	return nil
}

// load loads the provider, if that isn't done yet for another route, and returns the layers of it, the outermost first.
func (a *Auth) load(ctx caddy.Context) ([]esmtp.Layer, error) {
	if a.layers != nil {
		return a.layers, nil
	}
	if err := a.checkMechanisms(); err != nil {
		return nil, err
	}
	if a.ProviderRaw == nil {
		return nil, errors.New("auth: there is no provider, which would know who may log in")
	}
	mod, err := ctx.LoadModule(a, "ProviderRaw")
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	provider, ok := mod.(Layer)
	if !ok {
		return nil, fmt.Errorf("auth: %T is in esmtp.auth but has no method NewLayer", mod)
	}
	a.layers = []esmtp.Layer{provider.NewLayer}
	if len(a.Mechanisms) > 0 {
		a.layers = slices.Insert(a.layers, 0, esmtp.Layer(auth.Restrict(a.Mechanisms...)))
	}
	return a.layers, nil
}
