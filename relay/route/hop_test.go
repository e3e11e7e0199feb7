package route

import (
	"errors"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
)

func TestParseHop(t *testing.T) {
	for text, want := range map[string]Hop{
		"mx.example.org":             {Host: "mx.example.org", Port: 25},
		"MX.Example.org.:587":        {Host: "mx.example.org", Port: 587},
		"smtp://mx.example.org":      {Host: "mx.example.org", Port: 25},
		"192.0.2.1":                  {Host: "192.0.2.1", Port: 25},
		"192.0.2.1:26":               {Host: "192.0.2.1", Port: 26},
		"[192.0.2.1]:25":             {Host: "192.0.2.1", Port: 25},
		"2001:db8::1":                {Host: "2001:db8::1", Port: 25},
		"[2001:db8::1]":              {Host: "2001:db8::1", Port: 25},
		"[2001:db8::1]:587":          {Host: "2001:db8::1", Port: 587},
		"unix//run/lmtp.sock":        {Protocol: LMTP, Path: "/run/lmtp.sock"},
		"lmtp+unix:///run/lmtp.sock": {Protocol: LMTP, Path: "/run/lmtp.sock"},
		"smtp+unix:///run/x":         {Path: "/run/x"},
		"lmtp://host":                {Protocol: LMTP, Host: "host", Port: 24},
		"LMTP://host:2424":           {Protocol: LMTP, Host: "host", Port: 2424},
		"smtps://host":               {Protocol: SMTPS, Host: "host", Port: 465},
		"smtps://me@host:465":        {Protocol: SMTPS, Host: "host", Port: 465, User: "me"},
		"me@example.org@host:587":    {Host: "host", Port: 587, User: "me@example.org"},
		"mx://example.org":           {MX: true, Host: "example.org", Port: 25},
		"bücher.example":             {Host: "xn--bcher-kva.example", Port: 25},
		"mail_host.internal":         {Host: "mail_host.internal", Port: 25},
	} {
		got, err := ParseHop(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v %v", text, got, err)
			continue
		}
		if again, err := ParseHop(got.String()); err != nil || again != got {
			t.Errorf("%q is %q is %+v %v", text, got, again, err)
		}
	}
}

func TestBadHops(t *testing.T) {
	for _, text := range []string{
		"", " ", "a b", "host:", "host:0", "host:65536", "host:+25", "host:x", "http://host", "://host", "smtp://", "smtp:///x", "[192.0.2.1", "192.0.2.1]", "[host]",
		"[]:25", "[2001:db8::1]25", "unix/", "unix/run/x", "unix//a\x00b", "lmtp+unix://run", "@host", "me:secret@host", "me @host", "mx://192.0.2.1", "mx://me@example.org", "1.2.3", "host\r\n", "ho/st",
		"mx.example.org,other", "..", "-..-", strings.Repeat("x", 64), "fe80::1%a b",
	} {
		if h, err := ParseHop(text); !errors.Is(err, ErrHop) {
			t.Errorf("%q: %+v %v", text, h, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("a password in an error: %v", err)
		}
	}
}

func TestTheMostSpecialRuleCounts(t *testing.T) {
	rules := []Rule{
		{Domain: "example.org", TLS: tlspolicy.Required},
		{Domain: ".example.org", TLS: tlspolicy.Verified},
		{Domain: "*.deep.example.org", Hops: []Hop{{Host: "deep", Port: 25}}},
		{Domain: "Bücher.example"},
		{Domain: "[192.0.2.1]"},
		{Domain: "*", TLS: tlspolicy.None},
	}
	table, err := NewTable(rules)
	if err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string]string{
		"example.org": "example.org", "a.example.org": ".example.org", "a.b.example.org": ".example.org", "deep.example.org": ".example.org",
		"x.deep.example.org": "*.deep.example.org", "badexample.org": "*", "org": "*", "": "*", "xn--bcher-kva.example": "Bücher.example",
		"[192.0.2.1]": "[192.0.2.1]", "[192.0.2.2]": "*", "[x.example.org]": "*",
	} {
		if r, ok := table.Find(domain); !ok || r.Domain != want {
			t.Errorf("%q: %+v %v", domain, r, ok)
		}
	}
	none, err := NewTable(rules[:1])
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := none.Find("other.example"); ok {
		t.Error(r)
	}
	if r, ok := (*Table)(nil).Find("other.example"); ok {
		t.Error(r)
	}
	for _, bad := range [][]Rule{{{Domain: ""}}, {{Domain: "**"}}, {{Domain: "*x.example"}}, {{Domain: "a b"}}, {{Domain: "[x]"}}, {{Domain: "a.example"}, {Domain: "A.example."}}, {{Domain: "*.a"}, {Domain: ".a"}}} {
		if _, err := NewTable(bad); !errors.Is(err, ErrRule) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// FuzzParseHop checks that what is read is written and read again as the same, and has nothing in it that could split a line or a log.
func FuzzParseHop(f *testing.F) {
	for _, s := range []string{"mx.example.org:587", "[2001:db8::1]:25", "unix//run/x", "smtps://me@host", "mx://a", "::ffff:1.2.3.4", "fe80::1%eth0", "ⓐ.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHop(s)
		if err != nil {
			if !errors.Is(err, ErrHop) || h != (Hop{}) {
				t.Fatal(h, err)
			}
			return
		}
		if again, err := ParseHop(h.String()); err != nil || again != h {
			t.Fatalf("%q is %+v, %q is %+v, %v", s, h, h, again, err)
		}
		if (h.Path == "") == (h.Host == "") || h.Path == "" && h.Port == 0 {
			t.Fatalf("%q: %+v", s, h)
		}
		if strings.ContainsAny(h.String(), "\r\n\x00") {
			t.Fatalf("%q: %q", s, h)
		}
	})
}
