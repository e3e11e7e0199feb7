package caddymodule

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
)

// misspelt is a subclass with a method that would never be called.
type misspelt struct{ esmtp.Default }

func (*misspelt) Rctp(*esmtp.Session, esmtp.Path) esmtp.Reply { return esmtp.Reply{} }

// picky is a subclass that checks its configuration.
type picky struct {
	esmtp.Default
	Name string `json:"name"`
}

func (p *picky) Validate() error {
	if p.Name == "" {
		return fmt.Errorf("picky: no name")
	}
	return nil
}

func init() {
	Register[misspelt]("test_misspelt")
	Register[picky]("test_picky")
}

// What stands at line 4 of a Caddyfile is wrong, and the error says so.
func TestMistakesInAServerBlockAreFoundWithTheirLine(t *testing.T) {
	for line, want := range map[string]string{
		"recipents *@example.org":                    `unrecognized directive "recipents"; did you mean recipients?`,
		"Maildir /x":                                 `unrecognized directive "Maildir"; did you mean maildir?`,
		"max-size 50MiB":                             `unrecognized directive "max-size"; did you mean max_size?`,
		"xyzzy":                                      `unrecognized directive "xyzzy"; there are allow_no_helo, auth, bad_header, `,
		"hostname":                                   "hostname takes one argument",
		"hostname a b":                               "hostname takes one argument",
		"hostname a_b..c":                            `esmtp: hostname "a_b..c" is neither a domain name nor an address literal`,
		"max_size":                                   "max_size takes one argument",
		"max_size huge":                              `max_size is a size in octets, such as 1000, 64KiB or 50MiB, or off, not "huge"`,
		"max_size 0":                                 "max_size is a size",
		"max_size -1":                                "max_size is a size",
		"max_size 1.5MB":                             "max_size is a size",
		"max_size 9999999TiB":                        "max_size is a size",
		"max_size 1000 {":                            "the setting before takes no block",
		"limits 5":                                   `limits takes a block, not "5"`,
		"limits {\n recipient 5\n}":                  `unrecognized limit "recipient"; did you mean recipients?`,
		"limits {\n ipv4_prefix 33\n}":               "limits: ipv4_prefix is 33: it can be 1 to 32",
		"limits {\n ipv6_prefix off\n}":              "limits: ipv6_prefix is -1: it can be 1 to 128",
		"rates {\n message 5\n}":                     `unrecognized rate "message"; did you mean messages?`,
		"rates 5":                                    `rates takes a block, not "5"`,
		"rates {\n messages 5m\n}":                   `messages is a number above 0, or off, not "5m"`,
		"xclient":                                    "xclient takes the networks that are trusted, such as 192.0.2.0/24",
		"xclient 192.0.2.1/24":                       `xclient: "192.0.2.1/24" is no network, such as 192.0.2.0/24`,
		"xforward localhost":                         `xforward: "localhost" is no address and no network, such as 192.0.2.0/24`,
		"tolerate_params":                            "tolerate_params takes at least one argument",
		"forbid_early yes":                           "forbid_early takes no argument",
		"greeting_teaser":                            "greeting_teaser takes one argument",
		"timeouts {\n greetin 5s\n}":                 `unrecognized timeout "greetin"; did you mean greeting?`,
		"limits {\n max_size 5\n}":                   `unrecognized limit "max_size"; there are auth_failures, command_line, `,
		"limits {\n errors 5KiB\n}":                  `errors is a number above 0, or off, not "5KiB"`,
		"limits {\n errors 0\n}":                     "errors is a number above 0",
		"limits {\n command_line 500\n}":             "limits: command_line is 500: it can be 512 to 32768",
		"limits {\n command_line off\n}":             "limits: command_line is -1: it can be 512 to 32768",
		"timeouts {\n comand 5m\n}":                  `unrecognized timeout "comand"; did you mean command?`,
		"timeouts {\n command 5\n}":                  `command is a duration, such as 30s, 5m or 1h, or off, not "5"`,
		"timeouts {\n command -5m\n}":                "command is a duration",
		"bare_newlines fixed":                        `bare_newlines is one of fix, pass, reject, strip, not "fixed"`,
		"bad_header blank":                           `bad_header is one of insert_blank, keep, reject, not "blank"`,
		"tls on":                                     `tls takes off, internal or a block, not "on"`,
		"tls internal off":                           `tls takes off, internal or a block: what is "off"?`,
		"tls off\ntls off":                           "tls is given already",
		"tls off {\n required\n}":                    "tls off takes no block",
		"tls {\n require\n}":                         `tls: unrecognized option "require"; did you mean required?`,
		"tls {\n required yes\n}":                    "required takes no argument",
		"auth x":                                     `auth takes a block, not "x"`,
		"auth {\n user\n}":                           `auth: unrecognized option "user"; did you mean users?`,
		"auth {\n require\n}":                        `auth: unrecognized option "require"; did you mean required?`,
		"auth {\n mechanisms\n}":                     "mechanisms takes names, such as PLAIN",
		"auth {\n mechanisms SCRAM-SHA256\n}":        `auth: unrecognized mechanism "SCRAM-SHA256"; did you mean SCRAM-SHA-256?`,
		"auth {\n file\n}":                           "file takes a path",
		"auth {\n http ftp://x\n}":                   `auth: "ftp://x" is no URL with http or https`,
		"auth {\n dovecot\n}":                        "dovecot takes the path of a socket",
		"senders":                                    "senders takes addresses, such as {user}@example.org",
		"senders x@":                                 `senders: address pattern "x@": domain: empty`,
		"senders {\n ann\n}":                         "senders: ann: want a user and the addresses that are his, such as ann@example.org",
		"lmtp":                                       "lmtp: address :25 has port 25, which is for SMTP (RFC 2033 §5)",
		"relay":                                      "relay takes next hops, such as 127.0.0.1:2525",
		"relay ftp://x":                              `relay: route: bad next hop "ftp://x": the scheme is none of smtp, `,
		"relay user:pass@x.example":                  `relay: route: bad next hop "…@x.example": a password must not stand in an address`,
		"relay user@x.example":                       `relay: "user@x.example" has a user: write it beside the password, in auth`,
		"relay x.example {\n tsl required\n}":        `relay: unrecognized option "tsl"; did you mean tls?`,
		"relay x.example {\n tls\n}":                 "relay: tls takes one of none, opportunistic, required, verified",
		"relay x.example {\n tls maybe\n}":           `relay: tls is one of none, opportunistic, required, verified, not "maybe"`,
		"relay x.example {\n tls required ca.pem\n}": "relay: a CA file has no meaning but with tls verified",
		"relay x.example {\n auth user\n}":           "relay: auth takes a user and a password",
		"relay x.example {\n forward\n}":             "relay: forward takes one of proxy, xclient, xforward",
		"relay x.example {\n forward all\n}":         `relay: forward is one of proxy, xclient, xforward, not "all"`,
		"relay x.example {\n timeouts 5s\n}":         `relay: timeouts takes a block, not "5s"`,
		"lmtp smtp://x.example":                      `lmtp: "smtp://x.example" doesn't speak LMTP: use relay`,
		"lmtp x.example {\n lmtp\n}":                 `lmtp: unrecognized option "lmtp"; there are auth, forward, timeouts, tls`,
		"listener_wrappers x":                        `listener_wrappers takes a block, not "x"`,
		"listener_wrappers {\n tls\n}":               "listener_wrappers: all wrappers come before TLS here: leave tls out",
		"listener_wrappers {\n proxy\n}":             `listener_wrappers: unrecognized wrapper "proxy"; there are `,
		"strict on":                                  "strict takes no argument",
		"recipients":                                 "recipients takes addresses, such as *@example.org",
		"recipients @example.org":                    `recipients: address pattern "@example.org": the local part is a name or *`,
		"recipients {\n x@y *@*\n}":                  `recipients: address pattern "*@*"`,
		"maildir":                                    "maildir takes a path",
		"maildir a b":                                "maildir takes a path",
		"maildir /x/{rcpt.user}":                     `maildir: path "/x/{rcpt.user}": the placeholders are {rcpt.local} and {rcpt.domain}`,
		"maildir /x {\n filemode 5\n}":               `maildir: unrecognized option "filemode"; did you mean file_mode?`,
		"maildir /x {\n file_mode 0999\n}":           `maildir: file_mode is a number in octal, such as 0640, not "0999"`,
		"maildir /x {\n file_mode\n}":                "maildir: file_mode takes one argument",
		"respond":                                    "respond takes a verb, a reply code, and a text",
		"respond RCPT no":                            `respond: "no" is no reply code`,
		"respond RCPT 250 4.0.0 x":                   "respond: the enhanced status code 4.0.0 does not go with 250",
		"respond HEADER 550":                         `respond: "HEADER" is not one of CONNECT, HELO, `,
		"respond RCPT 550 {\n form x\n}":             `respond: unrecognized option "form"; did you mean from?`,
		"respond RCPT 550 {\n close now\n}":          "respond: wrong number of arguments for close",
		"log warn":                                   `log: level is one of debug, info, not "warn"`,
		"log info debug":                             "log takes a level, and nothing else",
		"test_picky x":                               `test_picky takes a block of fields, not "x"`,
		"test_picky {\n Name x\n}":                   `test_picky: unrecognized field "Name"; did you mean name?`,
		"test_picky {\n name\n}":                     "test_picky: name: takes one value",
	} {
		number := 4
		if strings.Contains(line, "\n") {
			number = 5
		}
		_, err := adapt("{\nesmtp {\n:25 {\n" + line + "\n}\n}\n}\n")
		if err == nil {
			t.Errorf("%q: no error", line)
			continue
		}
		if text := err.Error(); !strings.Contains(text, want) || !strings.Contains(text, fmt.Sprintf(", at Caddyfile:%d", number)) {
			t.Errorf("%q:\n got %s\nwant %s, at Caddyfile:%d", line, text, want, number)
		}
	}
}

