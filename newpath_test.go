package esmtp

import "testing"

func TestNewPathTakesWhatTheWireTakes(t *testing.T) {
	for _, test := range []struct {
		address, params string
		want            string
		ok              bool
	}{
		{"user@example.org", "", "user@example.org", true},
		{"", "", "", true},
		{"", "BODY=8BITMIME  SIZE=5", "", true},
		{"User@Example.ORG", "NOTIFY=NEVER ORCPT=rfc822;a@b", "User@example.org", true},
		{`"a b"@example.org`, "", `"a b"@example.org`, true},
		{"postmaster", "", "postmaster", true},
		{"пошта@example.org", "SMTPUTF8", "пошта@example.org", true},
		{"a@[192.0.2.1]", "", "a@[192.0.2.1]", true},
		{"a@b>", "", "", false},
		{"a@b> SIZE=1", "", "", false},
		{"<a@b>", "", "", false},
		{"a@b\r\nRCPT TO:<c@d>", "", "", false},
		{"a@b", "SIZE=1\r\nDATA", "", false},
		{"a@b", "SIZE", "a@b", true},
		{"a@b", "=1", "", false},
		{"a@b", "A=\xff", "", false},
		{"a b@c", "", "", false},
	} {
		p, err := NewPath(test.address, test.params)
		if (err == nil) != test.ok || p.String() != test.want {
			t.Errorf("NewPath(%q, %q) = %q, %v; want %q, ok %v", test.address, test.params, p, err, test.want, test.ok)
		}
	}
}

func FuzzNewPath(f *testing.F) {
	f.Add("user@example.org", "SIZE=1")
	f.Add(`"a\"b"@[IPv6:::1]`, "BODY=8BITMIME SMTPUTF8")
	f.Fuzz(func(t *testing.T, address, params string) {
		p, err := NewPath(address, params)
		if err != nil {
			return
		}
		for _, s := range []string{p.String(), p.Raw(), p.Params()} {
			for i := range len(s) {
				if s[i] < ' ' || s[i] == 0x7f {
					t.Fatalf("a control character got through: %q", s)
				}
			}
		}
		again, err := NewPath(p.String(), p.Params())
		if err != nil || again.String() != p.String() || again.Params() != p.Params() {
			t.Fatalf("NewPath(%q, %q) = %q, %v: it is not what it was made of", p, p.Params(), again, err)
		}
	})
}
