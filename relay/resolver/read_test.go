package resolver

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/miekg/dns"
)

func TestIsPublic(t *testing.T) {
	for addr, want := range map[string]bool{
		"192.0.2.1": true, "8.8.8.8": true, "2001:db8::1": true, "2a00:1450::1": true, "64:ff9b::808:808": true, "2002:808:808::1": true,
		"127.0.0.1": false, "0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "172.16.0.1": false, "192.168.1.1": false,
		"169.254.169.254": false, "100.64.0.1": false, "224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::ffff:127.0.0.1": false, "::ffff:8.8.8.8": true, "::127.0.0.1": false, "fe80::1%eth0": false, "fc00::1": false,
		"fec0::1": false, "ff02::1": false, "64:ff9b::7f00:1": false, "64:ff9b::a00:1": false, "64:ff9b:1::1": false, "2001::7f00:1": false, "100::1": false, "198.18.0.1": false, "2002:7f00:1::1": false,
	} {
		if got := IsPublic(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
	if IsPublic(netip.Addr{}) {
		t.Error("no address is public")
	}
}

// FuzzRead feeds answers as they come from the network: whatever is in them, what is kept is bounded and of the type that was asked for.
func FuzzRead(f *testing.F) {
	for _, text := range []string{"a.example. 60 A 192.0.2.1", "a.example. 60 MX 10 b.example.", `a.example. 60 TXT "x\"\\y"`, "a.example. 60 TLSA 3 1 1 00", "a.example. 60 CNAME a.example."} {
		m := new(dns.Msg).SetQuestion("a.example.", dns.TypeA)
		rr, _ := dns.NewRR(text)
		m.Answer = append(m.Answer, rr, rr)
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint16(rr.Header().Rrtype))
	}
	f.Fuzz(func(t *testing.T, wire []byte, qtype uint16) {
		m := new(dns.Msg)
		if m.Unpack(wire) != nil {
			t.Skip()
		}
		a, ttl, err := read(m, question{"a.example", Type(qtype)}, false)
		if a.Secure || ttl > maxTTL || ttl < 0 {
			t.Fatal(a, ttl)
		}
		if err != nil {
			return
		}
		lengths := []int{len(a.Addrs), len(a.MX), len(a.TXT), len(a.TLSA)}
		if slices.Max(lengths) > maxRecords {
			t.Fatal(lengths)
		}
		if used := len(slices.DeleteFunc(lengths, func(n int) bool { return n == 0 })); used > 1 {
			t.Fatal("records of several types", a)
		}
	})
}
