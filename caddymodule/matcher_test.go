package caddymodule

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
)

// endpoint is a connection that says what it is told to of itself, and is at its end.
type endpoint struct {
	net.Conn
	remote, local net.Addr
}

func (c *endpoint) RemoteAddr() net.Addr { return c.remote }
func (c *endpoint) LocalAddr() net.Addr  { return c.local }

// secureEndpoint is one that is in TLS.
type secureEndpoint struct {
	endpoint
	state tls.ConnectionState
}

func (c *secureEndpoint) ConnectionState() tls.ConnectionState { return c.state }

// text is an address of a type that only its text is known of.
type text string

func (text) Network() string  { return "tcp" }
func (a text) String() string { return string(a) }

func tcp(addr string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr)) }

// matches loads a matcher from its name and JSON, and asks it about a connection.
func matches(t *testing.T, matcher string, remote, local net.Addr, state *tls.ConnectionState) (got bool) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	var set caddy.ModuleMap
	if err := json.Unmarshal([]byte("{"+matcher+"}"), &set); err != nil {
		t.Fatalf("%s: %v", matcher, err)
	}
	r := &Route{MatchersRaw: []caddy.ModuleMap{set}}
	sets, err := loadMatchers(ctx, r)
	if err != nil {
		t.Fatalf("%s: %v", matcher, err)
	}
	ours, theirs := net.Pipe()
	theirs.Close()
	conn := net.Conn(&endpoint{ours, remote, local})
	if state != nil {
		conn = &secureEndpoint{endpoint{ours, remote, local}, *state}
	}
	srv := &esmtp.Server{Select: func(s *esmtp.Session) *esmtp.Server {
		got = sets.match(s)
		return nil
	}}
	srv.ServeConn(conn)
	return got
}

func TestMatchers(t *testing.T) {
	peer, here := tcp("192.0.2.1:4711"), tcp("[2001:db8::25]:25")
	socket := &net.UnixAddr{Net: "unix", Name: "@"}
	plain := (*tls.ConnectionState)(nil)
	named := func(name string) *tls.ConnectionState { return &tls.ConnectionState{ServerName: name} }
	for _, test := range []struct {
		matcher       string
		remote, local net.Addr
		state         *tls.ConnectionState
		want          bool
	}{
		{`"remote_ip":{"ranges":["192.0.2.0/24"]}`, peer, here, plain, true},
		{`"remote_ip":{"ranges":["192.0.2.1"]}`, peer, here, plain, true},
		{`"remote_ip":{"ranges":["192.0.2.2"]}`, peer, here, plain, false},
		{`"remote_ip":{"ranges":["::/0","192.0.2.2","192.0.2.0/31"]}`, peer, here, plain, true},
		{`"remote_ip":{"ranges":["::/0"]}`, peer, here, plain, false},
		{`"remote_ip":{"ranges":["0.0.0.0/0"]}`, peer, here, plain, true},
		{`"remote_ip":{"ranges":["192.0.2.0/24"]}`, tcp("[::ffff:192.0.2.1]:1"), here, plain, true},
		{`"remote_ip":{"ranges":["::ffff:192.0.2.0/120"]}`, peer, here, plain, true},
		{`"remote_ip":{"ranges":["::ffff:192.0.2.1"]}`, tcp("[::ffff:192.0.2.1]:1"), here, plain, true},
		{`"remote_ip":{"ranges":["fe80::/10"]}`, tcp("[fe80::1%eth0]:1"), here, plain, true},
		{`"remote_ip":{"ranges":["fe80::/10%eth0"]}`, tcp("[fe80::1%eth0]:1"), here, plain, true},
		{`"remote_ip":{"ranges":["fe80::1%eth1"]}`, tcp("[fe80::1%eth0]:1"), here, plain, false},
		{`"remote_ip":{"ranges":["fe80::/10%eth0"]}`, tcp("[fe80::1]:1"), here, plain, false},
		{`"remote_ip":{"ranges":["private_ranges"]}`, tcp("172.31.255.255:1"), here, plain, true},
		{`"remote_ip":{"ranges":["private_ranges"]}`, tcp("172.32.0.0:1"), here, plain, false},
		{`"remote_ip":{"ranges":["private_ranges"]}`, tcp("[::1]:1"), here, plain, true},
		{`"remote_ip":{"ranges":["private_ranges"]}`, tcp("[fd12::1]:1"), here, plain, true},
		{`"remote_ip":{"ranges":["192.0.2.0/24"]}`, text("192.0.2.1:4711"), here, plain, true},
		{`"remote_ip":{"ranges":["192.0.2.0/24"]}`, text("somewhere"), here, plain, false},
		{`"remote_ip":{"ranges":["0.0.0.0/0","::/0"]}`, socket, socket, plain, false},
		{`"remote_ip":{"ranges":["0.0.0.0/0","::/0"]}`, &net.TCPAddr{}, here, plain, false},
		{`"local_ip":{"ranges":["2001:db8::/64"]}`, peer, here, plain, true},
		{`"local_ip":{"ranges":["192.0.2.0/24"]}`, peer, here, plain, false},
		{`"local_port":{"ports":["25"]}`, peer, here, plain, true},
		{`"local_port":{"ports":["465","20-25"]}`, peer, here, plain, true},
		{`"local_port":{"ports":["26-30"]}`, peer, here, plain, false},
		{`"local_port":{"ports":["1-65535"]}`, socket, socket, plain, false},
		{`"unix":{}`, socket, socket, plain, true},
		{`"unix":{}`, peer, here, plain, false},
		{`"tls":{}`, peer, here, plain, false},
		{`"tls":{}`, peer, here, named(""), true},
		{`"tls":{"client_certificate":true}`, peer, here, named(""), false},
		{`"tls":{"client_certificate":true}`, peer, here, &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}, false},
		{`"tls":{"client_certificate":true}`, peer, here, &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{}}}, true},
		{`"sni":{"names":["a.example"]}`, peer, here, named("A.Example"), true},
		{`"sni":{"names":["A.Example"]}`, peer, here, named("a.example"), true},
		{`"sni":{"names":["a.example"]}`, peer, here, plain, false},
		{`"sni":{"names":["a.example"]}`, peer, here, named(""), false},
		{`"sni":{"names":["*.example"]}`, peer, here, named("a.example"), true},
		{`"sni":{"names":["*.example"]}`, peer, here, named("example"), false},
		{`"sni":{"names":["*.example"]}`, peer, here, named("a.b.example"), false},
		{`"sni":{"names":["*.bücher.example"]}`, peer, here, named("a.xn--bcher-kva.example"), true},
		{`"not":[{"unix":{}}]`, peer, here, plain, true},
		{`"not":[{"unix":{}}]`, socket, socket, plain, false},
		{`"not":[{"unix":{}},{"tls":{}}]`, peer, here, named("a.example"), false},
		{`"not":[{"tls":{},"local_port":{"ports":["26"]}}]`, peer, here, named("a.example"), true},
		{`"not":[{"tls":{},"local_port":{"ports":["25"]}}]`, peer, here, named("a.example"), false},
		{`"remote_ip":{"ranges":["192.0.2.1"]},"local_port":{"ports":["25"]}`, peer, here, plain, true},
		{`"remote_ip":{"ranges":["192.0.2.1"]},"local_port":{"ports":["26"]}`, peer, here, plain, false},
		{``, peer, here, plain, true},
	} {
		if got := matches(t, test.matcher, test.remote, test.local, test.state); got != test.want {
			t.Errorf("%s for %v to %v, %+v: got %t", test.matcher, test.remote, test.local, test.state, got)
		}
	}
}

