package caddymodule

import "testing"

func TestPermissionsOfAUnixSocket(t *testing.T) {
	for text, want := range map[string]int{
		"unix//run/s":       0o200, // Caddy's default
		"unix//run/s|0660":  0o660,
		"unix//run/s|222":   0o222,
		"unix/@abstract":    0o200,
		"unix//run/s|":      -1,
		"unix//run/s|0440":  -1, // the owner couldn't write
		"unix//run/s|0888":  -1,
		"unix//run/s|u=rw":  -1,
		"unix//run/s|07660": -1,
	} {
		addrs, err := parseAddress(text)
		switch {
		case want < 0 && err == nil:
			t.Errorf("%s: got %o, want an error", text, addrs[0].mode)
		case want >= 0 && (err != nil || int(addrs[0].mode) != want || addrs[0].path() == ""):
			t.Errorf("%s: got %v, %v, want %o", text, addrs, err, want)
		}
	}
}

// An address is the same socket whatever its permissions are, and whether it is in TLS from the start.
func TestWhatIsTheSameSocket(t *testing.T) {
	of := func(text string) address {
		addrs, err := parseAddress(text)
		if err != nil {
			t.Fatal(err)
		}
		return addrs[0]
	}
	for _, same := range [][2]string{{":25", "tls://:25"}, {":25", "tcp/:25"}, {"unix//run/s", "unix//run/s|0660"}, {"unix//run/s", "unix//run/./x/..//s"}, {"fd/3", "tls://fd/3"},
		{"[::1]:25", "[0:0:0:0:0:0:0:1]:25"}, {"[2001:DB8::1]:25", "[2001:db8:0::1]:25"}, {"127.0.0.1:25", "[::ffff:127.0.0.1]:25"},
		{":25", "[::]:25"}, {":25", "0.0.0.0:25"}, {"[::]:25", "0.0.0.0:25"}, {"tcp4/:25", "tcp4/0.0.0.0:25"},
		{"tcp4/127.0.0.1:25", "127.0.0.1:25"}, {"tcp6/[::1]:25", "[::1]:25"}, {"localhost:25", "127.0.0.1:25"}, {"Mx.example:25", "mx.example:25"}} {
		if a, b := addressKey(of(same[0])), addressKey(of(same[1])); a != b || a == "" {
			t.Errorf("%s and %s: got %q and %q", same[0], same[1], a, b)
		}
	}
	other := [][2]string{{":25", ":26"}, {":25", "127.0.0.1:25"}, {"0.0.0.0:25", "[::1]:25"}, {"tcp4/:25", "tcp6/:25"}, {"unix//run/s", "unix//run/t"}, {"unix/@s", "unix//s"},
		{"fd/3", "fd/4"}, {":0", ":0"}}
	for _, pair := range other {
		a, b := of(pair[0]), of(pair[1])
		if key := addressKey(a); key == addressKey(b) && key != "" {
			t.Errorf("%s and %s: both are %q", pair[0], pair[1], key)
		}
		p := make(places)
		if p.take(a, "one"); p.take(b, "two") != "" {
			t.Errorf("%s and %s: can't both be had", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{{":25", "tcp4/:25"}, {"tcp6/[::]:25", "0.0.0.0:25"}, {":25", ":25"}} {
		p := make(places)
		if p.take(of(pair[0]), "one"); p.take(of(pair[1]), "two") != "one" {
			t.Errorf("%s and %s: both can be had", pair[0], pair[1])
		}
	}
}
