package caddymodule

import (
	"strings"
	"testing"
)

func TestASettingIsGivenOnce(t *testing.T) {
	for block, want := range map[string]string{
		"hostname a\nhostname b":                            "hostname is given already at Caddyfile:4, at Caddyfile:5",
		"max_size 5\nlog\nmax_size 6":                       "max_size is given already at Caddyfile:4, at Caddyfile:6",
		"strict\nstrict":                                    "strict is given already at Caddyfile:4, at Caddyfile:5",
		"tls off\ntls off":                                  "tls is given already at Caddyfile:4, at Caddyfile:5",
		"auth {\nusers {\na b\n}\n}\nauth {\n}":             "auth is given already at Caddyfile:4, at Caddyfile:9",
		"limits {\nerrors 5\nerrors 6\n}":                   "errors is given already at Caddyfile:5, at Caddyfile:6",
		"limits {\nerrors 5\n}\nlimits {\nerrors 6\n}":      "errors is given already at Caddyfile:5, at Caddyfile:8",
		"rates {\nmessages 5\nmessages 6\n}":                "messages is given already at Caddyfile:5, at Caddyfile:6",
		"timeouts {\ndata 5s\ndata 6s\n}":                   "data is given already at Caddyfile:5, at Caddyfile:6",
		"handle {\nstrict\nstrict\n}":                       "strict is given already at Caddyfile:5, at Caddyfile:6",
		"log\n}\ngrace_period 5s\ngrace_period 6s\n:26 {":   "grace_period is given already at Caddyfile:6, at Caddyfile:7",
		"log\n}\nqueue {\nspool /x\nspool /y\n}\n:26 {":     "spool is given already at Caddyfile:7, at Caddyfile:8",
		"log\n}\nqueue {\nretry 1m\nretry 2m\n}\n:26 {":     "retry is given already at Caddyfile:7, at Caddyfile:8",
		"log\n}\nqueue {\nhostname a\nhostname b\n}\n:26 {": "hostname is given already at Caddyfile:7, at Caddyfile:8",
	} {
		if _, err := adapt("{\nesmtp {\n:25 {\n" + block + "\n}\n}\n}\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", block, err, want)
		}
	}
}

// What adds to what is there can be given again, and so can what stands in another block; and the kernel has ports for all that ask for one.
func TestWhatMayBeGivenAgain(t *testing.T) {
	config, err := adapt("{\n" + private + `esmtp {
	127.0.0.1:0 {
		hostname mx.internal
		tls off
		limits {
			errors 5
		}
		limits {
			junk 5
		}
		xclient 192.0.2.1
		xclient 192.0.2.2
		tolerate_params A
		tolerate_params B
		rates {
			connections 5
		}
		@a unix
		handle @a {
			hostname a.internal
			limits {
				errors 6
			}
		}
		handle {
			hostname b.internal
		}
	}
	127.0.0.1:0 {
		hostname mx.internal
		tls off
	}
	queue {
		hostname mx.internal
		next_hop a
		next_hop b
		dns 192.0.2.1
		dns 192.0.2.2
	}
	queue other {
		hostname mx.internal
		spool /x
		next_hop a
	}
}
esmtp {
	127.0.0.1:0 {
		hostname mx.internal
		tls off
	}
}
}
`)
	if err != nil {
		t.Fatal(err)
	}
	validate(t, config)
}

// A teaser stands before a greeting that is held back.
func TestATeaserNeedsAGreetingThatIsHeldBack(t *testing.T) {
	const want = "greeting_teaser is sent while the greeting is held back, and it isn't: set the timeout greeting, such as 5s, too"
	const greeting = "timeouts {\ngreeting 5s\n}\n"
	for block, want := range map[string]string{
		"greeting_teaser x\nlog":                                                 want + ", at Caddyfile:6",
		"handle {\ngreeting_teaser x\n}":                                         "route 0: " + want + ", at Caddyfile:7",
		"greeting_teaser x\n" + greeting:                                         "",
		greeting + "handle {\ngreeting_teaser x\n}":                              "",
		"greeting_teaser x\n" + greeting + "handle {\nstrict\n}":                 "",
		"greeting_teaser x\nhandle {\n" + greeting + "}":                         want,
		greeting + "greeting_teaser x\nhandle {\ntimeouts {\ngreeting off\n}\n}": "",
	} {
		_, err := adapt("{\nesmtp {\n:25 {\n" + block + "\n}\n}\n}\n")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q:\n got %v\nwant %s", block, err, want)
		}
	}
	config := `{"admin":{"disabled":true},"apps":{"esmtp":{"servers":{"a":{"listen":[":2525"],"greeting_teaser":"x"}}}}}`
	if err := tryValidate([]byte(config)); err == nil || !strings.Contains(err.Error(), "esmtp: server a: "+want) {
		t.Errorf("got %v", err)
	}
}
