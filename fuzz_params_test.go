package esmtp

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// slowParam is the reference for Path.Param: spaces, and only they, separate parameters.
func slowParam(params, name string) (value string, ok bool) {
	for param := range strings.SplitSeq(params, " ") {
		key, value, _ := strings.Cut(param, "=")
		if strings.EqualFold(key, name) && len(key) == len(name) {
			return value, true
		}
	}
	return "", false
}

// FuzzParams: parameters that parseParams lets pass are each a keyword and perhaps a value of an extension that was offered, text
// without control characters, given once; what Param finds is what stands there; and a handler never sees one that was not checked.
func FuzzParams(f *testing.F) {
	for _, s := range []string{"SIZE=100 BODY=8BITMIME", "SMTPUTF8 RET=FULL ENVID=a+2Bb", "XOORG=1", "SIZE", "=", "XOORG=a\u2003SMTPUTF8", "SMTPUTF8 XOORG=a\u2003RET",
		"ENVID=+0D+0A", "BODY=BINARYMIME SMTPUTF8 XOORG=é", "SIZE=1 size=2", "NOTIFY=NEVER ORCPT=rfc822;a+40b", "ORCPT=utf-8;\\x{A}", "  SIZE=1  "} {
		f.Add(s, false)
		f.Add(s, true)
	}
	srv := &Server{Hostname: "mx.example.org"}
	if err := srv.start(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, params string, rcpt bool) {
		s := newSession(srv, nil)
		s.offer([]string{"mx", "SIZE 0", "8BITMIME", "SMTPUTF8", "DSN", "XOORG", "PIPELINING", "BINARYMIME"})
		v := verbMAIL
		if rcpt {
			v = verbRCPT
		}
		if hasControl([]byte(params)) || !s.parseParams(v, []byte(params)).IsZero() {
			return
		}
		p := Path{raw: "a@b", params: params}
		if !utf8.ValidString(params) {
			t.Fatalf("%q is not UTF-8", params)
		}
		if _, declared := slowParam(params, "SMTPUTF8"); !declared && !isASCII(params) {
			t.Fatalf("%q is not ASCII", params)
		}
		for _, def := range parameters {
			want, there := slowParam(params, def.name)
			got, ok := p.Param(def.name)
			switch {
			case got != want || ok != there:
				t.Fatalf("%q: Param(%s) is %q %v, want %q %v", params, def.name, got, ok, want, there)
			case ok && (def.verb != v || (def.check == nil) != (got == "") || def.check != nil && !def.check(got)):
				t.Fatalf("%q passed with %s", params, def.name)
			case strings.Count(strings.ToUpper(" "+params), " "+def.name+"=") > 1:
				t.Fatalf("%q passed with two of %s", params, def.name)
			}
		}
		if hasControlText(p.EnvID()) || !rcpt && p.Notify() != 0 {
			t.Fatalf("%q: %q %v", params, p.EnvID(), p.Notify())
		}
		if addrType, addr := p.ORcpt(); hasControlText(addrType + addr) {
			t.Fatalf("%q: original recipient %q", params, addr)
		}
	})
}

func hasControlText(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 })
}

// encodeXtext is the reference (RFC 3461 §4).
func encodeXtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c > ' ' && c <= '~' && c != '+' && c != '=' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "+%02X", c)
		}
	}
	return b.String()
}

// FuzzXtext: what was encoded is decoded to itself, and what can be decoded is encoded again to what decodes to the same.
func FuzzXtext(f *testing.F) {
	for _, s := range []string{"", "a", "a+b=c", "+2B", "+2b", "+", "+4", "\x00\xff é", "a b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, ok := decodeXtext(encodeXtext(s)); !ok || got != s {
			t.Fatalf("decode(encode(%q)) is %q, %v", s, got, ok)
		}
		plain, ok := decodeXtext(s)
		if !ok {
			return
		}
		if again, ok := decodeXtext(encodeXtext(plain)); !ok || again != plain || strings.ContainsAny(s, " =\x00\r\n") {
			t.Fatalf("%q is %q, then %q %v", s, plain, again, ok)
		}
	})
}

// encodeUnitext is the reference for utf-8-addr-unitext (RFC 6533 §3).
func encodeUnitext(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r <= ' ' || r == '+' || r == '=' || r == '\\' || 0x7f <= r && r < 0xa0 {
			fmt.Fprintf(&b, `\x{%X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// FuzzUnitext: text without control characters that was encoded is decoded to itself; nothing decodes to a control character.
func FuzzUnitext(f *testing.F) {
	for _, s := range []string{"", "é@ö.example", `\x{41}`, `\x{A}`, `\x{110000}`, `\x{D800}`, `\x{`, `\x{85}`, "a+b", "\u0085", "日本"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if plain, ok := decodeUnitext(s); ok && (hasControlText(plain) || !utf8.ValidString(plain)) {
			t.Fatalf("%q is %q", s, plain)
		}
		if hasControlText(s) || !utf8.ValidString(s) || strings.ContainsRune(s, utf8.RuneError) {
			return
		}
		if got, ok := decodeUnitext(encodeUnitext(s)); !ok || got != s {
			t.Fatalf("decode(%q) is %q, %v; want %q", encodeUnitext(s), got, ok, s)
		}
	})
}
