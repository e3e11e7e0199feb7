package caddymodule

import (
	"strings"
	"testing"
)

// What is wrong with routes is told with its line, and with what to write instead.
func TestMistakesInRoutesAreFoundWithTheirLine(t *testing.T) {
	const maildir = "maildir /x\n"
	for block, want := range map[string]string{
		"handle @partner {\n" + maildir + "}\n@partners remote_ip ::1": "@partner is not defined; did you mean @partners?, at Caddyfile:4",
		"handle @xyz {\n" + maildir + "}\n@partners remote_ip ::1":     "@xyz is not defined; there are @partners, at Caddyfile:4",
		"handle @x {\n" + maildir + "}":                                "@x is not defined: write a line such as @x remote_ip 192.0.2.0/24 above, at Caddyfile:4",
		"handle partners {\n" + maildir + "}":                          `handle takes the name of a matcher, such as @partners, not "partners", at Caddyfile:4`,
		"@a unix\n@b unix\nhandle @a @b {\n" + maildir + "}":           `handle takes one matcher and a block: what is "@b"?, at Caddyfile:6`,
		"handle":      "handle has no block, or nothing in it, at Caddyfile:4",
		"handle {\n}": "handle has no block, or nothing in it, at Caddyfile:5",
		"handle {\n" + maildir + "}\nhandle {\n" + maildir + "}":             "this handle is never reached: that at Caddyfile:4 has no matcher, and so takes all that is left, at Caddyfile:7",
		"@a unix\nhandle {\n" + maildir + "}\nhandle @a {\n" + maildir + "}": "this handle is never reached: that at Caddyfile:5 has no matcher, and so takes all that is left, at Caddyfile:8",
		"@a unix\nhandle @a {\nlog\n}\nhandle @a {\nlog\n}":                  "this handle is never reached: that at Caddyfile:5 takes all sessions of @a, at Caddyfile:8",
		"handle {\nhandle {\nlog\n}\n}":                                      "a handle can't be in another: give it a matcher that says all that must hold, at Caddyfile:5",
		"handle {\n@a unix\n}":                                               "@a is to be defined outside of handle, at Caddyfile:5",
		"handle {\nlistener_wrappers {\nproxy_protocol\n}\n}":                "listener_wrappers belongs to the addresses, and so to the server: write it outside of handle, at Caddyfile:5",
		"handle {\nlmtp\n}":                                                  "lmtp belongs to the addresses, and so to the server: write it outside of handle, at Caddyfile:5",
		"handle {\nlimits {\nconnections 5\n}\n}":                            "the limit connections counts before the route is known: write it above handle, at Caddyfile:6",
		"handle {\nlimits {\nipv6_prefix 48\n}\n}":                           "the limit ipv6_prefix counts before the route is known: write it above handle, at Caddyfile:6",
		"handle {\nrates {\nhandshakes 5\n}\n}":                              "the rate handshakes counts before the route is known: write it above handle, at Caddyfile:6",
		"handle {\nmaxsize 5\n}":                                             `unrecognized directive "maxsize"; did you mean max_size?, at Caddyfile:5`,
		"handle {\nmax_size 5 {\n}\n}":                                       "the setting before takes no block",
		"handel {\nlog\n}":                                                   `unrecognized directive "handel"; did you mean handle?, at Caddyfile:4`,
		"handle {\nlog\n}\nlog":                                              "log stands below handle: write it above, for all sessions, or in a handle without a matcher, for the rest, at Caddyfile:7",
		"handle {\ntls {\nrequired\n}\n}":                                    "route 0: tls needs a hostname: that is the name on the certificate, at Caddyfile:9",
		"@a":                                                                 "@a takes a matcher, such as remote_ip 192.0.2.0/24, or a block of them, at Caddyfile:4",
		"@a {\n}":                                                            "@a takes a matcher, such as remote_ip 192.0.2.0/24, or a block of them, at Caddyfile:4",
		"@ unix":                                                             "a matcher needs a name, such as @partners, at Caddyfile:4",
		"@a unix\n@a tls":                                                    "@a is defined already at Caddyfile:4, at Caddyfile:5",
		"@a remote-ip ::1":                                                   `unrecognized matcher "remote-ip"; did you mean remote_ip?, at Caddyfile:4`,
		"@a {\nremote_ip ::1\nxyzzy\n}":                                      `unrecognized matcher "xyzzy"; there are local_ip, local_port, not, remote_ip, sni, `,
		"@a remote_ip":                                                       "remote_ip takes networks, such as 192.0.2.0/24, or private_ranges, at Caddyfile:4",
		"@a remote_ip private_range":                                         `remote_ip: "private_range" is no address and no network, such as 192.0.2.0/24, at Caddyfile:4`,
		"@a remote_ip 192.0.2.1/24":                                          `remote_ip: "192.0.2.1/24" is no network: did you mean 192.0.2.0/24 or 192.0.2.1?, at Caddyfile:4`,
		"@a {\nremote_ip ::1\nlocal_ip 192.0.2.1%eth0\n}":                    `local_ip: "192.0.2.1%eth0" is no address and no network, such as 192.0.2.0/24, at Caddyfile:6`,
		"@a {\nremote_ip ::1\nremote_ip x\n}":                                `remote_ip: "x" is no address and no network, such as 192.0.2.0/24, at Caddyfile:6`,
		"@a {\nremote_ip {\n::1\n}\n}":                                       "remote_ip takes networks, such as 192.0.2.0/24, or private_ranges",
		"@a remote_ip ::1 {\nunix\n}":                                        "remote_ip takes no block",
		"@a local_port smtp":                                                 `local_port: "smtp" is no port and no range of ports, such as 25 or 2525-2530, at Caddyfile:4`,
		"@a local_port 30-25":                                                `local_port: "30-25" is no port and no range of ports`,
		"@a sni a_b..c":                                                      `sni: "a_b..c" is no host name, such as mail.example.org or *.example.org, at Caddyfile:4`,
		"@a sni mail.*.org":                                                  `sni: "mail.*.org" is no host name`,
		"@a sni 192.0.2.1":                                                   `sni: "192.0.2.1" is no host name`,
		"@a tls off":                                                         `tls takes client_certificate or nothing, not "off", at Caddyfile:4`,
		"@a tls {\nrequired\n}":                                              "tls takes no block as a matcher",
		"@a unix x":                                                          "unix takes no argument, at Caddyfile:4",
		"@a not":                                                             "not takes a matcher, such as remote_ip 192.0.2.0/24, or a block of them, at Caddyfile:4",
		"@a not unx":                                                         `unrecognized matcher "unx"; did you mean unix?, at Caddyfile:4`,
	} {
		_, err := adapt("{\nesmtp {\n:25 {\n" + block + "\n}\n}\n}\n")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), ", at Caddyfile:") {
			t.Errorf("%q:\n got %v\nwant %s", block, err, want)
		}
	}
}

