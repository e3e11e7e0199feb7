package caddymodule

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/handler/auth"
)

func init() {
	caddy.RegisterModule(new(AuthUsers))
	caddy.RegisterModule(new(AuthFile))
}

// hashes are the kinds of password hashes that Caddy has.
func hashes(ctx caddy.Context) ([]auth.Hash, error) {
	checks := []struct {
		module, prefix string
		check          func([]byte) error
	}{
		{"bcrypt", "$2", func(hashed []byte) error { _, err := bcrypt.Cost(hashed); return err }},
		{"argon2id", "$argon2id$", func(hashed []byte) error { _, _, err := caddyauth.DecodeHash(hashed); return err }},
	}
	var list []auth.Hash
	for _, c := range checks {
		mod, err := ctx.LoadModuleByID("http.authentication.hashes."+c.module, nil)
		if err != nil {
			return nil, err
		}
		comparer, ok := mod.(caddyauth.Comparer)
		if !ok {
			return nil, fmt.Errorf("%T compares no passwords", mod)
		}
		list = append(list, auth.Hash{Prefix: c.prefix, Check: hideHash(c.module, c.check), Compare: comparer.Compare})
	}
	return list, nil
}

// hideHash keeps the hash out of what is said about it.
func hideHash(kind string, check func([]byte) error) func([]byte) error {
	return func(hashed []byte) error {
		if check(hashed) != nil {
			return errors.New("that is no hash of " + kind)
		}
		return nil
	}
}

// AuthUsers lets those log in whose names and secrets stand in the config:
//
//	users {
//		<name> <secret>
//		client_certificates
//	}
//
// A secret is a hash of bcrypt or argon2id, as of "caddy hash-password"; SCRAM keys, {SCRAM-SHA-256}... or {SCRAM-SHA-1}...; or {PLAIN} and the
// password. "caddy esmtp user" makes such lines. The mechanisms that are offered are those that all users can log in by: PLAIN and LOGIN
// always, SCRAM if all have its keys or {PLAIN}, CRAM-MD5 if all have {PLAIN}.
type AuthUsers struct {
	// Users are the users, at least one. Placeholders such as {env.HASH} are allowed in secrets.
	Users []User `json:"users"`

	// ClientCertificates lets a user log in by EXTERNAL with a client certificate that TLS has verified: his name is its first e-mail address,
	// else its first DNS name, else its common name.
	ClientCertificates bool `json:"client_certificates,omitempty"`

	table *auth.Table
}

// User is a user of [AuthUsers].
type User struct {
	// Name is what the client says who it is. It is compared octet for octet.
	Name string `json:"name"`

	// Secret is what is kept of the password.
	Secret string `json:"secret"`
}

// CaddyModule returns the Caddy module information.
func (*AuthUsers) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.auth.users", New: func() caddy.Module { return new(AuthUsers) }}
}

// Provision reads the secrets.
func (a *AuthUsers) Provision(ctx caddy.Context) error {
	kinds, err := hashes(ctx)
	if err != nil {
		return err
	}
	if len(a.Users) == 0 {
		return errors.New("users: there are none")
	}
	a.table = auth.NewTable(kinds...)
	a.table.Certificates = a.ClientCertificates
	for _, user := range a.Users {
		secret, err := replaceFree("users: "+user.Name, user.Secret)
		if err != nil {
			return err
		}
		if err := a.table.Add(user.Name, secret); err != nil {
			return err
		}
	}
	return nil
}

// NewLayer makes the layer of a connection.
func (a *AuthUsers) NewLayer(s *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return a.table.NewLayer(s, next)
}

// UnmarshalCaddyfile sets up the provider from Caddyfile tokens. Syntax:
//
//	users {
//		<name> <secret>
//		client_certificates
//	}
func (a *AuthUsers) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the provider
	if d.NextArg() {
		return d.Errf("users takes a block, not %q", d.Val())
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		user := User{Name: d.Val()}
		switch {
		case d.AllArgs(&user.Secret):
		case user.Name == "client_certificates" && d.CountRemainingArgs() == 0:
			a.ClientCertificates = true
			continue
		default:
			return d.Errf("users: %s: want a name and a secret", user.Name)
		}
		if err := auth.CheckName(user.Name); err != nil {
			return d.WrapErr(err)
		}
		if seen[user.Name] {
			return d.Errf("users: %s is given twice", user.Name)
		}
		seen[user.Name] = true
		a.Users = append(a.Users, user)
	}
	if len(a.Users) == 0 {
		return d.Err("users: there are none")
	}
	return nil
}

// AuthFile lets those log in whose names and secrets stand in a file:
//
//	file <path> {
//		client_certificates
//	}
//
// Each line is a name, a colon, and a secret as [AuthUsers] has them. Empty lines, and those that begin with #, are comments. The file is read again
// when it has changed; if it can't be read or has a mistake, that is logged, and the users from before go on to count.
type AuthFile struct {
	// Path is where the file is. Placeholders such as {env.HOME} are allowed. A relative path is below the folder that Caddy was started in.
	Path string `json:"path"`

	// ClientCertificates lets a user log in by EXTERNAL with a client certificate, as in [AuthUsers].
	ClientCertificates bool `json:"client_certificates,omitempty"`

	file *auth.File
}

// CaddyModule returns the Caddy module information.
func (*AuthFile) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.auth.file", New: func() caddy.Module { return new(AuthFile) }}
}

// Provision reads the file.
func (a *AuthFile) Provision(ctx caddy.Context) error {
	kinds, err := hashes(ctx)
	if err != nil {
		return err
	}
	path, err := replace("file", a.Path)
	if err != nil {
		return err
	}
	a.file, err = auth.OpenFile(path, a.ClientCertificates, kinds...)
	return err
}

// NewLayer makes the layer of a connection.
func (a *AuthFile) NewLayer(s *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return a.file.NewLayer(s, next)
}

// UnmarshalCaddyfile sets up the provider from Caddyfile tokens. Syntax:
//
//	file <path> {
//		client_certificates
//	}
func (a *AuthFile) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the provider
	if !d.AllArgs(&a.Path) {
		return d.Err("file takes a path")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if name := d.Val(); name != "client_certificates" {
			return d.Errf("file: unrecognized option %q%s", name, didYouMean(name, []string{"client_certificates"}))
		}
		if d.NextArg() {
			return d.Err("client_certificates takes no argument")
		}
		a.ClientCertificates = true
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*AuthUsers)(nil)
	_ caddyfile.Unmarshaler = (*AuthUsers)(nil)
	_ Layer                 = (*AuthUsers)(nil)
	_ caddy.Provisioner     = (*AuthFile)(nil)
	_ caddyfile.Unmarshaler = (*AuthFile)(nil)
	_ Layer                 = (*AuthFile)(nil)
)