// always is a matcher with a fixed opinion.
type always bool

func (a always) Match(*esmtp.Session) bool { return bool(a) }

func TestOneOfTheSetsIsEnough(t *testing.T) {
	yes, no := always(true), always(false)
	for _, test := range []struct {
		sets matcherSets
		want bool
	}{
		{nil, true}, {matcherSets{{}}, true}, {matcherSets{{yes}}, true}, {matcherSets{{no}}, false}, {matcherSets{{yes, no}}, false},
		{matcherSets{{no}, {yes}}, true}, {matcherSets{{no}, {no}}, false},
	} {
		if got := test.sets.match(nil); got != test.want {
			t.Errorf("%v: got %t", test.sets, got)
		}
	}
}

// FuzzRange: a network that is read contains its first address in every form that it can have, and an address just when bit for bit it has the
// same beginning; what isn't read is not what package net writes for a network. (Of IPv4 in IPv6 the two think differently.)
func FuzzRange(f *testing.F) {
	for _, s := range []string{"192.0.2.0/24", "192.0.2.1", "::/0", "2001:db8::/32", "::ffff:192.0.2.0/120", "::ffff:1.2.3.4", "fe80::1%eth0", "fe80::/10%e", "10.0.0.1/8", "0.0.0.0/0", "%", "/", "1.2.3.4/33"} {
		f.Add(s, []byte{192, 0, 2, 77})
	}
	f.Fuzz(func(t *testing.T, s string, octets []byte) {
		r, err := parseRange(s)
		network, zone, hasZone := strings.Cut(s, "%")
		_, cidr, cidrErr := net.ParseCIDR(network)
		if err != nil {
			if _, n, e := net.ParseCIDR(s); e == nil && n.String() == s {
				t.Fatalf("%q is a network, but: %v", s, err)
			}
			return
		}
		if hasZone != (r.zone != "") || r.zone != zone {
			t.Fatalf("%q: got zone %q", s, r.zone)
		}
		first := r.Addr().WithZone(zone)
		if !r.contains(first) || r.Addr().Is4() && !r.contains(netip.AddrFrom16(first.As16())) {
			t.Fatalf("%q doesn't contain %v", s, first)
		}
		addr, ok := netip.AddrFromSlice(octets)
		if !ok || hasZone {
			return
		}
		want := net.IP(octets).Equal(net.ParseIP(network))
		if cidrErr == nil {
			want = cidr.Contains(octets)
		}
		if got := r.contains(addr); got != want && !strings.Contains(strings.ToLower(network), "ffff") {
			t.Fatalf("%q, %v: got %t", s, addr, got)
		}
	})
}
