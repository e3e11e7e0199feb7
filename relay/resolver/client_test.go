package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a DNS server on a loopback address, over UDP and TCP, and what it was asked.
type server struct {
	addr netip.AddrPort
	udp  atomic.Int32
	tcp  atomic.Int32
}

func serve(t testing.TB, answer func(w dns.ResponseWriter, q *dns.Msg)) *server {
	t.Helper()
	s := new(server)
	var packets net.PacketConn
	var listener net.Listener
	for range 20 { // until a port is free for both
		var err error
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if packets, err = net.ListenPacket("udp", listener.Addr().String()); err == nil {
			break
		}
		listener.Close()
	}
	if packets == nil {
		t.Fatal("no port is free")
	}
	s.addr = netip.MustParseAddrPort(listener.Addr().String())
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if w.RemoteAddr().Network() == "udp" {
			s.udp.Add(1)
		} else {
			s.tcp.Add(1)
		}
		answer(w, q)
	})
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	for _, srv := range []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: listener, Handler: handler}} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		wg.Go(func() { srv.ActivateAndServe() })
		<-started
		t.Cleanup(func() { srv.Shutdown() })
	}
	return s
}

// reply answers with records in the form of a zone file, and perhaps changes the answer.
func reply(t testing.TB, w dns.ResponseWriter, q *dns.Msg, change func(*dns.Msg), records ...string) {
	m := new(dns.Msg).SetReply(q)
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if rr.Header().Rrtype == dns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	if change != nil {
		change(m)
	}
	w.WriteMsg(m)
}

func client(t testing.TB, c Config) *Client {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second
	}
	got, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAnswersAreReadByType(t *testing.T) {
	records := map[string][]string{
		"A a.example.":             {"a.example. 60 A 192.0.2.1", "a.example. 60 A 192.0.2.2", "other.example. 60 A 192.0.2.9"},
		"AAAA a.example.":          {"a.example. 60 AAAA 2001:db8::1"},
		"MX a.example.":            {"a.example. 60 MX 10 MX1.A.example.", "a.example. 60 MX 20 mx2.a.example."},
		"MX null.example.":         {"null.example. 60 MX 0 ."},
		"TXT a.example.":           {`a.example. 60 TXT "v=STSv1; " "id=\"1\\\065"`},
		"TLSA _25._tcp.a.example.": {"_25._tcp.a.example. 60 TLSA 3 1 1 00ff"},
		"A alias.example.":         {"alias.example. 60 CNAME b.example.", "b.example. 60 CNAME a.example.", "a.example. 60 A 192.0.2.1"},
		"CNAME alias.example.":     {"alias.example. 60 CNAME b.example."},
		"AAAA alias.example.":      {"alias.example. 60 CNAME a.example."},
	}
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		reply(t, w, q, nil, records[dns.Type(q.Question[0].Qtype).String()+" "+strings.ToLower(q.Question[0].Name)]...)
	})
	c := client(t, Config{Servers: []netip.AddrPort{s.addr}})
	for _, test := range []struct {
		name string
		t    Type
		want string
	}{
		{"a.example", A, "{a.example false [192.0.2.1 192.0.2.2] [] [] []}"},
		{"A.Example.", A, "{a.example false [192.0.2.1 192.0.2.2] [] [] []}"},
		{"a.example", AAAA, "{a.example false [2001:db8::1] [] [] []}"},
		{"a.example", MX, "{a.example false [] [{10 mx1.a.example} {20 mx2.a.example}] [] []}"},
		{"null.example", MX, "{null.example false [] [{0 }] [] []}"},
		{"a.example", TXT, `{a.example false [] [] [v=STSv1; id="1\A] []}`},
		{"_25._tcp.a.example", TLSA, "{_25._tcp.a.example false [] [] [] [{3 1 1 [0 255]}]}"},
		{"alias.example", A, "{a.example false [192.0.2.1] [] [] []}"},
		{"alias.example", CNAME, "{b.example false [] [] [] []}"},
		{"alias.example", AAAA, "{a.example false [] [] [] []}"},
		{"nothing.example", A, "{nothing.example false [] [] [] []}"},
	} {
		a, err := c.Lookup(t.Context(), test.name, test.t)
		if got := fmt.Sprint(a); err != nil || got != test.want {
			t.Errorf("%s %s: %s, %v; want %s", test.t, test.name, got, err, test.want)
		}
	}
}

