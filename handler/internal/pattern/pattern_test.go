package pattern

import "testing"

func TestParse(t *testing.T) {
	for _, test := range []struct{ pattern, want string }{
		{"User@Example.ORG", "user@example.org"},
		{"*@example.org", "*@example.org"},
		{"example.org", "*@example.org"},
		{"*@*.example.org", "*@*.example.org"},
		{"*.example.org", "*@*.example.org"},
		{"user@*.example.org", "user@*.example.org"},
		{"*@exämple.org", "*@xn--exmple-cua.org"},
		{"*@EXÄMPLE.org", "*@xn--exmple-cua.org"},
		{"[192.0.2.1]", "*@[192.0.2.1]"},
		{"user@[IPv6:2001:DB8::1]", "user@[ipv6:2001:db8::1]"},
		{`"a@b"@example.org`, "a@b@example.org"},
		{"a%b!c@example.org", "a%b!c@example.org"},
		{"localhost", "*@localhost"},
		{"<>", "<>"},
	} {
		if p, err := Parse(test.pattern); err != nil || p.String() != test.want {
			t.Errorf("%s: got %v, %v; want %s", test.pattern, p, err, test.want)
		}
	}
	for _, pattern := range []string{"", "@", "user@", "@example.org", "us*r@example.org", "*", "*@*", "user@*", "ex*mple.org", "a.*.org",
		"[192.0.2]", "[192.0.2.1", "*.[192.0.2.1]", "[x:y]", "exa mple.org", "exa_mple..org", "a..b", "example.org.", "exa$mple.org", "ä b.org", "a\nb@example.org"} {
		if p, err := Parse(pattern); err == nil {
			t.Errorf("%q: got %v, want an error", pattern, p)
		}
	}
}

// FuzzParse: a pattern that was read reads the same again from its canonical form.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"user@example.org", "*@*.exämple.org", "[IPv6:::1]", "<>", `"a b"@x`, "İ@x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Parse(s)
		if err != nil {
			return
		}
		if again, err := Parse(p.String()); err != nil || again != p {
			t.Fatalf("%q: %v is read as %v, %v", s, p, again, err)
		}
	})
}
