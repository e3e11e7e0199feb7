package caddymodule

import (
	"bytes"
	"testing"
)

func TestRecognize(t *testing.T) {
	for first, want := range map[string]protocol{
		"":                                   undecided,
		"G":                                  web,
		"PRI * H":                            web,
		"P":                                  web,
		"H":                                  undecided,
		"HE":                                 undecided,
		"HEL":                                undecided,
		"HELP\r\n":                           mail,
		"HEA":                                web,
		"DELETE / ":                          web,
		"DATA\r\n":                           mail,
		"MOVE / ":                            web,
		"MAIL FROM:":                         mail,
		"Mail From:":                         mail,
		"ehlo x\r\n":                         mail,
		"E":                                  undecided,
		"EXPLODE /":                          web,
		"q":                                  undecided,
		"quit\r\n":                           mail,
		"Q":                                  undecided, // QUERY or QUIT
		"REPORT /":                           web,
		"RCPT TO:<":                          mail,
		"FOO":                                undecided,
		"FOO / HTTP":                         web,
		"FOO\r\n":                            mail,
		"foo ":                               web,
		" GET":                               mail,
		"\r\n":                               mail,
		"\x16":                               web,
		"\x16\x03":                           web,
		"A\x16":                              mail,
		"ÿ":                                  mail,
		"XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX ":  web,
		"XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX ": mail,
	} {
		if got := recognize([]byte(first)); got != want {
			t.Errorf("%q: got %d, want %d", first, got, want)
		}
	}
	for _, verb := range smtpVerbs {
		if got := recognize([]byte(verb + " x")); got != mail {
			t.Errorf("%s: got %d, want mail", verb, got)
		}
	}
	for _, method := range httpMethods {
		if got := recognize([]byte(method + " /")); got != web {
			t.Errorf("%s: got %d, want web", method, got)
		}
	}
}

// What follows the octets that decide changes nothing, nor does how they came: cmux's matcher comes to the same.
func FuzzRecognize(f *testing.F) {
	for _, first := range []string{"GET / HTTP/1.1\r\n", "EHLO x\r\n", "HE", "\x16\x03\x01", "FOO bar", ""} {
		f.Add([]byte(first), uint8(3))
	}
	f.Fuzz(func(t *testing.T, p []byte, cut uint8) {
		n := min(int(cut), len(p))
		first, all := recognize(p[:n]), recognize(p)
		if first != undecided && first != all {
			t.Errorf("%q is %d, but all of %q is %d", p[:n], first, p, all)
		}
		if all == undecided && len(p) > longestWord {
			t.Errorf("%q is undecided", p)
		}
		if got := isWeb(bytes.NewReader(p)); got != (all == web) {
			t.Errorf("%q: the matcher says %t, recognize %d", p, got, all)
		}
	})
}
