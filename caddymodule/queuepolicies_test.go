package caddymodule

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-esmtp/esmtp/relay/mtasts"
)

// A policy outlives a restart, of which the memory is empty; what is too old goes; what is broken is none.
func TestPoliciesAreInCaddysStorage(t *testing.T) {
	old, swept := stsPolicies, stsSwept.Load()
	t.Cleanup(func() { stsPolicies = old; stsSwept.Store(swept) })
	restart := func() { stsPolicies = mtasts.NewMemory(10); stsSwept.Store(0) }
	dir := t.TempDir()
	s := stsStorage{&certmagic.FileStorage{Path: dir}}
	file := func(domain string) string {
		return filepath.Join(dir, "esmtp", "mta-sts", domain+".json")
	}
	restart()
	if e, ok := s.Get(t.Context(), "example.org"); ok && e.Policy.Mode != mtasts.ModeNone {
		t.Fatalf("got %+v", e)
	}
	want := mtasts.Entry{Policy: mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"mx.example.org"}, MaxAge: time.Hour}, ID: "1", Expires: time.Now().Add(time.Hour)}
	for _, domain := range []string{"example.org", "old.example", "broken.example"} {
		if err := s.Put(t.Context(), domain, want); err != nil {
			t.Fatal(err)
		}
	}
	if e, ok := s.Get(t.Context(), "example.org"); !ok || e.ID != "1" {
		t.Errorf("what was absent a moment ago still is: %+v", e)
	}
	if err := os.WriteFile(file("broken.example"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	longAgo := time.Now().Add(-stsOld - time.Hour)
	if err := os.Chtimes(file("old.example"), longAgo, longAgo); err != nil {
		t.Fatal(err)
	}
	restart()
	if e, ok := s.Get(t.Context(), "example.org"); !ok || e.ID != "1" || e.Policy.Mode != mtasts.ModeEnforce || e.Policy.MX[0] != "mx.example.org" || !e.Expires.Equal(want.Expires) {
		t.Errorf("got %+v, %t", e, ok)
	}
	if e, ok := s.Get(t.Context(), "broken.example"); ok && e.Policy.Mode != mtasts.ModeNone {
		t.Errorf("got %+v", e)
	}
	if err := s.Put(t.Context(), "example.net", want); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file("old.example")); !os.IsNotExist(err) {
		t.Errorf("the old one is still there: %v", err)
	}
	if _, err := os.Stat(file("example.org")); err != nil {
		t.Error(err)
	}
}
