package caddymodule

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/miekg/dns"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay/route"
)

// listenAt opens a socket of ours, with a port that the kernel chooses, and returns where it is.
func listenAt(t *testing.T, address string) netip.AddrPort {
	t.Helper()
	addrs, err := parseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	sh, err := newShare(socketKey{address: address, server: t.Name()}, addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sh.Close() })
	return sh.at.(*net.TCPAddr).AddrPort()
}

func TestOurOwnAddressesAreThoseWeListenAt(t *testing.T) {
	one, all := listenAt(t, "127.0.0.1:0"), listenAt(t, "tcp4/0.0.0.0:0")
	check := func(addr string, port uint16, want bool) {
		t.Helper()
		if to := netip.AddrPortFrom(netip.MustParseAddr(addr), port); listensAt(to) != want {
			t.Errorf("%s: got %t", to, !want)
		}
	}
	check("127.0.0.1", one.Port(), true)
	check("::ffff:127.0.0.1", one.Port(), true)
	check("127.0.0.2", one.Port(), false)
	check("127.0.0.1", all.Port(), true)
	check("127.0.0.2", all.Port(), true)
	check("192.0.2.1", all.Port(), false)
	check("::1", all.Port(), false) // another family, and so another program's
	check("127.0.0.1", 0, false)
	machine, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range machine {
		if ip := netip.MustParsePrefix(a.String()).Addr(); ip.Is4() {
			check(ip.String(), all.Port(), true)
			check(ip.String(), one.Port(), ip == one.Addr())
		}
	}
}

// A mail exchanger by another name that is one of our servers would give us the message back; a hop that was chosen may well be one of them.
func TestAMailExchangerAtOurAddressIsUs(t *testing.T) {
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	zone := map[dns.Question]string{
		{Name: "example.org.", Qtype: dns.TypeMX, Qclass: dns.ClassINET}:    "example.org. 60 IN MX 10 alias.example.",
		{Name: "alias.example.", Qtype: dns.TypeA, Qclass: dns.ClassINET}:   "alias.example. 60 IN A 127.0.0.1",
		{Name: "handle.example.", Qtype: dns.TypeMX, Qclass: dns.ClassINET}: "handle.example. 60 IN MX 10 inner.example.",
	}
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if text, ok := zone[q.Question[0]]; ok {
			rr, err := dns.NewRR(text)
			if err != nil {
				t.Error(err)
			}
			m.Answer = []dns.RR{rr}
		}
		w.WriteMsg(m)
	})
	started := make(chan struct{})
	server, ended := &dns.Server{PacketConn: packets, Handler: answer, NotifyStartedFunc: func() { close(started) }}, make(chan struct{})
	go func() {
		defer close(ended)
		server.ActivateAndServe()
	}()
	<-started
	t.Cleanup(func() {
		server.Shutdown()
		<-ended
	})

	port := listenAt(t, "127.0.0.1:0").Port()
	q := &Queue{DNS: []string{packets.LocalAddr().String()}, AllowPrivate: true, NoMTASTS: true, hostnames: []string{"inner.example"}}
	r, err := q.newRelay()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		hop  route.Hop
		code int
	}{
		{route.Hop{MX: true, Host: "example.org", Port: port}, 554},
		{route.Hop{MX: true, Host: "example.org", Port: 9}, 0}, // another server's
		{route.Hop{MX: true, Host: "handle.example", Port: 9}, 554},
		{route.Hop{Host: "alias.example", Port: port}, 0},
		{route.Hop{Host: "127.0.0.1", Port: port}, 0},
		{route.Hop{Host: "127.0.0.1", Port: port, Untrusted: true}, 554}, // an address literal
	} {
		hosts, err := r.Router.Hosts(t.Context(), c.hop)
		if code := esmtp.ReplyOf(err).Code; err != nil && code != c.code || (err == nil) != (c.code == 0) {
			t.Errorf("%v: got %v, %v; want %d", c.hop, hosts, err, c.code)
		}
	}
}

func TestTheNamesOfRoutesAreOurs(t *testing.T) {
	load(t, "queue {\nspool "+tempDir(t)+"\n}\nunix/"+socket(t)+" {\nhostname outer.example\nqueue\n@here remote_ip 127.0.0.0/8\nhandle @here {\nhostname inner.example\n}\n}\n")
	app, err := caddy.ActiveContext().App("esmtp")
	if err != nil {
		t.Fatal(err)
	}
	if got := app.(*App).queues.queues[defaultQueue]; got.Hostname != "outer.example" || !slices.Contains(got.hostnames, "inner.example") {
		t.Errorf("got %q, %q", got.Hostname, got.hostnames)
	}
}
