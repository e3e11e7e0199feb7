package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay/internal/fakedns"
	"github.com/caddy-esmtp/esmtp/relay/resolver"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
)

var zone = fakedns.Zone{
	"MX two.example":         fakedns.MX("mx1.example", "mx2.example"),
	"A mx1.example":          fakedns.Addrs("192.0.2.1"),
	"A mx2.example":          fakedns.Addrs("192.0.2.2"),
	"AAAA mx2.example":       fakedns.Addrs("2001:db8::2"),
	"A plain.example":        fakedns.Addrs("192.0.2.3"),
	"TXT text.example":       resolver.Answer{TXT: []string{"x"}},
	"MX null.example":        fakedns.MX(""),
	"MX nullish.example":     fakedns.MX("", "mx1.example"),
	"MX gone.example":        fakedns.MX("nowhere.example"),
	"MX half.example":        fakedns.MX("nowhere.example", "mx2.example"),
	"MX broken.example":      resolver.ErrTemporary,
	"MX badaddr.example":     fakedns.MX("servfail.example"),
	"MX badhalf.example":     fakedns.MX("servfail.example", "mx1.example"),
	"A servfail.example":     resolver.ErrTemporary,
	"AAAA servfail.example":  resolver.ErrTemporary,
	"MX one.example":         fakedns.MX("v4ok.example"),
	"A v4ok.example":         fakedns.Addrs("192.0.2.4"),
	"AAAA v4ok.example":      resolver.ErrTemporary,
	"MX literal.example":     fakedns.MX("192.0.2.1", "[192.0.2.1]", "a b.example", "-", strings.Repeat("x", 64)+".example"),
	"MX someliteral.example": fakedns.MX("192.0.2.1", "mx1.example"),
	"MX private.example":     fakedns.MX("inside.example"),
	"A inside.example":       fakedns.Addrs("10.0.0.1", "127.0.0.1", "169.254.169.254"),
	"AAAA inside.example":    fakedns.Addrs("::1", "fe80::1", "64:ff9b::7f00:1"),
	"MX mixed.example":       fakedns.MX("inout.example"),
	"A inout.example":        fakedns.Addrs("10.0.0.1", "192.0.2.5"),
	"MX us.example":          fakedns.MX("Us.Test", "mx1.example"),
	"MX backup.example":      fakedns.MX("mx1.example", "us.test", "mx2.example"),
	"A us.test":              fakedns.Addrs("192.0.2.99"),
	"MX alias-us.example":    fakedns.MX("mx1.example", "other-name.example", "mx2.example"),
	"A other-name.example":   fakedns.Addrs("192.0.2.99"),
	"MX only-us.example":     fakedns.MX("other-name.example"),
	"MX same.example": resolver.Answer{MX: []resolver.Exchange{
		{Preference: 10, Host: "mx1.example"}, {Preference: 20, Host: "us.test"}, {Preference: 20, Host: "mx2.example"},
	}},
	"MX equals.example": resolver.Answer{MX: []resolver.Exchange{
		{Preference: 20, Host: "mx1.example"}, {Preference: 10, Host: "mx2.example"}, {Preference: 10, Host: "plain.example"},
	}},
	"MX many.example":   manyMX(),
	"A us-alone.test":   fakedns.Addrs("192.0.2.99"),
	"A cname.example":   resolver.Answer{Name: "target.example", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.7")}, Secure: true},
	"MX secure.example": fakedns.Secure(fakedns.MX("cname.example")),
}

func manyMX() resolver.Answer {
	var a resolver.Answer
	for i := range 100 {
		a.MX = append(a.MX, resolver.Exchange{Preference: uint16(100 - i), Host: "mx2.example"})
	}
	return a
}

func router() *Router {
	own := netip.MustParseAddrPort("192.0.2.99:25")
	return &Router{Resolver: zone, Hostnames: []string{"us.test."}, Own: func(a netip.AddrPort) bool { return a == own }}
}

// show writes hosts as "name addr addr, name addr".
func show(hosts []Host) string {
	var all []string
	for _, h := range hosts {
		s := h.Host
		for _, a := range h.Addrs {
			s += " " + a.String()
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

func TestWhereMailForADomainGoes(t *testing.T) {
	for domain, want := range map[string]string{
		"two.example":            "mx1.example 192.0.2.1:25, mx2.example [2001:db8::2]:25 192.0.2.2:25",
		"plain.example":          "plain.example 192.0.2.3:25", // the implicit MX
		"text.example":           "550 5.1.2",                  // exists, but has neither MX nor address
		"nowhere.example":        "550 5.1.2",
		"null.example":           "556 5.1.10",
		"nullish.example":        "mx1.example 192.0.2.1:25",
		"gone.example":           "550 5.4.4",
		"half.example":           "mx2.example [2001:db8::2]:25 192.0.2.2:25",
		"broken.example":         "451 4.4.3",
		"badaddr.example":        "451 4.4.3",
		"badhalf.example":        "mx1.example 192.0.2.1:25",
		"one.example":            "v4ok.example 192.0.2.4:25",
		"literal.example":        "550 5.4.4",
		"someliteral.example":    "mx1.example 192.0.2.1:25",
		"private.example":        "550 5.4.4",
		"mixed.example":          "inout.example 192.0.2.5:25",
		"us.example":             "554 5.4.6",
		"backup.example":         "mx1.example 192.0.2.1:25",
		"alias-us.example":       "mx1.example 192.0.2.1:25",
		"same.example":           "mx1.example 192.0.2.1:25",
		"only-us.example":        "554 5.4.6",
		"us-alone.test":          "554 5.4.6",
		"us.test":                "554 5.4.6",
		"[192.0.2.1]":            "192.0.2.1 192.0.2.1:25",
		"[IPv6:2001:db8::1]":     "2001:db8::1 [2001:db8::1]:25",
		"[192.0.2.99]":           "554 5.4.6",
		"[127.0.0.1]":            "550 5.4.4",
		"[IPv6:::ffff:10.0.0.1]": "550 5.4.4",
		"[tag:x]":                "550 5.1.2",
		"":                       "550 5.1.2",
		"1.2.3.4":                "550 5.1.2",
		"a b":                    "550 5.1.2",
		"cname.example":          "cname.example 192.0.2.7:25",
	} {
		hop, err := Direct(domain)
		var hosts []Host
		if err == nil {
			hosts, err = router().Hosts(t.Context(), hop)
		}
		got := show(hosts)
		if err != nil {
			reply := esmtp.ReplyOf(err)
			got = fmt.Sprint(reply.Code, " ", reply.Enh)
		}
		if got != want {
			t.Errorf("%q: %s (%v), want %s", domain, got, err, want)
		}
	}
}

func TestEqualExchangersTakeTurns(t *testing.T) {
	first := map[string]int{}
	for range 200 {
		hosts, err := router().Hosts(t.Context(), Hop{MX: true, Host: "equals.example", Port: 25})
		if err != nil || len(hosts) != 3 || hosts[2].Host != "mx1.example" {
			t.Fatal(show(hosts), err)
		}
		first[hosts[0].Host]++
	}
	if len(first) != 2 {
		t.Error(first)
	}
}

func TestAHostThatIsAsGoodAsWeAreIsNotTried(t *testing.T) {
	for range 50 { // in any order
		hosts, err := router().Hosts(t.Context(), Hop{MX: true, Host: "same.example", Port: 25})
		if err != nil || len(hosts) != 1 || hosts[0].Host != "mx1.example" {
			t.Fatal(show(hosts), err)
		}
	}
}

func TestHostsAndAddressesAreBounded(t *testing.T) {
	var many resolver.Answer
	for i := range 100 {
		many.Addrs = append(many.Addrs, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
	}
	r := &Router{}
	r.Resolver = fakedns.Zone{"MX many.example": manyMX(), "A mx2.example": many}
	for _, c := range []struct{ maxHosts, maxAddrs, hosts, addrs int }{{0, 0, 10, 8}, {3, 2, 3, 2}} {
		r.MaxHosts, r.MaxAddrs = c.maxHosts, c.maxAddrs
		hosts, err := r.Hosts(t.Context(), Hop{MX: true, Host: "many.example", Port: 25})
		if err != nil || len(hosts) != c.hosts || len(hosts[0].Addrs) != c.addrs {
			t.Error(len(hosts), err)
		}
	}
}

func TestFamilies(t *testing.T) {
	v4 := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")}
	v6 := []netip.Addr{netip.MustParseAddr("2001:db8::1")}
	for family, want := range map[Family]string{Mixed: "6444", IPv4First: "4644", IPv6Only: "6", IPv4Only: "444"} {
		r := &Router{Family: family, Resolver: fakedns.Zone{"A h.example": resolver.Answer{Addrs: v4}, "AAAA h.example": resolver.Answer{Addrs: v6}}}
		hosts, err := r.Hosts(t.Context(), Hop{Host: "h.example", Port: 25})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, a := range hosts[0].Addrs {
			if a.Addr().Is6() {
				got += "6"
			} else {
				got += "4"
			}
		}
		if got != want {
			t.Errorf("%d: %s, want %s", family, got, want)
		}
	}
}

func TestAConfiguredHopIsWhatItIs(t *testing.T) {
	for text, want := range map[string]string{
		"mx2.example:587":           "mx2.example [2001:db8::2]:587 192.0.2.2:587",
		"two.example":               "550 5.4.4", // its MX records are not asked for
		"inside.example":            "6",         // addresses that are private are fine
		"127.0.0.1:2525":            "127.0.0.1 127.0.0.1:2525",
		"mx://two.example":          "mx1.example 192.0.2.1:25, mx2.example [2001:db8::2]:25 192.0.2.2:25",
		"mx://private.example":      "550 5.4.4",
		"lmtp+unix:///run/x":        "",
		"us.test":                   "us.test 192.0.2.99:25",
		"mx://only-us.example:2525": "other-name.example 192.0.2.99:2525", // at another port it is not us
		"servfail.example":          "451 4.4.3",
	} {
		hop, err := ParseHop(text)
		if err != nil {
			t.Fatal(err)
		}
		hosts, err := router().Hosts(t.Context(), hop)
		got := show(hosts)
		if err != nil {
			reply := esmtp.ReplyOf(err)
			got = fmt.Sprint(reply.Code, " ", reply.Enh)
		} else if len(want) == 1 {
			got = fmt.Sprint(len(hosts[0].Addrs))
		}
		if got != want {
			t.Errorf("%q: %s (%v), want %s", text, got, err, want)
		}
	}
	r := router()
	r.AllowPrivate = true
	if hosts, err := r.Hosts(t.Context(), Hop{MX: true, Host: "private.example", Port: 25}); err != nil || len(hosts[0].Addrs) != 6 {
		t.Error(show(hosts), err)
	}
}

func TestAHostKnowsWhatDNSSECVouchesFor(t *testing.T) {
	get := func(hop Hop) tlspolicy.Peer {
		t.Helper()
		hosts, err := router().Hosts(t.Context(), hop)
		if err != nil {
			t.Fatal(err)
		}
		return hosts[0].Peer
	}
	for _, c := range []struct {
		hop  Hop
		want tlspolicy.Peer
	}{
		{Hop{MX: true, Host: "secure.example", Port: 25}, tlspolicy.Peer{Domain: "secure.example", Host: "cname.example", Canonical: "target.example", Port: 25, MXSecure: true, AddrSecure: true}},
		{Hop{MX: true, Host: "two.example", Port: 25}, tlspolicy.Peer{Domain: "two.example", Host: "mx1.example", Canonical: "mx1.example", Port: 25}},
		{Hop{Host: "cname.example", Port: 587}, tlspolicy.Peer{Host: "cname.example", Canonical: "target.example", Port: 587, MXSecure: true, AddrSecure: true}},
	} {
		if got := get(c.hop); got != c.want {
			t.Errorf("%v: %+v", c.hop, got)
		}
	}
}

func TestTheEndOfTheContextIsNoReply(t *testing.T) {
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	for _, hop := range []Hop{{MX: true, Host: "two.example", Port: 25}, {Host: "mx1.example", Port: 25}} {
		_, err := router().Hosts(ctx, hop)
		if reply := new(esmtp.Reply); !errors.Is(err, gone) || errors.As(err, reply) {
			t.Error(err)
		}
	}
}
