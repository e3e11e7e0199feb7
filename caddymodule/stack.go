package caddymodule

import (
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
)

// stack is layers, and what is to be known of them.
type stack struct {
	layers  []esmtp.Layer
	end     int    // the index of the first that hands nothing on; if none is like that, their number
	relays  string // the first by which mail goes on to wherever it is for, "": none
	guarded bool   // above that is one that may keep strangers from it
}

// loadStack loads the modules in the field HandlersRaw of owner.
func loadStack(ctx caddy.Context, owner any) (st stack, err error) {
	mods, err := ctx.LoadModule(owner, "HandlersRaw")
	if err != nil {
		return st, err
	}
	list, _ := mods.([]any) // nil: there are none
	st.end = len(list)
	for i, mod := range list {
		layer, ok := mod.(Layer)
		if !ok {
			return st, fmt.Errorf("%T is in esmtp.handlers but has no method NewLayer", mod)
		}
		st.layers = append(st.layers, layer.NewLayer)
		if st.end == len(list) { // the others are never asked
			st.notice(mod.(caddy.Module))
		}
		if g, ok := mod.(interface{ endsStack() bool }); ok && g.endsStack() {
			st.end = min(st.end, i)
		}
	}
	return st, nil
}

// above puts the stack on top of another. The layers of that are never asked if this one ends before.
func (st stack) above(below stack) stack {
	all := stack{slices.Concat(st.layers, below.layers), st.end, st.relays, st.guarded}
	if st.end == len(st.layers) {
		all.end += below.end
		if st.relays == "" {
			all.relays, all.guarded = below.relays, st.guarded || below.guarded
		}
	}
	return all
}

// withAuth puts the layers of auth below the handlers, but above one that hands nothing on.
func (st stack) withAuth(ctx caddy.Context, auth *Auth) (stack, error) {
	layers, err := auth.load(ctx)
	if err != nil {
		return st, err
	}
	st.layers, st.end = slices.Insert(slices.Clone(st.layers), st.end, layers...), st.end+len(layers)
	return st, nil
}
