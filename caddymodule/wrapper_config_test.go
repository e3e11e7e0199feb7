package caddymodule

import (
	"strings"
	"testing"
)

// sharing is a Caddyfile with a wrapper and an option esmtp.
func sharing(wrapper, option string) string {
	return "{\nservers :80 {\nlistener_wrappers {\nesmtp " + wrapper + "\n}\n}\n" + option + "\n}\nhttp://example.org {\nrespond x\n}\n"
}

func TestMistakesInTheListenerWrapperAreFound(t *testing.T) {
	for wrapper, want := range map[string]string{
		"mail":                   `esmtp takes a block, not "mail", at Caddyfile:4`,
		"{\nserver\n}":           "server takes one argument, at Caddyfile:5",
		"{\nserver a b\n}":       "server takes one argument, at Caddyfile:5",
		"{\nwait soon\n}":        `wait is a duration up to 1m0s, such as 1s or 300ms, not "soon", at Caddyfile:5`,
		"{\nwait 0\n}":           "wait is a duration up to 1m0s",
		"{\nwait 2m\n}":          "wait is a duration up to 1m0s",
		"{\nsever mail\n}":       `esmtp: unrecognized option "sever"; did you mean server?, at Caddyfile:5`,
		"{\nserver mail {\n}\n}": `esmtp: unrecognized option "{"`,
	} {
		if _, err := adapt(sharing(wrapper, "")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", wrapper, err, want)
		}
	}
}

// Which server is meant can only be told when all of the config is there: by "caddy validate".
func TestTheServerOfAListenerWrapperIsFound(t *testing.T) {
	one, two := "esmtp {\nserver mail {\nlog\n}\n}", "esmtp {\nserver mail {\nlog\n}\n:25 {\nlog\n}\n}"
	for _, test := range []struct{ wrapper, option, want string }{
		{"", one, ""},
		{"{\nserver mail\n}", one, ""},
		{"{\nserver :25\n}", two, ""},
		{"{\nserver srv1\n}", two, ""},
		{"", two, "esmtp: there are many mail servers: say which one, with server <name>; there are mail, srv1"},
		{"{\nserver mial\n}", two, `esmtp: there is no mail server "mial"; did you mean mail?`},
		{"{\nserver submission\n}", two, `esmtp: there is no mail server "submission"; there are mail, srv1`},
		{"{\nserver :26\n}", two, `esmtp: there is no mail server ":26"; `},
		{"", "", "esmtp: there is no mail server: the option esmtp is missing"},
		{"", "esmtp {\n}", "esmtp: there is no mail server in the option esmtp"},
	} {
		config, err := adapt(sharing(test.wrapper, test.option))
		if err != nil {
			t.Fatal(err)
		}
		switch err := tryValidate([]byte(strings.Replace(string(config), "{", `{"admin":{"disabled":true},`, 1))); {
		case test.want == "" && err != nil, test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%q, %q:\n got %v\nwant %s", test.wrapper, test.option, err, test.want)
		}
	}
}

func TestAListenerWrapperInJSONIsChecked(t *testing.T) {
	for json, want := range map[string]string{
		`{"esmtp":{"servers":{"a":{"listener_wrappers":[{"wrapper":"esmtp"}]}}}}`:                                                          "the listener wrapper esmtp is for a web server",
		`{"esmtp":{"servers":{"a":{}}},"http":{"servers":{"b":{"listen":[":80"],"listener_wrappers":[{"wrapper":"esmtp","wait":"2m"}]}}}}`: "esmtp: wait is 2m0s: it can be up to 1m0s",
		`{"esmtp":{"servers":{"a":{"listener_wrappers":[{"wrapper":"esmtp"}]}}},"http":{"servers":{"b":{"listen":[":80"],` +
			`"listener_wrappers":[{"wrapper":"esmtp"}]}}}}`: "the listener wrapper esmtp is for a web server",
	} {
		err := tryValidate([]byte(`{"admin":{"disabled":true},"apps":` + json + `}`))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", json, err, want)
		}
	}
}

func TestMistakesInTheNameOfAServerAreFound(t *testing.T) {
	for block, want := range map[string]string{
		"server :25 {\nlog\n}": "server takes a name, such as mail, and then addresses, if it has any, at Caddyfile:3",
		"server\n":             "server takes a name",
		"server mail":          "the server mail has no block, or nothing in it, at Caddyfile:3",
		"server mail {\nlog\n}\nserver mail {\nlog\n}":       "server mail is given already, at Caddyfile:6",
		":25 {\nlog\n}\nserver srv0 {\nlog\n}":               "server srv0 is given already, at Caddyfile:6",
		"server a {\nlog\n}\n}\nesmtp {\nserver a {\nlog\n}": "server a is given already, at Caddyfile:8",
		"sever mail {\nlog\n}":                               `unrecognized esmtp option "sever"; did you mean server?`,
	} {
		if _, err := adapt("{\nesmtp {\n" + block + "\n}\n}\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", block, err, want)
		}
	}
}

// A name that was given is not given again to a server that has none.
func TestNamesOfServersDontCollide(t *testing.T) {
	config, err := adapt("{\nesmtp {\nserver srv1 {\nlog\n}\n:25 {\nlog\n}\n:26 {\nlog\n}\n}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"srv1":{"handlers"`, `"srv2":{`, `"srv3":{`} {
		if !strings.Contains(string(config), want) {
			t.Errorf("got %s, want %s in it", config, want)
		}
	}
}
