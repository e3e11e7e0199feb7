package esmtp

import (
	"strings"
	"testing"
)

// FuzzAttributes: whatever comes, what is taken has no control character and is no longer than it may be, texts for header fields are
// plain, and an address or a port is one that can be written and read again.
func FuzzAttributes(f *testing.F) {
	for _, s := range []string{
		"NAME=a.example ADDR=198.51.100.7 PORT=1 PROTO=ESMTP HELO=x LOGIN=ann+40b DESTADDR=IPV6:::1 DESTPORT=25",
		"NAME=[TEMPUNAVAIL] ADDR=[UNAVAILABLE]", "NAME=+0A", "HELO=a+b", "IDENT=x SOURCE=LOCAL", "ADDR=IPV6:fe80::1%x", "A=B", "=", "NAME==",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		if hasControl([]byte(arg)) || !isASCII(arg) {
			return // no such line comes here
		}
		x := &xclient{}
		if parseAttributes(arg, strings.Fields(xclientLine)[1:], x.set) == "" {
			checkText(t, x.name, maxAttribute)
			checkText(t, x.helo, maxAttribute)
			if !isText([]byte(x.login)) || len(x.login) > maxAttribute || x.proto != "" && x.proto != "SMTP" && x.proto != "ESMTP" {
				t.Fatalf("%q: %+v", arg, x)
			}
			checkEnd(t, tcpAddr(x.ends.addr, x.ends.port).String())
			checkEnd(t, tcpAddr(x.ends.destAddr, x.ends.destPort).String())
		}
		fw := &Forwarded{}
		if parseAttributes(arg, strings.Fields(xforwardLine)[1:], fw.set) == "" {
			for _, text := range []string{fw.Name, fw.HELO, fw.Proto, fw.Ident, fw.Source} {
				checkText(t, text, maxAttribute)
			}
			checkEnd(t, tcpAddr(fw.Addr, fw.Port).String())
		}
	})
}

func checkText(t *testing.T, s string, most int) {
	if !isVisible(s) || len(s) > most || strings.ContainsAny(s, "<>()\\\";@") {
		t.Fatalf("text %q", s)
	}
}

// checkEnd reads an address again, as an attribute.
func checkEnd(t *testing.T, s string) {
	if s == "unavailable" {
		return
	}
	host, port := s[:strings.LastIndexByte(s, ':')], s[strings.LastIndexByte(s, ':')+1:]
	if host[0] == '[' {
		host = "IPV6:" + strings.Trim(host, "[]")
	}
	x := &xclient{}
	if problem := parseAttributes("ADDR="+host+" PORT="+port, []string{"ADDR", "PORT"}, x.set); problem != "" ||
		tcpAddr(x.ends.addr, x.ends.port).String() != s {
		t.Fatalf("%q: %s, %+v", s, problem, x.ends)
	}
}
