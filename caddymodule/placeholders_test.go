package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPlaceholders(t *testing.T) {
	dir := tempDir(t)
	full, empty := filepath.Join(dir, "full"), filepath.Join(dir, "empty")
	for name, text := range map[string]string{full: "{x}\n", empty: "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("ESMTP_TEST_SET", "value")
	t.Setenv("ESMTP_TEST_EMPTY", "")
	const unset = "key: placeholder {env.ESMTP_TEST_EMPTY} is empty: set the environment variable ESMTP_TEST_EMPTY"
	for _, test := range []struct{ text, strict, free string }{
		{"", "", ""},
		{"plain", "plain", "plain"},
		{"a{env.ESMTP_TEST_SET}b{env.ESMTP_TEST_SET}", "avaluebvalue", "avaluebvalue"},
		{"{file." + full + "}", "{x}", "{x}"},
		{"{env.ESMTP_TEST_EMPTY}", unset, unset},
		{"/x/{env.ESMTP_TEST_EMPTY}/{env.ESMTP_TEST_SET}", unset, unset},
		{"{file." + empty + "}", "key: placeholder {file." + empty + "} is empty: there must be a file " + empty + ", with something in it, that Caddy may read", "="},
		{"{file." + dir + "/none}", "key: placeholder {file." + dir + "/none} is empty: there must be a file ", "="},
		{"{evn.X}", `key: there is no placeholder {evn.X}; did you mean {env.*}?; a brace that is meant as such is written \{`, "="},
		{"{http.vars.x}", "key: there is no placeholder {http.vars.x}; there are {env.*}, {file.*}, {system.*}, {time.*}; ", "="},
		{`\{evn.X}`, "{evn.X}", "{evn.X}"},
		// braces of the text's own
		{"pa{ss}word", "key: there is no placeholder {ss}; ", "pa{ss}word"},
		{"{PLAIN}letmein", "key: there is no placeholder {PLAIN}; ", "{PLAIN}letmein"},
		{`{"a":"{env.ESMTP_TEST_SET}"}`, `key: there is no placeholder {"a":"{env.ESMTP_TEST_SET}; `, `{"a":"value"}`},
		{`{"a":"{env.ESMTP_TEST_EMPTY}"}`, `key: there is no placeholder {"a":`, unset},
		{"a{b", "a{b", "a{b"},
		{"a}b", "a}b", "a}b"},
		{strings.Repeat("{", 200), "key: too many unclosed placeholders", "="},
	} {
		if test.free == "=" {
			test.free = test.strict
		}
		check := func(want, got string, err error) {
			t.Helper()
			if err != nil {
				got = err.Error()
			}
			if got != want && (err == nil || !strings.HasPrefix(got, want)) {
				t.Errorf("%q:\n got %s\nwant %s", test.text, got, want)
			}
		}
		got, err := replace("key", test.text)
		check(test.strict, got, err)
		got, err = replaceFree("key", test.text)
		check(test.free, got, err)
	}
}

// A placeholder without a value, or misspelt, is found by "caddy validate" wherever one can stand.
func TestPlaceholdersWithoutAValueAreMistakes(t *testing.T) {
	t.Setenv("ESMTP_TEST_EMPTY", "")
	blocks := map[string]string{
		"queue {\nspool X\n}":                                                 "queue default: spool",
		"queue {\nspool /x/X/y\n}":                                            "queue default: spool",
		"queue {\nnext_hop a@b\nlogin a@b X\n}":                               "queue default: login a@b",
		":2525 {\nwebhook http://c/ {\nsecret X\n}\n}":                        "webhook: secret",
		":2525 {\nwebhook http://c/ {\nheader A \"Bearer X\"\n}\n}":           "webhook: header A",
		":2525 {\nwebhook http://c/?X\n}":                                     "webhook: url",
		":2525 {\nrelay X:25\n}":                                              "relay: to",
		":2525 {\nrelay b {\nauth X c\n}\n}":                                  "relay: auth: user",
		":2525 {\nrelay b {\nauth a X\n}\n}":                                  "relay: auth: password",
		":2525 {\nrelay b {\ntls verified X\n}\n}":                            "relay: tls_ca_file",
		":2525 {\nrecipients X@example.org\n}":                                "recipients",
		":2525 {\nauth {\nhttp http://X/\n}\n}":                               "http: url",
		":2525 {\nauth {\nhttp http://b/ {\nheader A X\n}\n}\n}":              "http: header A",
		":2525 {\nauth {\ndovecot X\n}\n}":                                    "dovecot: socket",
		":2525 {\nauth {\nfile X\n}\n}":                                       "file",
		":2525 {\nauth {\nusers {\nann {PLAIN}X\n}\n}\n}":                     "users: ann",
		":2525 {\nhostname X\n}":                                              "hostname",
		":{env.ESMTP_TEST_EMPTY} {\nhostname mx.internal\n}":                  "listen",
		":2525 {\n@a local_port X\nhandle @a {\nrecipients example.org\n}\n}": "ports",
		":2525 {\n@a sni X\nhandle @a {\nrecipients example.org\n}\n}":        "names",
		":2525 {\n@a remote_ip X\nhandle @a {\nrecipients example.org\n}\n}":  "ranges",
		":2525 {\nmaildir {env.ESMTP_TEST_EMPTY}/{rcpt.local}\n}":             "maildir: path",
		":2525 {\nmaildir {env.ESMTP_TEST_EMPTY}\n}":                          "maildir: path",
	}
	for block, where := range blocks {
		for holder, what := range map[string]string{
			"{env.ESMTP_TEST_EMPTY}": "placeholder {env.ESMTP_TEST_EMPTY} is empty: set the environment variable ESMTP_TEST_EMPTY",
			"{evn.X}":                "there is no placeholder {evn.X}; did you mean {env.*}?",
		} {
			if holder == "{evn.X}" && !strings.Contains(block, "X") {
				continue
			}
			config, err := adapt("{\n" + private + "esmtp {\n" + strings.ReplaceAll(block, "X", holder) + "\n}\n}\n")
			if err != nil {
				t.Errorf("%q: %v", block, err)
				continue
			}
			if err := tryValidate(config); err == nil || !strings.Contains(err.Error(), where+": "+what) {
				t.Errorf("%q:\n got %v\nwant %s: %s", block, err, where, what)
			}
		}
	}
}

func TestAPasswordIsNotEmpty(t *testing.T) {
	for block, want := range map[string]string{
		"queue {\nnext_hop a@b\nlogin a@b \"\"\n}":        "queue default: login a@b: the password is empty",
		":2525 {\nrelay b {\nauth a \"\"\n}\n}":           "relay: auth: the password is empty: leave auth out if the next hop wants none",
		":2525 {\nwebhook http://c/ {\nsecret \"\"\n}\n}": "secret takes one argument",
	} {
		config, err := adapt("{\n" + private + "esmtp {\n" + block + "\n}\n}\n")
		if err == nil {
			err = tryValidate(config)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", block, err, want)
		}
	}
}
