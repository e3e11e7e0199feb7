package caddymodule

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// FuzzOption: whatever stands in the option esmtp, reading it never panics, and what it comes to is a config that can be provisioned: the
// parser finds all mistakes, so that they are told with file and line.
func FuzzOption(f *testing.F) {
	for _, block := range []string{
		":25 {\nlog\n}", "grace_period off\n127.0.0.1:1 [::1]:1-5, unix//x|0660 {\nhostname x\nmax_size 5MiB\n}",
		":1 {\nlimits {\ncommand_line 1000\nerrors off\n}\ntimeouts {\ndata 5s\n}\nstrict\nbad_header keep\n}",
		":1 {\nrecipients a@b {\n*.c\n}\nmaildir /x/{rcpt.local} {\nfile_mode 0600\n}\nrespond RCPT 550 5.1.1 x {\nfrom <>\nto a@b\nclose\n}\n}",
		":1 {\ntest_fields {\nflags true\nnet 192.0.2.0/24\nwait 5s\n}\n}", ":1 {\n}\n}", ":1 {", "{", "\"", ":1 {\nlog {\n}\n}",
		":1 {\n@a remote_ip 192.0.2.0/24 private_ranges\n@b {\nlocal_port 25-30\nsni *.x\nnot {\nunix\ntls client_certificate\n}\n}\nlog\nhandle @a {\nmax_size 5\nlog\n}\nhandle @b {\nstrict\n}\nhandle {\nlog\n}\n}",
		"queue {\nspool /x\nhostname a.internal\nnext_hop a@b\nlogin a@b c\nroute *.x unix//s {\ntls none\n}\nxforward d\nretry 1m 2m\nexpire 3d\nwarn off\nconcurrency 5\n}\n:1 {\nqueue b {\nretry 1m\nmax_hops 5\n}\n}",
		"tls://:1 {\nhostname a.internal\ntls {\nrequired\n}\n@a local_ip ::1\nhandle @a {\nhostname b.internal\nlimits {\nerrors 5\n}\nrates {\nmessages 5\n}\n}\n}",
	} {
		f.Add(block)
	}
	f.Fuzz(func(t *testing.T, block string) {
		tokens, err := caddyfile.Tokenize([]byte("esmtp {\n"+block+"\n}\n"), "Caddyfile")
		if err != nil {
			return
		}
		option, err := parseOption(caddyfile.NewDispenser(tokens), nil)
		if err != nil {
			return
		}
		app := option.(httpcaddyfile.App)
		if hasPlaceholder(app.Value) || strings.Contains(block, "test_") {
			return // a placeholder is checked when its value is known; the handlers of tests have their own ideas
		}
		cfg := &caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}, AppsRaw: caddy.ModuleMap{"esmtp": app.Value}}
		if err := caddy.Validate(cfg); err != nil {
			t.Fatalf("%q is read without an error, and comes to %s: %v", block, app.Value, err)
		}
	})
}

// hasPlaceholder reports whether a text in a config has a brace.
func hasPlaceholder(config []byte) bool {
	var inside bool // within a string
	for i, c := range config {
		switch {
		case c == '"' && config[i-1] != '\\':
			inside = !inside
		case c == '{' && inside:
			return true
		}
	}
	return false
}