func TestMistakesInRoutesInJSONAreFoundByValidate(t *testing.T) {
	for routes, want := range map[string]string{
		`null,{}`:                                                "esmtp: server a: route 0: there is nothing in it",
		`{"name":"x"},{"match":[{"unix":{}}]}`:                   "esmtp: server a: route x: it matches all sessions, and so the routes behind it are never taken",
		`{"match":[{"unix":{}},{}]},{}`:                          "esmtp: server a: route 0: it matches all sessions",
		`{"match":[{"unx":{}}]}`:                                 "unknown module: esmtp.matchers.unx",
		`{"match":[{"unix":{"x":1}}]}`:                           `unknown field "x"`,
		`{"match":[{"remote_ip":{}}]}`:                           "there are no networks to match",
		`{"match":[{"remote_ip":{"ranges":["x"]}}]}`:             `"x" is no address and no network`,
		`{"match":[{"remote_ip":{"ranges":["{env.NO_SUCH}"]}}]}`: "{env.NO_SUCH}",
		`{"match":[{"local_port":{}}]}`:                          "there are no ports to match",
		`{"match":[{"sni":{"names":[]}}]}`:                       "there are no names to match",
		`{"match":[{"not":[]}]}`:                                 "not: there are no matchers",
		`{"match":[{"not":[{"unx":{}}]}]}`:                       "unknown module: esmtp.matchers.unx",
		`{"limits":{"connections":5}}`:                           "esmtp: server a: route 0: the limit connections counts before the route is known: only the server can have it",
		`{"rates":{"connections":-1}}`:                           "esmtp: server a: route 0: the rate connections counts before the route is known",
		`{"limits":{"errors":-2}}`:                               "esmtp: server a: route 0: limits: errors is -2",
		`{"bad_header":"x"}`:                                     `esmtp: server a: route 0: bad_header "x" is none of`,
		`{"hostname":"a..b"}`:                                    `esmtp: server a: route 0: esmtp: hostname "a..b" is neither`,
		`{"xclient":["x"]}`:                                      `esmtp: server a: route 0: xclient: "x" is no address`,
		`{"auth":{}}`:                                            "esmtp: server a: route 0: auth: there is no provider",
		`{"tls":{}}`:                                             "esmtp: server a: route 0: tls needs a hostname",
		`{"lmtp":true}`:                                          `unknown field "lmtp"`,
		`{"listen":[":26"]}`:                                     `unknown field "listen"`,
		`{"handlers":[{"handler":"test_misspelt"}]}`:             "has a method Rctp, which is never called: did you mean RCPT?",
		`{"handlers":[{"handler":"nosuch"}]}`:                    "unknown module: esmtp.handlers.nosuch",
	} {
		config := `{"admin":{"disabled":true},"apps":{"esmtp":{"servers":{"a":{"listen":[":25"],"routes":[` + routes + `]}}}}}`
		if err := tryValidate([]byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", routes, err, want)
		}
	}
	config := `{"admin":{"disabled":true},"apps":{"esmtp":{"servers":{"a":{"listen":[":25"],"handlers":[{"handler":"test_counter"}],` +
		`"routes":[{"handlers":[{"handler":"log"}]}]}}}}}`
	if err := tryValidate([]byte(config)); err == nil || !strings.Contains(err.Error(), "route 0: its handlers are never asked") {
		t.Errorf("got %v", err)
	}
}
