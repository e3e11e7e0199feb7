package caddymodule

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// readFields reads a directive whose block has a line for each field of a struct that is set.
func readFields(d *caddyfile.Dispenser, v reflect.Value) error {
	d.Next()
	directive := d.Val()
	if d.NextArg() {
		return d.Errf("%s takes a block of fields, not %q", directive, d.Val())
	}
	fields := make(map[string]reflect.Value)
	if v.Kind() == reflect.Struct {
		collectFields(v, fields)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		field, ok := fields[name]
		switch {
		case name == "{":
			return d.Errf("%s: a field takes values, not a block", directive)
		case !ok:
			names := make([]string, 0, len(fields))
			for name := range fields {
				names = append(names, name)
			}
			return d.Errf("%s: unrecognized field %q%s", directive, name, didYouMean(name, names))
		}
		if err := setField(field, d.RemainingArgs()); err != nil {
			return d.Errf("%s: %s: %w", directive, name, err)
		}
	}
	return nil
}

// collectFields gathers the fields of a struct, by their names in JSON; those of embedded structs belong to it (encoding/json).
func collectFields(v reflect.Value, fields map[string]reflect.Value) {
	for f := range v.Type().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		value := v.FieldByIndex(f.Index)
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			collectFields(value, fields)
		case f.Anonymous || !f.IsExported() || f.Tag.Get("json") == "-":
		case name == "":
			fields[f.Name] = value
		default:
			fields[name] = value
		}
	}
}

var (
	errOneValue = errors.New("takes one value")
	errKind     = errors.New("has a type that a Caddyfile can't set: give the struct an UnmarshalCaddyfile method")
)

// setField sets a field from the arguments of its line.
func setField(v reflect.Value, args []string) error {
	_, isText := v.Addr().Interface().(encoding.TextUnmarshaler)
	switch {
	case v.Kind() == reflect.Slice && !isText:
		if len(args) == 0 {
			return errors.New("takes values")
		}
		for _, arg := range args {
			item := reflect.New(v.Type().Elem()).Elem()
			if err := setValue(item, arg); err != nil {
				return err
			}
			v.Set(reflect.Append(v, item))
		}
		return nil
	case v.Kind() == reflect.Bool && len(args) == 0:
		v.SetBool(true)
		return nil
	case len(args) != 1:
		return errOneValue
	}
	return setValue(v, args[0])
}

// setValue sets one value from one argument.
func setValue(v reflect.Value, arg string) error {
	switch t := v.Addr().Interface().(type) {
	case *time.Duration, *caddy.Duration:
		d, err := caddy.ParseDuration(arg)
		v.SetInt(int64(d))
		return wrong("a duration, such as 30s or 5m", arg, err)
	case encoding.TextUnmarshaler:
		return t.UnmarshalText([]byte(arg))
	}
	switch {
	case v.Kind() == reflect.String:
		v.SetString(arg)
		return nil
	case v.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(arg)
		v.SetBool(b)
		return wrong("true or false", arg, err)
	case v.CanInt():
		n, err := strconv.ParseInt(arg, 10, v.Type().Bits())
		v.SetInt(n)
		return wrong("a whole number", arg, err)
	case v.CanUint():
		n, err := strconv.ParseUint(arg, 10, v.Type().Bits())
		v.SetUint(n)
		return wrong("a whole number, 0 or more", arg, err)
	case v.CanFloat():
		n, err := strconv.ParseFloat(arg, v.Type().Bits())
		v.SetFloat(n)
		return wrong("a number", arg, err)
	}
	return errKind
}

// wrong is the error of a value that couldn't be read.
func wrong(want, got string, err error) error {
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%s is out of range", got)
	}
	if err != nil {
		return fmt.Errorf("takes %s, not %q", want, got)
	}
	return nil
}