func TestMistakesInTheOptionAreFoundWithTheirLine(t *testing.T) {
	for block, want := range map[string]string{
		"grace_perod 5s":                `unrecognized esmtp option "grace_perod"; did you mean grace_period?; a server is an address, such as :25, and a block, at Caddyfile:3`,
		"grace_period soon":             `grace_period is a duration, such as 30s, 5m or 1h, or off, not "soon", at Caddyfile:3`,
		"exit_timeout off":              "exit_timeout can't be off: Caddy could never exit, at Caddyfile:3",
		":25":                           "the server :25 has no block, or nothing in it, at Caddyfile:3",
		":25 {\n}":                      "the server :25 has no block, or nothing in it, at Caddyfile:3",
		"bad:addr:1 {\nlog\n}":          `address "bad:addr:1": "bad:addr:1" is neither an IP address nor a host name, at Caddyfile:3`,
		"udp/:25 {\nlog\n}":             `address "udp/:25": mail needs a stream, such as tcp or unix, not udp, at Caddyfile:3`,
		"unix/ {\nlog\n}":               `address "unix/": there is nothing behind the slash, at Caddyfile:3`,
		"unix//x|9 {\nlog\n}":           `address "unix//x|9": `,
		":smtp {\nlog\n}":               `address ":smtp": invalid start port: `,
		":25 {\nauth {\nrequired\n}\n}": "auth needs one that knows who may log in; there are dovecot, file, http, users, at Caddyfile:6",
		":25 {\ntls\nlog\n}":            "tls needs a hostname: that is the name on the certificate, at Caddyfile:6",
		"tls://:2525 {\nlog\n}":         "tls needs a hostname",
		"tls://:2525 {\nhostname mx.example.org\ntls off\n}": "tls is off, but an address begins with tls://, at Caddyfile:6",
		"tls://:2525 :2525 {\nlog\n}":                        "address :2525 is given already at Caddyfile:3",
		":25 :25 {\nlog\n}":                                  "address :25 is given already at Caddyfile:3, at Caddyfile:3",
		":25 {\nlog\n}\n:24-26 {\nlog\n}":                    "address :25 is given already at Caddyfile:3, at Caddyfile:6",
		"unix//x {\nlog\n}\nunix//x|0660 {\nlog\n}":          "is given already at Caddyfile:3, at Caddyfile:6",
		":25 {\nlog\n}\n}\nesmtp {\n:25 {\nlog\n}":           "address :25 is given already at server srv0 of an earlier esmtp block, at Caddyfile:8",
	} {
		_, err := adapt("{\nesmtp {\n" + block + "\n}\n}\n")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", block, err, want)
		}
	}
	if _, err := adapt("{\nesmtp :25 {\nlog\n}\n}\n"); err == nil || !strings.Contains(err.Error(), `esmtp takes a block, not ":25", at Caddyfile:2`) {
		t.Errorf("got %v", err)
	}
}

