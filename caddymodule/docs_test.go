package caddymodule

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

var codeBlock = regexp.MustCompile("(?s)\n```(caddyfile|json)\n(.*?)\n```\n")

// TestDocs provisions each Caddyfile of the module pages. Each JSON in them must be what the Caddyfile before it comes to, or something
// in that. None is an open relay: they are copied.
func TestDocs(t *testing.T) {
	pages, err := filepath.Glob("../docs/modules/*.md")
	if err != nil || len(pages) < 6 {
		t.Fatalf("got %q, %v", pages, err)
	}
	for _, name := range []string{"ROBOT_SECRET", "KEY", "SMARTHOST_PASSWORD", "RELAY_PASSWORD", "APP_TOKEN", "APP_SECRET"} {
		t.Setenv(name, "{PLAIN}x")
	}
	users := filepath.Join(tempDir(t), "users") // which is read when the config is provisioned
	if err := os.WriteFile(users, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte("/etc/caddy/mail-users"), []byte(users))
		var config []byte
		for _, block := range codeBlock.FindAllSubmatch(text, -1) {
			if string(block[1]) == "json" {
				if !has(t, config, block[2]) {
					t.Errorf("%s: the Caddyfile comes to\n%s", page, indent(t, config))
				}
				continue
			}
			if config, err = adapt(string(block[2])); err != nil {
				t.Fatalf("%s: %v\n%s", page, err, block[2])
			}
			if text := warnings(t, config); strings.Contains(text, "open relay") {
				t.Errorf("%s: %s\n%s", page, block[2], text)
			}
		}
	}
}

// has reports whether part is all of a config, or something in it.
func has(t *testing.T, config, part []byte) bool {
	t.Helper()
	var whole, want any
	for text, v := range map[*[]byte]any{&config: &whole, &part: &want} {
		if err := json.Unmarshal(*text, v); err != nil {
			t.Fatalf("%v\n%s", err, *text)
		}
	}
	return contains(whole, want)
}

func contains(whole, part any) bool {
	if reflect.DeepEqual(whole, part) {
		return true
	}
	switch v := whole.(type) {
	case []any:
		return slices.ContainsFunc(v, func(v any) bool { return contains(v, part) })
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), func(v any) bool { return contains(v, part) })
	}
	return false
}

// Every module and every setting has its page.
func TestEveryModuleHasAPage(t *testing.T) {
	page, err := os.ReadFile("../docs/modules/esmtp.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, mod := range caddy.GetModules("esmtp.handlers") {
		if name := mod.ID.Name(); name[:min(5, len(name))] != "test_" {
			if _, err := os.Stat("../docs/modules/" + name + ".md"); err != nil {
				t.Error(err)
			}
		}
	}
	for _, mod := range caddy.GetModules("esmtp.auth") {
		if _, err := os.Stat("../docs/modules/auth-" + mod.ID.Name() + ".md"); err != nil {
			t.Error(err)
		}
	}
	names := append(settingNames(), limitNames(new(Limits).all())...)
	for _, name := range names {
		if !regexp.MustCompile("`" + name + "\\b").Match(page) {
			t.Errorf("docs/modules/esmtp.md doesn't mention %s", name)
		}
	}
}
