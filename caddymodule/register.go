package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-esmtp/esmtp"
)

// Register makes the Caddy module esmtp.handlers.<name>, and with it the directive <name>, of a struct that embeds esmtp.Default or
// esmtp.Handler. Call it from an init function; like caddy.RegisterModule it panics if there is such a module already.
//
//	type Mine struct {
//		esmtp.Default
//		Domain string `json:"domain"`
//	}
//
//	func init() { caddymodule.Register[Mine]("mine") }
//
// The exported fields are the configuration, in JSON as encoding/json has them; a field that the JSON has and the struct hasn't is an error.
// In a Caddyfile they are a block, a line for each field, by its JSON name:
//
//	mine {
//		domain example.org
//	}
//
// Values are strings, booleans (no value means true), numbers, durations (time.Duration or caddy.Duration), what has an UnmarshalText
// method, and slices of these, for which values are appended. For anything else give *Mine an UnmarshalCaddyfile method, whose
// first token is the name of the directive.
//
// Every connection gets a copy of the configured value, so that the fields are also its state; what pointers, maps and slices lead to
// is shared by all connections. In a struct that embeds esmtp.Handler that field is the next handler of the stack; one that embeds
// esmtp.Default is the end of the stack. Methods Provision, Validate and Cleanup are called on the configured value as on any
// Caddy module.
func Register[T any, P interface {
	*T
	esmtp.Handler
}](name string) {
	caddy.RegisterModule(&guest[T, P]{name: name, next: nextField(reflect.TypeFor[T]())})
}

// guest is the Caddy module that is made of T.
type guest[T any, P interface {
	*T
	esmtp.Handler
}] struct {
	name   string
	next   []int // the index of the embedded Handler in T, nil if there is none
	config T
}

// nextField finds the embedded esmtp.Handler of a struct.
func nextField(t reflect.Type) []int {
	if t.Kind() != reflect.Struct {
		return nil
	}
	for f := range t.Fields() {
		if f.Anonymous && f.Type == reflect.TypeFor[esmtp.Handler]() {
			return f.Index
		}
	}
	return nil
}

// CaddyModule returns the Caddy module information.
func (g *guest[T, P]) CaddyModule() caddy.ModuleInfo {
	name, next := g.name, g.next
	return caddy.ModuleInfo{
		ID:  caddy.ModuleID("esmtp.handlers." + name),
		New: func() caddy.Module { return &guest[T, P]{name: name, next: next} },
	}
}

// NewLayer makes a copy of the configured value, with the next handler in it.
func (g *guest[T, P]) NewLayer(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	v := new(T)
	*v = g.config
	if g.next != nil {
		reflect.ValueOf(v).Elem().FieldByIndex(g.next).Set(reflect.ValueOf(next))
	}
	return P(v)
}

// endsStack reports whether the handler hands nothing on.
func (g *guest[T, P]) endsStack() bool { return g.next == nil }

// UnmarshalJSON reads the configuration strictly, as Caddy reads that of other modules.
func (g *guest[T, P]) UnmarshalJSON(p []byte) error {
	dec := json.NewDecoder(bytes.NewReader(p))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&g.config); err != nil {
		return fmt.Errorf("%s: %w", g.name, err)
	}
	return nil
}

// MarshalJSON writes the configuration, without the embedded handlers, which are none.
func (g *guest[T, P]) MarshalJSON() ([]byte, error) {
	p, err := json.Marshal(&g.config)
	if err != nil || g.next == nil {
		return p, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(p, &fields); err != nil {
		return nil, err
	}
	delete(fields, "Handler")
	return json.Marshal(fields)
}

// UnmarshalCaddyfile lets the struct read its tokens if it can, and else takes them as values of fields.
func (g *guest[T, P]) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if u, ok := any(&g.config).(caddyfile.Unmarshaler); ok {
		return u.UnmarshalCaddyfile(d)
	}
	return readFields(d, reflect.ValueOf(&g.config).Elem())
}

// Provision provisions the configured value, if it wants that.
func (g *guest[T, P]) Provision(ctx caddy.Context) error {
	if p, ok := any(&g.config).(caddy.Provisioner); ok {
		return p.Provision(ctx)
	}
	return nil
}

// Validate validates the configured value, if it wants that.
func (g *guest[T, P]) Validate() error {
	if v, ok := any(&g.config).(caddy.Validator); ok {
		return v.Validate()
	}
	return nil
}

// Cleanup cleans the configured value up, if it wants that. No connection uses it any more.
func (g *guest[T, P]) Cleanup() error {
	if c, ok := any(&g.config).(caddy.CleanerUpper); ok {
		return c.Cleanup()
	}
	return nil
}
