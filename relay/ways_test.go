package relay_test

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// hopAt is the hop of an address.
func hopAt(t *testing.T, addr string) route.Hop {
	t.Helper()
	hop, err := route.ParseHop(addr)
	if err != nil {
		t.Fatal(err)
	}
	return hop
}

// A rule without hops leads past the smarthost, to the mail exchangers of the domain, in the TLS that it asks for.
func TestARuleWithoutHopsMeansTheMailExchangers(t *testing.T) {
	cert, _ := esmtptest.Certificate(t, "mx1.example.net")
	for name, test := range map[string]struct {
		to               string
		level            tlspolicy.Level
		exchanger, smart int // messages there
		later            int
	}{
		"required":                 {"bob@example.net", tlspolicy.Required, 1, 0, 0},
		"verified, nobody vouches": {"bob@example.net", tlspolicy.Verified, 0, 0, 1},
		"another domain":           {"bob@example.org", tlspolicy.Verified, 0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			exchanger, smart := new(nextHops).serve(t, tlsConfig(cert), false), new(nextHops).serve(t, nil, false)
			r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: exchanger.addr})
			table, err := route.NewTable([]route.Rule{{Domain: "example.net", TLS: test.level}})
			if err != nil {
				t.Fatal(err)
			}
			r.Table, r.NextHops, r.TLS = table, []route.Hop{hopAt(t, smart.addr)}, &tlspolicy.Policies{NoDANE: true}
			r.Schedule.Retry = []time.Duration{time.Hour}
			r.put(text, item("ann@example.org", test.to))
			a := r.run(1)[0]
			got := exchanger.letters()
			if a.Later != test.later || len(got) != test.exchanger || len(smart.letters()) != test.smart {
				t.Fatalf("got %+v: %d at the mail exchanger, %d at the smarthost", a, len(got), len(smart.letters()))
			}
			if len(got) > 0 && !got[0].tls {
				t.Error("it went in the clear")
			}
		})
	}
}

// A hop with a user for whom there is no password is not tried without one; its mail waits for the login, or goes to the next hop.
func TestAHopWhoseLoginIsGoneIsNotTried(t *testing.T) {
	hop := new(nextHops).serve(t, nil, false)
	for name, auth := range map[string]func(route.Hop) *smtpclient.Auth{
		"nobody knows of logins": nil,
		"this one is not there":  func(route.Hop) *smtpclient.Auth { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, dns{}, nil)
			r.Schedule.Retry, r.Auth = []time.Duration{time.Hour}, auth
			for want, hops := range [][]string{{"ann@" + hop.addr}, {"ann@" + hop.addr, hop.addr}} {
				it := item("ann@example.org", "bob@example.net")
				it.NextHops = hops
				r.put(text, it)
				a := r.run(1)[0]
				if a.Accepted != want || a.Later != 1-want || len(r.dials()) != want || want == 0 && !strings.HasPrefix(a.Reply, "451 4.3.5 the login ") {
					t.Errorf("%q: got %+v, %d connections", hops, a, len(r.dials()))
				}
			}
		})
	}
}
