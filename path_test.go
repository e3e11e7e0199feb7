package esmtp_test

import (
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// rcpt sends a RCPT and returns its reply code and the path that the handler got.
func rcpt(t *testing.T, strict bool, arg string) (code string, path esmtp.Path) {
	t.Helper()
	srv, _ := newSpy(nil)
	srv.Strict = strict
	srv.NewHandler = func(*esmtp.Session) esmtp.Handler { return &pathTaker{path: &path} }
	c := esmtptest.Dial(t, srv)
	c.Run(greeting + ehlo + "C: MAIL FROM:<> SMTPUTF8\nS: 250 *")
	c.Send("RCPT TO:" + arg)
	lines, err := c.ReadReply()
	if err != nil {
		c.Fatalf("got %v", err)
	}
	return lines[0][:3], path
}

type pathTaker struct {
	esmtp.Default
	path *esmtp.Path
}

func (p *pathTaker) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	*p.path = to
	return p.Default.RCPT(s, to)
}

// RFC 5321 §4.1.2, §4.1.3, rows G52 and A15: what is a path, and what it says.
func TestG52Paths(t *testing.T) {
	label, local := strings.Repeat("d", 63), strings.Repeat("l", 64)
	for _, test := range []struct {
		arg           string
		local, domain string // both empty: none
		strict        bool   // good in strict mode too
	}{
		// Dot-strings.
		{"<a@b.example>", "a", "b.example", true},
		{"<a.b+c=d!x%y/z@B.Example>", "a.b+c=d!x%y/z", "b.example", true},
		{"<A@localhost>", "A", "localhost", true},
		{"<a@1.2.3.4>", "a", "1.2.3.4", true},
		{"<.a@b.example>", ".a", "b.example", false},
		{"<a..b@c.example>", "a..b", "c.example", false},
		{"<a b@c.example>", "", "", false},
		{"<a(b)@c.example>", "", "", false},
		{"<a@b@c.example>", "", "", false},
		// Quoted strings.
		{`<"a b"@c.example>`, "a b", "c.example", true},
		{`<"a\"b\\c"@c.example>`, `a"b\c`, "c.example", true},
		{`<"@:,>"@c.example>`, "@:,>", "c.example", true},
		{`<"a"b@c.example>`, "", "", false},
		{`<"a@c.example>`, "", "", false},
		// Domains and literals.
		{"<a@[192.0.2.1]>", "a", "[192.0.2.1]", true},
		{"<a@[IPv6:2001:DB8::1]>", "a", "[ipv6:2001:db8::1]", true},
		{"<a@[x-tag:content]>", "a", "[x-tag:content]", true},
		{"<a@[192.0.2.256]>", "", "", false},
		{"<a@[2001:db8::1]>", "a", "[2001:db8::1]", true}, // no IPv6, but grammar: a tag, and its content
		{"<a@[IPv6:fe80::1%25eth0]>", "", "", false},
		{"<a@[]>", "", "", false},
		{"<a@[192.0.2.1>", "", "", false},
		{"<a@b_c.example>", "a", "b_c.example", false},
		{"<a@-b.example>", "", "", false},
		{"<a@b-.example>", "", "", false},
		{"<a@b..example>", "", "", false},
		{"<a@b.example.>", "", "", false},
		{"<a@>", "", "", false},
		{"<@b.example>", "", "", false},
		// Source routes are stripped (RFC 5321 appendix C).
		{"<@x.example,@y.example:a@b.example>", "a", "b.example", true},
		{"<@x.example:a@b.example>", "a", "b.example", true},
		{"<@x.example,y.example:a@b.example>", "", "", false},
		{"<@x.example:>", "", "", false},
		// Brackets and spaces.
		{"a@b.example", "a", "b.example", false},
		{" <a@b.example>", "a", "b.example", false},
		{"<a@b.example", "a", "b.example", false},
		{"<a@b.example>x", "", "", false},
		{"<a@b.example >", "", "", false},
		// Lengths (RFC 5321 §4.5.3.1).
		{"<" + local + "@b.example>", local, "b.example", true},
		{"<" + local + "l@b.example>", "", "", false},
		{"<a@" + label + ".example>", "a", label + ".example", true},
		{"<a@" + label + "d.example>", "", "", false},
		{"<a@" + strings.Repeat(label+".", 3) + strings.Repeat("x", 60) + ">", "a", strings.Repeat(label+".", 3) + strings.Repeat("x", 60), true},
		{"<a@" + strings.Repeat(label+".", 3) + strings.Repeat("x", 61) + ">", "", "", false},
		// UTF-8 (RFC 6531), domains as A-labels.
		{"<é@b.example>", "é", "b.example", true},
		{"<a@BÜCHER.example>", "a", "xn--bcher-kva.example", true},
		{"<a@\xff.example>", "", "", false},
		{"<\xc3@b.example>", "", "", false},
	} {
		for _, strict := range []bool{false, true} {
			want := "250"
			if test.local == "" || strict && !test.strict {
				want = "501"
			}
			code, path := rcpt(t, strict, test.arg)
			if code != want || code == "250" && (path.Local() != test.local || path.Domain() != test.domain) {
				t.Errorf("strict %v, %s: got %s %q %q, want %s %q %q", strict, test.arg, code, path.Local(), path.Domain(),
					want, test.local, test.domain)
			}
		}
	}
}

// Path.String is canonical: equal for what is equal, and read back it is the same path.
func TestPathString(t *testing.T) {
	for arg, want := range map[string]string{
		`<a@B.example>`:          "a@b.example",
		`<"a"@b.example>`:        "a@b.example",
		`<"a b"@b.example>`:      `"a b"@b.example`,
		`<"a\b\""@b.example>`:    `"ab\""@b.example`,
		`<.a@b.example>`:         `".a"@b.example`,
		`<a@ü.example>`:          "a@xn--tda.example",
		`<Postmaster>`:           "Postmaster",
		`<@x.example:a@B.test>`:  "a@b.test",
		`<"a@b"@[192.0.2.1]>`:    `"a@b"@[192.0.2.1]`,
		`<a@[IPv6:2001:DB8::1]>`: "a@[ipv6:2001:db8::1]",
	} {
		_, path := rcpt(t, false, arg)
		if got := path.String(); got != want {
			t.Errorf("%s: got %q, want %q", arg, got, want)
		}
		if code, again := rcpt(t, true, "<"+want+">"); code != "250" || again.String() != want {
			t.Errorf("%s: read back: got %s %q, want %q", want, code, again.String(), want)
		}
	}
}

func TestPostmaster(t *testing.T) {
	for arg, want := range map[string]bool{
		"<postmaster>": true, "<PostMaster>": true, "<postmaster@example.org>": true, "<POSTMASTER@EXAMPLE.ORG>": true,
		"<postmaster@other.example>": false, "<postmasters@example.org>": false, `<"postmaster"@example.org>`: true,
	} {
		code, path := rcpt(t, true, arg)
		if got := path.IsPostmaster("example.org"); got != want || code != "250" {
			t.Errorf("%s: got %s, %v, want %v", arg, code, got, want)
		}
	}
}
