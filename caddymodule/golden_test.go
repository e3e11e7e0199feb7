package caddymodule

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// Every setting, every module and every JSON field of ours has a place in testdata/adapt.
func TestAdaptLeavesNothingOut(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %q, %v", files, err)
	}
	var caddyfiles, jsons strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		before, after, _ := strings.Cut(string(text), "----------\n")
		caddyfiles.WriteString(before)
		jsons.WriteString(after)
	}
	for _, name := range settingNames() {
		if !regexp.MustCompile(`(?m)^\s*` + name + `\b`).MatchString(caddyfiles.String()) {
			t.Errorf("no Caddyfile has the setting %s", name)
		}
	}
	fields := make(map[string]string)
	for _, id := range caddy.Modules() {
		info, err := caddy.GetModule(id)
		if err != nil {
			t.Fatal(err)
		}
		typ := reflect.TypeOf(info.New())
		if !isOurs(typ) || strings.HasPrefix(id, "admin.") || strings.Contains(id, "test") {
			continue
		}
		if name := info.ID.Name(); !strings.Contains(jsons.String(), `"`+name+`"`) {
			t.Errorf("no config has the module %s", id)
		}
		addFields(fields, typ, id)
	}
	if len(fields) < 100 {
		t.Fatalf("only %d fields were looked at", len(fields))
	}
	for name, where := range fields {
		if !strings.Contains(jsons.String(), `"`+name+`":`) {
			t.Errorf("no config has the field %s of %s", name, where)
		}
	}
}

// isOurs reports whether a type, or what it points to, is from this package and not from its tests.
func isOurs(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath() == reflect.TypeFor[App]().PkgPath() && t.Kind() == reflect.Struct
}

// addFields adds the names of the JSON fields of a type, and of the types of ours in it.
func addFields(fields map[string]string, t reflect.Type, where string) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		addFields(fields, t.Elem(), where)
	case reflect.Struct:
		if !isOurs(t) {
			return
		}
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && name != "-" {
				fields[name] = where
			}
			if f.IsExported() && (name != "-" || f.Anonymous) {
				addFields(fields, f.Type, where)
			}
		}
	}
}
