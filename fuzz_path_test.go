package esmtp

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	atomRule   = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
	dotRule    = atomRule + `(?:\.` + atomRule + `)*`
	quotedRule = `"(?:[ !#-\[\]-~]|\\[ -~])+"`
	labelRule  = `[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?`
	domainRule = labelRule + `(?:\.` + labelRule + `)*`
)

// slowPath is the grammar of RFC 5321 §4.1.2 for ASCII, but for address literals; a local part alone is in it, as parsePath has it.
var slowPath = regexp.MustCompile(`^<(?:@` + domainRule + `(?:,@` + domainRule + `)*:)?((` + dotRule + `|` + quotedRule + `)(?:@(` + domainRule + `))?)>(?: |$)|^<>(?: |$)`)

// strictly reports whether the reference takes an argument, with the length limits of RFC 5321 §4.5.3.1. known is false for what
// the reference knows nothing of.
func strictly(arg string) (raw string, ok, known bool) {
	if !isASCII(arg) || strings.ContainsRune(arg, '[') || len(arg) > 600 {
		return "", false, false
	}
	m := slowPath.FindStringSubmatch(arg)
	if m == nil {
		return "", false, true
	}
	return m[1], len(m[2]) <= 64 && len(m[3]) <= 255 && len(m[1]) <= 254, true
}

// parse is all of the way from an argument to a Path.
func parse(arg string, lenient bool) (Path, bool) {
	p, ok := parsePath([]byte(arg), lenient)
	if !ok {
		return Path{}, false
	}
	return new(arena).makePath(&p, nil)
}

// FuzzPath: no path has control characters, or parts over their length; what it says of itself is read again as the same path;
// what strict mode reads, lenient mode reads as the same; and strict mode reads exactly the grammar of RFC 5321.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"<>", "<a@b.c>", "<postmaster>", `<"a b\""@c>`, `<"\a"@c>`, "<@x,@y.z:a@b>", "a@b", "<a@b", "a@b>", "<a..b@c>", "<.a@b>", "<a@[192.0.2.1]>",
		"<a@[IPv6:::1]>", "<a@[x:y]>", "<a@-b>", "<a@b-.c>", "<a@b_c>", "<ä@ö.example>", "<a@\u00ad>", "<a@b\u3002c>", "<a@\uff0e>", "<a@b.>", "<a@xn--a>", "<a@\u2100>", "<a@B\u212a>",
		"<a@b> SIZE=1", "<a@b>x", "<>SIZE=1", `<"">`, `<""@b>`, "<" + strings.Repeat("a", 64) + "@b>", "<" + strings.Repeat("a.", 32) + ".@b>", "<\"" + strings.Repeat("a", 62) + "\"@b>",
		"<a@" + strings.Repeat("b.", 126) + "c>", "<a@" + strings.Repeat("ö.", 60) + "c>", "<a@" + strings.Repeat("b", 63) + ".c>", "<a@\u200d.c>", "<a\u0085@b>", "<" + strings.Repeat("a.", 32) + "@b>", "<" + strings.Repeat("a", 60) + "@" + strings.Repeat("ö.", 26) + "c>",
		"<a..b@" + strings.Repeat("b.", 123) + "c>", "<a@1.2.3.4>", "<a@ß.de>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		if len(arg) > 1000 || hasControl([]byte(arg)) {
			return // command has answered these
		}
		strict, ok := parse(arg, false)
		if raw, want, known := strictly(arg); known && (ok != want || ok && strict.Raw() != raw) {
			t.Fatalf("%q: %q %v, want %q %v", arg, strict.Raw(), ok, raw, want)
		}
		lenient, lenientOK := parse(arg, true)
		if ok && (!lenientOK || lenient != strict) {
			t.Fatalf("%q is %+v, but leniently %+v", arg, strict, lenient)
		}
		if lenientOK {
			checkPath(t, arg, lenient)
		}
	})
}

func checkPath(t *testing.T, arg string, p Path) {
	all := p.Raw() + p.Local() + p.Domain() + p.String()
	switch {
	case hasControlText(all) || !utf8.ValidString(all):
		t.Fatalf("%q: %+v is not text", arg, p)
	case len(p.Raw()) > 254 || len(p.String()) > 254 || len(p.Local()) > 64 || len(p.Domain()) > 255:
		t.Fatalf("%q: %+v is too long", arg, p)
	case !isASCII(p.Domain()) || strings.ToLower(p.Domain()) != p.Domain():
		t.Fatalf("%q: domain is %q", arg, p.Domain())
	case p.IsNull() != (p.Local() == "") || strings.ContainsRune(p.Raw(), '@') && p.Domain() == "" && !strings.HasSuffix(p.Raw(), `"`):
		t.Fatalf("%q: %+v has no local part or no domain", arg, p)
	}
	again, ok := parse("<"+p.String()+">", true)
	if !ok || again.String() != p.String() || again.Local() != p.Local() || again.Domain() != p.Domain() {
		t.Fatalf("%q is %q, which is %+v %v", arg, p.String(), again, ok)
	}
	if p.IsPostmaster("b.c") && !strings.EqualFold(p.Local(), "postmaster") {
		t.Fatalf("%q is no postmaster", arg)
	}
}