func TestOnlyATrustedServerSaysThatAnAnswerIsSecure(t *testing.T) {
	var asked atomic.Bool
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Store(q.AuthenticatedData && q.IsEdns0() != nil)
		reply(t, w, q, func(m *dns.Msg) { m.AuthenticatedData = true }, "a.example. 60 A 192.0.2.1")
	})
	if a, err := client(t, Config{Servers: []netip.AddrPort{s.addr}}).Lookup(t.Context(), "a.example", A); err != nil || !a.Secure || !asked.Load() {
		t.Error("loopback:", a, err, asked.Load())
	}
	msg := new(dns.Msg).SetQuestion("a.example.", dns.TypeA)
	msg.AuthenticatedData = true
	for _, trusted := range []bool{false, true} {
		if a, _, err := read(msg, question{"a.example", A}, trusted); err != nil || a.Secure != trusted {
			t.Error(trusted, a, err)
		}
	}
	msg.AuthenticatedData = false
	if a, _, _ := read(msg, question{"a.example", A}, true); a.Secure {
		t.Error("secure without AD")
	}
}

func TestALongAnswerComesByTCP(t *testing.T) {
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if w.RemoteAddr().Network() == "udp" {
			reply(t, w, q, func(m *dns.Msg) { m.Truncated = true }, "a.example. 60 A 192.0.2.9")
			return
		}
		var all []string
		for i := range 200 {
			all = append(all, fmt.Sprintf("a.example. 60 A 192.0.2.%d", i))
		}
		reply(t, w, q, nil, all...)
	})
	a, err := client(t, Config{Servers: []netip.AddrPort{s.addr}}).Lookup(t.Context(), "a.example", A)
	if err != nil || len(a.Addrs) != maxRecords || s.udp.Load() != 1 || s.tcp.Load() != 1 {
		t.Error(len(a.Addrs), err, s.udp.Load(), s.tcp.Load())
	}
}

func TestAServerThatDoesNotKnowEDNS(t *testing.T) {
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if q.IsEdns0() != nil {
			reply(t, w, q, func(m *dns.Msg) { m.Rcode, m.Question = dns.RcodeFormatError, nil })
			return
		}
		reply(t, w, q, nil, "a.example. 60 A 192.0.2.1")
	})
	a, err := client(t, Config{Servers: []netip.AddrPort{s.addr}}).Lookup(t.Context(), "a.example", A)
	if err != nil || len(a.Addrs) != 1 || s.udp.Load() != 2 {
		t.Error(a, err, s.udp.Load())
	}
}

func TestErrorsAreOfTheRightKind(t *testing.T) {
	rcode := func(code int) func(dns.ResponseWriter, *dns.Msg) {
		return func(w dns.ResponseWriter, q *dns.Msg) { reply(t, w, q, func(m *dns.Msg) { m.Rcode = code }) }
	}
	for name, c := range map[string]struct {
		answer func(dns.ResponseWriter, *dns.Msg)
		want   error
		asked  int32
	}{
		"NXDOMAIN": {rcode(dns.RcodeNameError), ErrNotFound, 1},
		"SERVFAIL": {rcode(dns.RcodeServerFailure), ErrTemporary, 2},
		"REFUSED":  {rcode(dns.RcodeRefused), ErrTemporary, 2},
		"loop": {func(w dns.ResponseWriter, q *dns.Msg) {
			reply(t, w, q, nil, "a.example. 60 CNAME b.example.", "b.example. 60 CNAME a.example.")
		}, ErrTemporary, 2},
		"another question": {func(w dns.ResponseWriter, q *dns.Msg) {
			reply(t, w, q, func(m *dns.Msg) { m.Question[0].Name = "evil.example." }, "a.example. 60 A 192.0.2.1")
		}, ErrTemporary, 2},
		"no response": {func(w dns.ResponseWriter, q *dns.Msg) {
			reply(t, w, q, func(m *dns.Msg) { m.Response = false }, "a.example. 60 A 192.0.2.1")
		}, ErrTemporary, 2},
		"garbage": {func(w dns.ResponseWriter, q *dns.Msg) {
			w.Write([]byte{byte(q.Id >> 8), byte(q.Id), 0x80, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0xc0, 0})
		}, ErrTemporary, 2},
		"cut off by TCP too": {func(w dns.ResponseWriter, q *dns.Msg) {
			reply(t, w, q, func(m *dns.Msg) { m.Truncated = true })
		}, ErrTemporary, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, c.answer)
			a, err := client(t, Config{Servers: []netip.AddrPort{s.addr}, Timeout: time.Second}).Lookup(t.Context(), "a.example", A)
			if !errors.Is(err, c.want) || s.udp.Load() != c.asked {
				t.Errorf("%v %v, asked %d times", a, err, s.udp.Load())
			}
		})
	}
	if _, err := client(t, Config{Servers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}}).Lookup(t.Context(), "a b", A); !errors.Is(err, ErrName) {
		t.Error(err)
	}
}

