package esmtp

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"sync"
)

// Vet looks for mistakes in a handler that compile but can't be meant, and returns them as one error:
//
//   - a method with the shape of a verb, but a name that is not quite that of one: "Mail", "Rctp". It would never be called.
//   - a layer whose embedded Handler is nil: it would panic at the first verb.
//
// It goes through all layers. [Server.Serve] calls it.
func Vet(h Handler) error {
	if h == nil {
		return errors.New("esmtp: handler is nil")
	}
	var errs []error
	seen := map[string]bool{} // a method that is promoted shows in every layer above
	for _, v := range layers(h) {
		if v.Kind() == reflect.Interface {
			errs = append(errs, fmt.Errorf("esmtp: a layer of %T embeds a nil Handler", h))
			continue
		}
		t := v.Type()
		for m := range t.Methods() {
			meant := misspelt(m)
			if meant != "" && !seen[m.Name] {
				seen[m.Name] = true
				errs = append(errs, fmt.Errorf("esmtp: %v has a method %s, which is never called: did you mean %s?", t, m.Name, meant))
			}
		}
	}
	return errors.Join(errs...)
}

// vet looks at a handler that the factory makes for no connection. It is told that it is Closed at once.
func (srv *Server) vet() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("esmtp: NewHandler panics: %v", p)
		}
	}()
	s := newSession(srv, nil)
	h := srv.cfg.newHandler(s)
	if err = Vet(h); err != nil {
		return err
	}
	s.h = h
	s.guard("Closed", func() { h.Closed(s, nil) })
	return nil
}

var (
	handlerType = reflect.TypeFor[Handler]()
	sessionType = reflect.TypeFor[*Session]()
	replyType   = reflect.TypeFor[Reply]()
	defaultType = reflect.TypeFor[Default]()
)

// layers returns the handler, and every Handler that is embedded in it, outermost first. A nil one is a Value of kind Interface.
func layers(h Handler) (list []reflect.Value) {
	for v := reflect.ValueOf(h); len(list) < 100; {
		list = append(list, v)
		inner := reflect.Indirect(v)
		if inner.Kind() != reflect.Struct {
			return list
		}
		next := embedded(inner)
		if !next.IsValid() {
			return list
		}
		if next.Kind() == reflect.Interface {
			if next.IsNil() {
				return append(list, next)
			}
			next = next.Elem()
		} else if next.CanAddr() && !next.Type().Implements(handlerType) {
			next = next.Addr()
		}
		v = next
	}
	return list
}

// embedded returns the embedded field of a struct that makes it a Handler.
func embedded(v reflect.Value) reflect.Value {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous && (f.Type.Implements(handlerType) || reflect.PointerTo(f.Type).Implements(handlerType)) {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

// misspelt returns the verb that a method's name was meant to be, "" if it is not meant as one.
func misspelt(m reflect.Method) string {
	if _, ok := handlerType.MethodByName(m.Name); ok || !looksLikeHook(m.Type) {
		return ""
	}
	for verb := range handlerType.Methods() {
		if verb.IsExported() && nearly(m.Name, verb.Name) {
			return verb.Name
		}
	}
	return ""
}

// looksLikeHook reports whether a method takes a *Session first, or returns a Reply.
func looksLikeHook(t reflect.Type) bool {
	return t.NumIn() > 1 && t.In(1) == sessionType || t.NumOut() > 0 && t.Out(0) == replyType
}

// nearly reports whether a is b in another case, or one typing mistake away: a letter too many, too few, wrong, or two swapped.
func nearly(a, b string) bool {
	if equalFold(a, b) {
		return true
	}
	i := 0
	for i < len(a) && i < len(b) && lower(a[i]) == lower(b[i]) {
		i++
	}
	a, b = a[i:], b[i:]
	switch {
	case len(a) == len(b) && len(a) >= 2 && equalFold(a[:2], b[1:2]+b[:1]) && equalFold(a[2:], b[2:]):
		return true
	case len(a) == len(b):
		return len(a) > 0 && equalFold(a[1:], b[1:])
	case len(a) == len(b)+1:
		return equalFold(a[1:], b)
	case len(a)+1 == len(b):
		return equalFold(a, b[1:])
	}
	return false
}

// overridden remembers, for a type and a method, whether the type has a method of its own.
var overridden sync.Map // of overrideKey to bool

type overrideKey struct {
	t      reflect.Type
	method string
}

// overrides reports whether any layer of h has a method of its own, not Default's. With it the engine leaves out work whose result
// nobody looks at.
func overrides(h Handler, method string) bool {
	for _, v := range layers(h) {
		if v.Kind() == reflect.Interface || ownMethod(v.Type(), method) {
			return true
		}
	}
	return false
}

// ownMethod reports whether a type declares a method itself. A method that it got by embedding is a wrapper, made by the compiler, in
// no file.
func ownMethod(t reflect.Type, method string) bool {
	if t.Kind() == reflect.Pointer {
		if ownMethod(t.Elem(), method) {
			return true
		}
	}
	if t == defaultType {
		return false
	}
	key := overrideKey{t, method}
	if own, ok := overridden.Load(key); ok {
		return own.(bool)
	}
	own := false
	if m, ok := t.MethodByName(method); ok {
		pc := m.Func.Pointer()
		file, _ := runtime.FuncForPC(pc).FileLine(pc)
		own = file != "<autogenerated>"
	}
	overridden.Store(key, own)
	return own
}