// A mistake in what is imported is found where it stands, and where it was imported.
func TestMistakesInAnImportAreFound(t *testing.T) {
	_, err := adapt("(policy) {\nlog\nbogus\n}\n{\nesmtp {\n:25 {\nimport policy\n}\n}\n}\n")
	if want := "at Caddyfile:3 import chain ['Caddyfile:8 (import policy)']"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// What only JSON can get wrong is found when the config is provisioned, that is by "caddy validate" too.
func TestMistakesInJSONAreFoundByValidate(t *testing.T) {
	for server, want := range map[string]string{
		`[]`:                                               "cannot unmarshal array",
		`null`:                                             "esmtp: server a: there is nothing in it",
		`{"listen":[":25"],"lisen":1}`:                     `unknown field "lisen"`,
		`{"listen":["bad:addr:1"]}`:                        `esmtp: server a: address "bad:addr:1"`,
		`{"listen":[":26"]}`:                               "esmtp: server b: address :26 is that of server a too",
		`{"listen":["{env.NO_SUCH}"]}`:                     "esmtp: server a: listen: ",
		`{"listen":[":25"],"hostname":"a..b"}`:             `esmtp: hostname "a..b" is neither`,
		`{"listen":[":25"],"bad_header":"x"}`:              `esmtp: server a: bad_header "x" is none of insert_blank, keep, reject`,
		`{"listen":[":25"],"bare_newlines":1}`:             "cannot unmarshal number",
		`{"listen":[":25"],"limits":{"errors":-2}}`:        "limits: errors is -2",
		`{"listen":[":25"],"limits":{"message_bytes":-2}}`: "limits: message_bytes is -2",
		`{"listen":[":25"],"timeouts":{"command":-2}}`:     "timeouts: command is -2ns",
		`{"listen":[":25"],"tls":{}}`:                      "esmtp: server a: tls needs a hostname",
		`{"listen":["tls://:25"],"hostname":"a.example","tls":{"off":true}}`:                                          "esmtp: server a: tls is off, but an address begins with tls://",
		`{"listen":[":25"],"hostname":"mx.internal","tls":{"connection_policies":[null]}}`:                            "tls: connection policy 0: there is nothing in it",
		`{"listen":[":25"],"hostname":"mx.internal","tls":{"connection_policies":[{"protocol_min":"x"}]}}`:            "unsupported protocol_min: x",
		`{"listen":[":24-26"],"lmtp":true}`:                                                                           "esmtp: server a: lmtp: address :25 has port 25",
		`{"listen":[":25"],"listener_wrappers":[{}]}`:                                                                 "module name not specified with key 'wrapper'",
		`{"listen":[":25"],"auth":{}}`:                                                                                "esmtp: server a: auth: there is no provider",
		`{"listen":[":25"],"auth":{"provider":{"provider":"users"}}}`:                                                 "users: there are none",
		`{"listen":[":25"],"auth":{"provider":{"provider":"users","users":[{"name":"ann","secret":"letmein"}]}}}`:     `auth: user "ann": the secret is of no kind`,
		`{"listen":[":25"],"auth":{"provider":{"provider":"users","users":[{"name":"ann","secret":"$2letmein"}]}}}`:   `auth: user "ann": that is no hash of bcrypt`,
		`{"listen":[":25"],"auth":{"provider":{"provider":"users","users":[{"name":"ann","secret":"$argon2id$x"}]}}}`: `auth: user "ann": that is no hash of argon2id`,
		`{"listen":[":25"],"auth":{"provider":{"provider":"file","path":"testdata/none"}}}`:                           "auth: open testdata/none: no such file or directory",
		`{"listen":[":25"],"auth":{"provider":{"provider":"http","url":"x"}}}`:                                        `auth: "x" is no URL`,
		`{"listen":[":25"],"auth":{"provider":{"provider":"dovecot","socket":"/x","timeout":-1}}}`:                    "dovecot: timeout is -1ns: it can be up to 8784h0m0s; leave it out",
		`{"listen":[":25"],"auth":{"provider":{"provider":"http","url":"http://x","timeout":-1}}}`:                    "http: timeout is -1ns: it can be up to 8784h0m0s; leave it out",
		`{"listen":[":25"],"auth":{"provider":{"provider":"dovecot"}}}`:                                               "dovecot: the path of the socket is empty",
		`{"listen":[":25"],"auth":{"mechanisms":["X"],"provider":{"provider":"dovecot","socket":"x"}}}`:               `auth: unrecognized mechanism "X"`,
		`{"listen":[":25"],"handlers":[{"handler":"senders"}]}`:                                                       "senders: no addresses",
		`{"listen":[":25"],"handlers":[{}]}`:                                                                          "module name not specified with key 'handler'",
		`{"listen":[":25"],"handlers":[{"handler":"nosuch"}]}`:                                                        "unknown module: esmtp.handlers.nosuch",
		`{"listen":[":25"],"handlers":[{"handler":"maildir","path":""}]}`:                                             "maildir: the path is empty",
		`{"listen":[":25"],"handlers":[{"handler":"maildir","path":"x","dir_mode":"x"}]}`:                             "maildir: dir_mode is a number in octal",
		`{"listen":[":25"],"handlers":[{"handler":"log","level":"x"}]}`:                                               `log: level "x" is none of debug, info`,
		`{"listen":[":25"],"handlers":[{"handler":"recipients"}]}`:                                                    "recipients: no addresses",
		`{"listen":[":25"],"handlers":[{"handler":"respond","verb":"RCPT"}]}`:                                         "respond: 0 is no reply code for RCPT",
		`{"listen":[":25"],"handlers":[{"handler":"respond","enhanced":"5.7"}]}`:                                      "respond: enhanced is a code such as 5.7.1",
		`{"listen":[":25"],"handlers":[{"handler":"test_picky"}]}`:                                                    "picky: no name",
		`{"listen":[":25"],"handlers":[{"handler":"test_picky","nam":"x"}]}`:                                          `test_picky: json: unknown field "nam"`,
		`{"listen":[":25"],"handlers":[{"handler":"test_misspelt"}]}`:                                                 "has a method Rctp, which is never called: did you mean RCPT?",
	} {
		config := `{"admin":{"disabled":true},"apps":{"esmtp":{"servers":{"a":` + server + `,"b":{"listen":[":26"]}}}}}`
		if err := tryValidate([]byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", server, err, want)
		}
	}
	config := `{"admin":{"disabled":true},"apps":{"esmtp":{"exit_timeout":-1}}}`
	if err := tryValidate([]byte(config)); err == nil || !strings.Contains(err.Error(), "exit_timeout is negative") {
		t.Errorf("got %v", err)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1000": 1000, "1B": 1, "64KiB": 65536, "64kib": 65536, "50MiB": 52428800, "1GB": 1000000000, "8TiB": 8 << 40,
		"": -1, "MiB": -1, "5X": -1, "5 MiB": -1, "-5": -1, "1.5MiB": -1, "5MiBB": -1, "9223372036854775807KiB": -1,
	} {
		n, ok := parseSize(text)
		if !ok {
			n = -1
		}
		if n != want {
			t.Errorf("%q: got %d, want %d", text, n, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"", "ab", 2}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"recipents", "recipients", 1}, {"abcd", "xbcy", 2}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("%q, %q: got %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