func TestTheNextServerIsAsked(t *testing.T) {
	bad := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		reply(t, w, q, func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure })
	})
	good := serve(t, func(w dns.ResponseWriter, q *dns.Msg) { reply(t, w, q, nil, "a.example. 60 A 192.0.2.1") })
	a, err := client(t, Config{Servers: []netip.AddrPort{bad.addr, good.addr}}).Lookup(t.Context(), "a.example", A)
	if err != nil || len(a.Addrs) != 1 || bad.udp.Load() != 1 {
		t.Error(a, err)
	}
}

func TestAnswersAreKeptAsLongAsTheyMay(t *testing.T) {
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		switch q.Question[0].Name {
		case "zero.example.":
			reply(t, w, q, nil, "zero.example. 0 A 192.0.2.1")
		case "none.example.":
			reply(t, w, q, func(m *dns.Msg) { m.Rcode = dns.RcodeNameError }, "example. 60 SOA a. b. 1 2 3 4 60")
		case "fails.example.":
			reply(t, w, q, func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure })
		case "large.example.":
			reply(t, w, q, nil, `large.example. 60 TXT "`+strings.Repeat("x", 250)+`" `+strings.Repeat(`"`+strings.Repeat("y", 250)+`" `, 19))
		default:
			reply(t, w, q, nil, q.Question[0].Name+" 60 A 192.0.2.1")
		}
	})
	for _, test := range []struct {
		name string
		t    Type
		size int
		want int32
	}{
		{"a.example", A, 0, 1}, {"a.example", A, -1, 2}, {"zero.example", A, 0, 2}, {"none.example", A, 0, 1}, {"fails.example", A, 0, 2},
		{"large.example", TXT, 0, 2},
	} {
		s.udp.Store(0)
		c := client(t, Config{Servers: []netip.AddrPort{s.addr}, CacheSize: test.size, Tries: 1})
		a1, err1 := c.Lookup(t.Context(), test.name, test.t)
		a2, err2 := c.Lookup(t.Context(), strings.ToUpper(test.name), test.t)
		if fmt.Sprint(a1) != fmt.Sprint(a2) || fmt.Sprint(err1) != fmt.Sprint(err2) || s.udp.Load() != test.want {
			t.Errorf("%s %d: %v %v %v %v, asked %d times", test.name, test.size, a1, err1, a2, err2, s.udp.Load())
		}
	}
}

func TestALookupEndsWithItsContext(t *testing.T) {
	s := serve(t, func(dns.ResponseWriter, *dns.Msg) {}) // silence
	gone := errors.New("gone")
	ctx, stop := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { stop(gone) })
	begin := time.Now()
	_, err := client(t, Config{Servers: []netip.AddrPort{s.addr}, Timeout: time.Minute}).Lookup(ctx, "a.example", A)
	if !errors.Is(err, gone) || time.Since(begin) > 30*time.Second {
		t.Error(err, time.Since(begin))
	}
	_, err = client(t, Config{Servers: []netip.AddrPort{s.addr}, Timeout: 10 * time.Millisecond, Tries: 1}).Lookup(t.Context(), "a.example", A)
	if !errors.Is(err, ErrTemporary) {
		t.Error(err)
	}
}

func TestServersComeFromResolvConf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	for _, c := range []struct{ text, want string }{
		{"nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch x\n", "[192.0.2.1:53 [2001:db8::1]:53]"},
		{"", "[127.0.0.1:53]"},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o666); err != nil {
			t.Fatal(err)
		}
		if got, err := systemServers(file); fmt.Sprint(got) != c.want || err != nil {
			t.Errorf("%q: %v %v", c.text, got, err)
		}
	}
	if got, err := systemServers(file + "-none"); fmt.Sprint(got) != "[127.0.0.1:53]" || err != nil {
		t.Error(got, err)
	}
}
