package proxy_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/handler/proxy"
	"github.com/caddy-esmtp/esmtp/relay/resolver"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
)

const one = "MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n\r\nbody\r\n.\r\n"

// The first that answers gets the mail; one that doesn't answer costs its time once, and not each session.
func TestTheFirstHopThatAnswers(t *testing.T) {
	second := new(box).serve(t)
	var dials atomic.Int32
	p := to(t, second)
	p.Hops = append([]route.Hop{hop(t, "192.0.2.99:25")}, p.Hops...)
	p.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "192.0.2.99:") {
			dials.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	p.Timeouts.Connect = 200 * time.Millisecond
	srv := front(t, p, nil)
	for range 5 {
		if out := say(t, srv, "EHLO c.example\r\n"+one+"QUIT\r\n"); strings.Count(out, "\r\n250 2.0.0") != 1 {
			t.Errorf("got %q", out)
		}
	}
	if dials.Load() != 1 || len(second.got()) != 5 {
		t.Errorf("%d attempts to connect to the dead host, %d messages", dials.Load(), len(second.got()))
	}
}

func TestNobodyAnswers(t *testing.T) {
	busy := (&box{answers: map[string]esmtp.Reply{"CONNECT": esmtp.Say(554, "go away")}}).serve(t)
	p := to(t, busy)
	p.Hops = append(p.Hops, hop(t, "127.0.0.1:1"), hop(t, "smtp+unix:///nowhere"), hop(t, "mx://example.net"))
	out := say(t, front(t, p, nil), "EHLO c.example\r\n"+strings.Replace(one, "DATA\r\n\r\nbody\r\n.\r\n", "", 1)+"QUIT\r\n")
	if !strings.Contains(out, "\r\n451 4.4.1 ") || strings.Contains(out, "go away") {
		t.Errorf("got %q", out)
	}
}

// A client that leaves while the next hop thinks doesn't keep anything busy.
func TestTheClientLeavesWhileTheNextHopThinks(t *testing.T) {
	release, asked := make(chan struct{}), make(chan struct{}, 9)
	b := &box{hook: func(verb string, s *esmtp.Session) esmtp.Reply {
		if verb == "RCPT" {
			asked <- struct{}{}
			select {
			case <-s.Context().Done():
			case <-release:
			}
		}
		return esmtp.Reply{}
	}}
	defer close(release)
	b.serve(t)
	c := begin(t, front(t, to(t, b), nil))
	c.cmd("MAIL FROM:<ann@example.org>", "250")
	c.send("RCPT TO:<bob@example.net>\r\n")
	<-asked
	c.conn.Close()
	b.waitClosed(t, 2)
}

// The next hop knows the client, as if it had come by itself.
func TestTheNextHopKnowsTheClient(t *testing.T) {
	for _, forward := range []proxy.Forward{proxy.ForwardNothing, proxy.ForwardXCLIENT, proxy.ForwardXFORWARD, proxy.ForwardPROXY} {
		t.Run(forward.String(), func(t *testing.T) {
			b := &box{trust: true}
			var wrap []func(net.Listener) net.Listener
			if forward == proxy.ForwardPROXY {
				wrap = append(wrap, func(l net.Listener) net.Listener { return &proxyproto.Listener{Listener: l} })
			}
			b.serve(t, wrap...)
			p := to(t, b)
			p.Forward = forward
			out := say(t, front(t, p, nil), "EHLO client.example\r\n"+one+one+"QUIT\r\n")
			got := b.got()
			if len(got) != 2 {
				t.Fatalf("got %q", out)
			}
			for _, l := range got {
				known, helo := l.client == "192.0.2.1:49152", l.helo == "client.example"
				f := l.forwarded
				ok := !known && !helo && !f.Given
				switch forward {
				case proxy.ForwardXCLIENT:
					ok = known && helo
				case proxy.ForwardPROXY:
					ok = known && !helo
				case proxy.ForwardXFORWARD:
					ok = !known && f.Given && f.Addr.String() == "192.0.2.1" && f.Port == 49152 && f.HELO == "client.example" && f.Proto == "ESMTP" && f.Ident != ""
				}
				if !ok {
					t.Errorf("got %+v", l)
				}
			}
		})
	}
}

// What changes about the client makes another connection: nobody speaks in the name of who he was before.
func TestAnotherNameIsAnotherConnection(t *testing.T) {
	b := (&box{trust: true}).serve(t)
	p := to(t, b)
	p.Forward = proxy.ForwardXCLIENT
	say(t, front(t, p, nil), "EHLO first.example\r\n"+one+one+"EHLO second.example\r\n"+one+"QUIT\r\n")
	got := b.got()
	// CONNECT is called again after each XCLIENT
	if len(got) != 3 || got[1].helo != "first.example" || got[2].helo != "second.example" || b.connections() != 3+2 {
		t.Errorf("%d connections, got %+v", b.connections(), got)
	}
}

// Where the next hop has to know the client, nothing goes to one that doesn't listen: it would take the client for us, whom it trusts.
func TestNoXCLIENTNoMail(t *testing.T) {
	b := new(box).serve(t)
	p := to(t, b)
	p.Forward = proxy.ForwardXCLIENT
	if out := say(t, front(t, p, nil), "EHLO c.example\r\nMAIL FROM:<ann@example.org>\r\nQUIT\r\n"); !strings.Contains(out, "\r\n451 4.4.1 ") {
		t.Errorf("got %q", out)
	}
}

// A client that the next hop doesn't want, now that it knows who it is, hears so; the host is not to blame.
func TestXCLIENTIsRefused(t *testing.T) {
	b := &box{trust: true, hook: func(verb string, s *esmtp.Session) esmtp.Reply {
		if verb == "CONNECT" && strings.HasPrefix(s.RemoteAddr().String(), "192.0.2.1:") {
			return esmtp.Deny(554, 5, 7, 1, "listed", "see https://example.net/")
		}
		return esmtp.Reply{}
	}}
	b.serve(t)
	p := to(t, b)
	p.Forward = proxy.ForwardXCLIENT
	for range 2 {
		if out := say(t, front(t, p, nil), "EHLO c.example\r\nMAIL FROM:<ann@example.org>\r\nQUIT\r\n"); !strings.Contains(out, "listed") || strings.Contains(out, "451") {
			t.Errorf("got %q", out)
		}
	}
}

// TLS towards the next hop is as the level says.
func TestTLSTowardsTheNextHop(t *testing.T) {
	broken := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("broken on purpose") }}
	cert, trusting := esmtptest.Certificate(t, "localhost")
	good := &tls.Config{Certificates: []tls.Certificate{cert}}
	for _, test := range []struct {
		name   string
		level  tlspolicy.Level
		config *tls.Config
		want   string // the protocol of the message, "": refused
	}{
		{"opportunistic", tlspolicy.Opportunistic, good, "ESMTPS"},
		{"opportunistic, without", tlspolicy.Opportunistic, nil, "ESMTP"},
		{"opportunistic, broken", tlspolicy.Opportunistic, broken, "ESMTP"},
		{"required", tlspolicy.Required, good, "ESMTPS"},
		{"required, without", tlspolicy.Required, nil, ""},
		{"verified, by nobody", tlspolicy.Verified, good, ""},
		{"verified", tlspolicy.Verified, good, "ESMTPS"},
		{"none", tlspolicy.None, good, "ESMTP"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := (&box{tls: test.config}).serve(t)
			p := to(t, b)
			p.Level = test.level
			if test.name == "verified" {
				p.Hops[0].Host = "localhost"
				p.TLS = &tlspolicy.Policies{RootCAs: trusting.RootCAs, NoDANE: true}
			}
			out := say(t, front(t, p, nil), "EHLO c.example\r\n"+strings.Replace(one, "DATA\r\n\r\nbody\r\n.\r\n", "BDAT 5 LAST\r\n\r\nx\r\n", 1)+"QUIT\r\n")
			got := b.got()
			if test.want == "" && (len(got) != 0 || !strings.Contains(out, "451 4.4.1")) || test.want != "" && (len(got) != 1 || got[0].protocol != test.want) {
				t.Errorf("got %+v, %q", got, out)
			}
		})
	}
}

// dns is a resolver with one domain, whose mail exchangers are on loopback.
type dns struct{}

func (dns) Lookup(_ context.Context, name string, typ resolver.Type) (resolver.Answer, error) {
	switch {
	case name == "example.net" && typ == resolver.MX:
		return resolver.Answer{Name: name, MX: []resolver.Exchange{{Preference: 20, Host: "mx2.example.net"}, {Preference: 10, Host: "mx1.example.net"}}}, nil
	case strings.HasSuffix(name, ".example.net") && typ == resolver.A:
		return resolver.Answer{Name: name, Addrs: []netip.Addr{netip.MustParseAddr("127.0.0." + name[2:3])}}, nil
	}
	return resolver.Answer{Name: name}, nil
}

// A hop can be the mail exchangers of a domain, in their order.
func TestAHopCanBeADomain(t *testing.T) {
	b := new(box).serve(t)
	var mu sync.Mutex
	var dialled []string
	p := &proxy.Proxy{Hops: []route.Hop{hop(t, "mx://example.net")}, Router: &route.Router{Resolver: dns{}, AllowPrivate: true}}
	p.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		dialled = append(dialled, address)
		mu.Unlock()
		if address == "127.0.0.1:25" {
			return nil, errors.New("refused by the test")
		}
		return new(net.Dialer).DialContext(ctx, network, b.addr)
	}
	say(t, front(t, p, nil), "EHLO c.example\r\n"+one+"QUIT\r\n")
	mu.Lock()
	defer mu.Unlock()
	if len(b.got()) != 1 || strings.Join(dialled, " ") != "127.0.0.1:25 127.0.0.2:25 127.0.0.2:25" {
		t.Errorf("%d messages by way of %s", len(b.got()), dialled)
	}
}
