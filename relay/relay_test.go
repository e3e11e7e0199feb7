package relay_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/relay/mtasts"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
	"github.com/caddy-esmtp/esmtp/smtpclient"
	"github.com/caddy-esmtp/esmtp/spool"
)

// public stands for servers on the Internet; the test leads them to loopback.
var public = []string{"8.8.8.8", "8.8.4.4", "9.9.9.9"}

func TestDeliversByMX(t *testing.T) {
	hop := new(nextHops).serve(t, nil, false)
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
	r.put(text, item("ann@example.org ENVID=x1", "bob@example.net", "eve@example.net NOTIFY=NEVER"))
	a := r.run(1)[0]
	got := hop.letters()
	if len(got) != 1 || got[0].body != text || got[0].from != "ann@example.org" || fmt.Sprint(got[0].to) != "[bob@example.net eve@example.net NOTIFY=NEVER]" {
		t.Errorf("next hop got %+v", got)
	}
	if !strings.Contains(got[0].params, "ENVID=x1") || !strings.Contains(got[0].params, "SIZE=") {
		t.Errorf("MAIL had the parameters %q", got[0].params)
	}
	if a.Accepted != 2 || a.Host != "mx1.example.net" || a.Hop != "mx://example.net:25" || r.left() != "" {
		t.Errorf("got %+v, and in the spool %q", a, r.left())
	}
}

// O33: a network failure leads to the next host; a permanent refusal is for good, whatever other hosts there are; temporary ones are tried
// again later, recipient by recipient.
func TestRecipientsAreSortedByWhatTheHopSays(t *testing.T) {
	for _, test := range []struct {
		name           string
		servers        []string // "" refuses connections, "ok" takes all
		first          *nextHops
		accepted, fail int
		later          int
		dials          int
		second         int // messages at the second host
	}{
		{name: "first host", servers: []string{"first", "second"}, accepted: 3, dials: 1},
		{name: "network failure: next host", servers: []string{"", "second"}, accepted: 3, dials: 2, second: 1},
		{name: "greeting refuses: next host", servers: []string{"first", "second"}, first: &nextHops{connect: func() esmtp.Reply { return esmtp.Say(554, "no") }},
			accepted: 3, dials: 2, second: 1},
		{name: "greeting is busy: next host", servers: []string{"first", "second"}, first: &nextHops{connect: func() esmtp.Reply { return esmtp.Say(421, "busy") }},
			accepted: 3, dials: 2, second: 1},
		{name: "recipients differ", servers: []string{"first", "second"}, first: &nextHops{rcpt: func(to esmtp.Path) esmtp.Reply {
			switch to.Local() {
			case "a":
				return esmtp.Deny(550, 5, 1, 1, "unknown")
			case "b":
				return esmtp.Deny(450, 4, 2, 0, "later")
			}
			return esmtp.Reply{}
		}}, accepted: 1, fail: 1, later: 1, dials: 1},
		{name: "message refused", servers: []string{"first", "second"}, first: &nextHops{eom: func(int) esmtp.Reply { return esmtp.Deny(554, 5, 7, 1, "spam") }}, fail: 3, dials: 1},
		{name: "message deferred", servers: []string{"first", "second"}, first: &nextHops{eom: func(int) esmtp.Reply { return esmtp.Deny(451, 4, 7, 1, "grey") }}, later: 3, dials: 1},
		{name: "lost in the end: perhaps it has arrived", servers: []string{"first", "second"}, first: &nextHops{eom: func(int) esmtp.Reply { return esmtp.Drop }}, later: 3, dials: 1},
		{name: "all dead", servers: []string{"", ""}, later: 3, dials: 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			first := test.first
			if first == nil {
				first = new(nextHops)
			}
			first.serve(t, nil, false)
			second := new(nextHops).serve(t, nil, false)
			addrs := map[string]string{"first": first.addr, "second": second.addr, "": ""}
			r := newRig(t, mx("example.net", public[:2]...), map[string]string{public[0]: addrs[test.servers[0]], public[1]: addrs[test.servers[1]]})
			r.Schedule.Retry = []time.Duration{time.Hour}
			r.put(text, item("ann@example.org", "a@example.net", "b@example.net", "c@example.net"))
			a := r.run(1)[0]
			if a.Accepted != test.accepted || a.Failed != test.fail || a.Later != test.later {
				t.Errorf("got %d accepted, %d failed, %d later; want %d, %d, %d (%s)", a.Accepted, a.Failed, a.Later, test.accepted, test.fail, test.later, a.Reply)
			}
			if n := len(r.dials()); n != test.dials {
				t.Errorf("got %d connections, want %d", n, test.dials)
			}
			if n := len(second.letters()); n != test.second {
				t.Errorf("the second host got %d messages, want %d", n, test.second)
			}
			spooled := 0
			for events := r.spooled(); len(events) > 0; {
				if e := <-events; e.Kind == spool.EventSpooled {
					spooled++
				}
			}
			if want := 1 + min(test.fail, 1); spooled != want {
				t.Errorf("got %d messages spooled, want %d: a report if something failed", spooled, want)
			}
		})
	}
}

// Only those that remain are tried again, and the report names only those that failed.
func TestRetriesWhatRemains(t *testing.T) {
	tries := 0
	hop := &nextHops{}
	hop.rcpt = func(to esmtp.Path) esmtp.Reply {
		if to.Local() != "slow" {
			return esmtp.Reply{}
		}
		if tries++; tries < 3 {
			return esmtp.Deny(450, 4, 2, 0, "later")
		}
		return esmtp.Reply{}
	}
	hop.serve(t, nil, false)
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
	r.put(text, item("ann@example.org", "fast@example.net", "slow@example.net"))
	list := r.run(3)
	if list[0].Accepted != 1 || list[0].Later != 1 || list[1].Later != 1 || list[1].Accepted != 0 || list[2].Accepted != 1 {
		t.Errorf("got %+v", list)
	}
	got := hop.letters()
	if len(got) != 2 || fmt.Sprint(got[0].to, got[1].to) != "[fast@example.net] [slow@example.net]" || r.left() != "" {
		t.Errorf("next hop got %+v, left %q", got, r.left())
	}
	if !list[1].Reused || len(r.dials()) != 1 {
		t.Errorf("got %d connections, want one that is used again", len(r.dials()))
	}
}

// A bounce goes to the sender, from nobody, and nobody gets a bounce of it.
func TestReportsFailures(t *testing.T) {
	hop := new(nextHops)
	hop.rcpt = func(to esmtp.Path) esmtp.Reply {
		if to.Domain() == "example.net" {
			return esmtp.Deny(550, 5, 1, 1, "unknown here")
		}
		return esmtp.Reply{}
	}
	hop.serve(t, nil, false)
	d := mx("example.net", public[0])
	for k, v := range mx("example.org", public[0]) {
		d[k] = v
	}
	r := newRig(t, d, map[string]string{public[0]: hop.addr})
	r.put(text, item("ann@example.org", "bob@example.net", "eve@example.net NOTIFY=NEVER"))
	r.put(text, item("", "bob@example.net"))
	r.run(3)
	got := hop.letters()
	if len(got) != 1 || got[0].from != "" || !strings.HasPrefix(got[0].to[0], "ann@example.org") {
		t.Fatalf("got %+v, want one report to ann", got)
	}
	for _, want := range []string{"Final-Recipient: rfc822;bob@example.net", "Status: 5.1.1", "Action: failed", "mx1.example.net", "unknown here", "Subject: hi"} {
		if !strings.Contains(strings.ReplaceAll(got[0].body, "; ", ";"), want) {
			t.Errorf("the report lacks %q:\n%s", want, got[0].body)
		}
	}
	if strings.Contains(got[0].body, "eve@") || r.left() != "" {
		t.Errorf("the report names who never wants one; left %q", r.left())
	}
}

// Recipients that failed before the message was queued are reported, and nothing is tried for them.
func TestReportsWhatFailedBefore(t *testing.T) {
	hop := new(nextHops).serve(t, nil, false)
	r := newRig(t, mx("example.org", public[0]), map[string]string{public[0]: hop.addr})
	it := item("ann@example.org", "bob@example.net")
	it.Recipients[0].State, it.Recipients[0].Reply = spool.Failed, "550 5.2.2 mailbox / is full"
	r.put(text, it)
	r.run(2)
	got := hop.letters()
	if len(got) != 1 || !strings.Contains(got[0].body, "5.2.2") || !strings.Contains(got[0].body, "is full") || len(r.dials()) != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestExpiresWithAReport(t *testing.T) {
	d := mx("example.net", public[1])
	for k, v := range mx("example.org", public[0]) {
		d[k] = v
	}
	hop := new(nextHops).serve(t, nil, false)
	r := newRig(t, d, map[string]string{public[0]: hop.addr, public[1]: ""})
	it := item("ann@example.org", "bob@example.net")
	it.Expires = time.Now().Add(50 * time.Millisecond)
	r.put(text, it)
	for len(hop.letters()) == 0 {
		r.run(1)
	}
	body := hop.letters()[0].body
	for _, want := range []string{"Action: failed", "Status: 4.4.1", "no time left", "Diagnostic-Code: x-local; 451 4.4.1 no answer"} {
		if !strings.Contains(body, want) {
			t.Errorf("the report lacks %q:\n%s", want, body)
		}
	}
	if r.left() != "" {
		t.Errorf("left %q", r.left())
	}
}

// RFC 3464 §2.3.6: a reply that was not for good is quoted as it was when time runs out, in the report and to whoever asks the item or the log. Who counts
// bounces must not take it for an address that doesn't exist.
func TestExpiryQuotesWhatWasSaid(t *testing.T) {
	for _, test := range []struct {
		said   esmtp.Reply
		status string
		quote  string
		kept   string
	}{
		{esmtp.Deny(451, 4, 1, 1, "not known for now"), "4.1.1", "451 4.1.1 not known for now", "451 4.1.1 not known for now"},
		{esmtp.Reply{Code: 451, Enh: esmtp.NoEnhanced, Lines: []string{"not now"}}, "5.4.7", "451 not now", "451 4.0.0 not now"},
	} {
		t.Run(test.quote, func(t *testing.T) {
			hop := &nextHops{rcpt: func(to esmtp.Path) esmtp.Reply {
				if to.Domain() == "example.net" {
					return test.said
				}
				return esmtp.Reply{}
			}}
			hop.serve(t, nil, false)
			d := mx("example.net", public[0])
			for k, v := range mx("example.org", public[0]) {
				d[k] = v
			}
			r := newRig(t, d, map[string]string{public[0]: hop.addr})
			it := item("ann@example.org", "bob@example.net")
			it.Expires = time.Now()
			r.put(text, it)
			a := r.run(2)[0]
			if a.Failed != 1 || a.Reports != 1 || a.Reply != test.kept || a.Item.Recipients[0].Reply != test.kept || a.Item.LastError != test.kept {
				t.Errorf("got %+v of %+v", a, a.Item)
			}
			body := hop.letters()[0].body
			for _, want := range []string{
				"Action: failed\r\n", "Status: " + test.status + "\r\n", "Diagnostic-Code: smtp; " + test.quote + "\r\n", "mx1.example.net said: ", "no time left",
			} {
				if !strings.Contains(body, want) {
					t.Errorf("the report lacks %q:\n%s", want, body)
				}
			}
		})
	}
}

// Where there was no room for the report of an expiry it is made later; a 4xx of a layer above is none.
func TestWhatFailedBeforeMayHaveExpired(t *testing.T) {
	for expires, want := range map[time.Duration]bool{0: true, time.Hour: false} {
		hop := new(nextHops).serve(t, nil, false)
		r := newRig(t, mx("example.org", public[0]), map[string]string{public[0]: hop.addr})
		it := item("ann@example.org", "bob@example.net")
		it.Recipients[0].State, it.Recipients[0].Reply = spool.Failed, "452 4.2.2 full"
		it.Expires = time.Now().Add(expires)
		r.put(text, it)
		r.run(2)
		body := hop.letters()[0].body
		if strings.Contains(body, "no time left") != want || !strings.Contains(body, "Status: 4.2.2") {
			t.Errorf("expires in %v, got\n%s", expires, body)
		}
	}
}

// O34: an item's own schedule is used up, and then it is frozen.
func TestOwnScheduleEndsFrozen(t *testing.T) {
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: ""})
	it := item("ann@example.org", "bob@example.net")
	it.Retry = []time.Duration{time.Millisecond, time.Millisecond, relay.Stop}
	id := r.put(text, it)[0]
	r.run(3)
	if got, err := r.Spool.Get(context.Background(), id); err != nil || got.State != spool.Frozen || got.Attempts != 3 {
		t.Errorf("got %+v, %v; want it frozen after 3 attempts", got, err)
	}
}

func TestWarnsOfADelay(t *testing.T) {
	d := mx("example.net", public[1])
	for k, v := range mx("example.org", public[0]) {
		d[k] = v
	}
	hop := new(nextHops).serve(t, nil, false)
	r := newRig(t, d, map[string]string{public[0]: hop.addr, public[1]: ""})
	r.Schedule = relay.Schedule{Retry: []time.Duration{5 * time.Millisecond}, Warn: time.Nanosecond}
	r.put(text, item("ann@example.org", "bob@example.net"))
	r.run(8)
	if got := hop.letters(); len(got) != 1 || !strings.Contains(got[0].body, "Action: delayed") {
		t.Errorf("got %d reports, want one of the delay: %+v", len(got), got)
	}
}

// RFC 3461 §5.2.2: who asked to hear of success hears that a server took it that will not tell.
func TestReportsRelayedWhereDSNEnds(t *testing.T) {
	hop := &nextHops{ehlo: without("DSN")}
	hop.serve(t, nil, false)
	d := mx("example.net", public[0])
	for k, v := range mx("example.org", public[0]) {
		d[k] = v
	}
	r := newRig(t, d, map[string]string{public[0]: hop.addr})
	r.put(text, item("ann@example.org", "bob@example.net NOTIFY=SUCCESS", "eve@example.net"))
	r.run(2)
	got := hop.letters()
	if len(got) != 2 || !strings.Contains(got[1].body, "Action: relayed") || strings.Contains(got[1].body, "eve@") {
		t.Errorf("got %+v", got)
	}
}

func TestDeliverByEndsInTime(t *testing.T) {
	d := mx("example.net", public[1])
	for k, v := range mx("example.org", public[0]) {
		d[k] = v
	}
	hop := new(nextHops).serve(t, nil, false)
	r := newRig(t, d, map[string]string{public[0]: hop.addr, public[1]: ""})
	r.Schedule.Retry = []time.Duration{100 * time.Millisecond}
	r.put(text, item("ann@example.org BY=1;R", "bob@example.net"))
	for len(hop.letters()) == 0 {
		r.run(1)
	}
	if body := hop.letters()[0].body; !strings.Contains(body, "Action: failed") || r.left() != "" {
		t.Errorf("left %q, got\n%s", r.left(), body)
	}
}

func TestLMTPAndOrderedHops(t *testing.T) {
	hop := new(nextHops).serve(t, nil, true)
	r := newRig(t, dns{}, nil)
	it := item("ann@example.org", "bob@example.net")
	it.NextHops = []string{"127.0.0.1:1", "lmtp://" + hop.addr}
	it.Route = it.NextHops[0]
	r.put(text, it)
	if a := r.run(1)[0]; a.Accepted != 1 || a.Hop != "lmtp://"+hop.addr || len(hop.letters()) != 1 {
		t.Errorf("got %+v", a)
	}
}

// Where TLS is only good to have, a broken handshake is followed by the clear; where it is required, by nothing.
func TestTLSLevels(t *testing.T) {
	cert, _ := esmtptest.Certificate(t, "mx1.example.net")
	for _, test := range []struct {
		name     string
		level    tlspolicy.Level
		broken   bool
		accepted int
		tls      bool
	}{
		{"opportunistic", tlspolicy.Opportunistic, false, 1, true},
		{"opportunistic, handshake fails", tlspolicy.Opportunistic, true, 1, false},
		{"required, unverified", tlspolicy.Required, false, 1, true},
		{"required, handshake fails", tlspolicy.Required, true, 0, false},
		{"verified, and nobody vouches for it", tlspolicy.Verified, false, 0, false},
		{"none", tlspolicy.None, false, 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := tlsConfig(cert)
			if test.broken {
				config = brokenTLS()
			}
			hop := new(nextHops).serve(t, config, false)
			r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
			r.TLS = &tlspolicy.Policies{NoDANE: true}
			r.Level = test.level
			r.Schedule.Retry = []time.Duration{time.Hour}
			r.put(text, item("ann@example.org", "bob@example.net"))
			a := r.run(1)[0]
			if a.Accepted != test.accepted || len(hop.letters()) != test.accepted {
				t.Fatalf("got %d accepted, want %d: %s", a.Accepted, test.accepted, a.Reply)
			}
			if test.accepted > 0 && hop.letters()[0].tls != test.tls {
				t.Errorf("got TLS %v, want %v", !test.tls, test.tls)
			}
		})
	}
}

// RFC 8689 §3: the sender would rather have it delivered than protected as the receiving domain asks for; the operator's own level holds.
func TestTLSRequiredNo(t *testing.T) {
	cert, _ := esmtptest.Certificate(t, "mx1.example.net")
	for _, test := range []struct {
		name     string
		level    tlspolicy.Level
		params   string
		waives   bool
		accepted int
	}{
		{"the policy holds", tlspolicy.Opportunistic, "", false, 0},
		{"waived", tlspolicy.Opportunistic, "", true, 1},
		{"waived, and required", tlspolicy.Opportunistic, " REQUIRETLS", true, 0},
		{"waived, but not by the operator", tlspolicy.Verified, "", true, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			hop := new(nextHops).serve(t, tlsConfig(cert), false)
			d := mx("example.net", public[0])
			r := newRig(t, d, map[string]string{public[0]: hop.addr})
			cache := mtasts.NewMemory(10)
			policy := mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"elsewhere.example"}, MaxAge: time.Hour}
			if err := cache.Put(t.Context(), "example.net", mtasts.Entry{Policy: policy, Expires: time.Now().Add(time.Hour)}); err != nil {
				t.Fatal(err)
			}
			r.TLS = &tlspolicy.Policies{NoDANE: true, STS: &mtasts.Finder{Resolver: d, Cache: cache}}
			r.Level = test.level
			r.Schedule.Retry = []time.Duration{time.Hour}
			it := item("ann@example.org"+test.params, "bob@example.net")
			it.WaivesTLS = test.waives
			r.put(text, it)
			if a := r.run(1)[0]; a.Accepted != test.accepted || len(hop.letters()) != test.accepted {
				t.Errorf("got %d accepted, want %d: %s", a.Accepted, test.accepted, a.Reply)
			}
		})
	}
}

// What is made of a message that asks for TLS all the way asks for it too, whoever it is from; and so does the report about it, without the body (RFC 8689 §5).
func TestTheNeedForTLSHoldsForAllThatComesOfAMessage(t *testing.T) {
	d := mx("example.net", public[0])
	maps.Copy(d, mx("example.org", public[1]))
	for _, from := range []string{"", "list@example.org"} {
		hop := new(nextHops).serve(t, nil, false)
		r := newRig(t, d, map[string]string{public[0]: hop.addr, public[1]: ""})
		r.Schedule.Retry = []time.Duration{time.Hour}
		it := item(from, "bob@example.net")
		it.Needs |= spool.NeedsRequireTLS
		r.put(text, it)
		if a := r.run(1)[0]; a.Accepted != 0 || a.Failed != 1 || len(hop.letters()) != 0 {
			t.Errorf("%q: got %+v", from, a)
		}
		left := r.left()
		if from == "" {
			if left != "" {
				t.Errorf("left is %s", left)
			}
			continue
		}
		items, _, err := r.Spool.List(t.Context(), spool.Filter{})
		if err != nil || len(items) != 1 || !strings.Contains(items[0].Sender.Params, "REQUIRETLS") {
			t.Fatalf("got %s, %v", left, err)
		}
		body, err := r.Spool.OpenBody(t.Context(), items[0])
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(body)
		body.Close()
		if err != nil || bytes.Contains(content, []byte("line\r\n")) || !bytes.Contains(content, []byte("Subject: hi")) {
			t.Errorf("got %v\n%s", err, content)
		}
	}
}

func TestHooksDecide(t *testing.T) {
	hop := &nextHops{rcpt: func(to esmtp.Path) esmtp.Reply { return esmtp.Deny(550, 5, 7, 1, "we know you too well") }}
	hop.serve(t, nil, false)
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
	r.Schedule.Retry = []time.Duration{time.Hour}
	asked := make(chan struct{}, 10)
	r.BeforeAttempt = func(it *spool.Item) relay.Decision {
		asked <- struct{}{}
		switch it.Recipients[0].Address {
		case "frozen@example.net":
			return relay.Decision{Action: relay.Freeze, Reason: "hm"}
		case "removed@example.net":
			return relay.Decision{Action: relay.Remove}
		case "delayed@example.net":
			return relay.Decision{Action: relay.Delay, At: time.Now().Add(time.Hour)}
		}
		return relay.Decision{}
	}
	r.OnFailure = func(it *spool.Item, f relay.Failure) relay.Fate {
		if f.Recipient.Local() == "done" {
			return relay.Done
		}
		if f.Host != "mx1.example.net" || f.Reply.Code != 550 {
			t.Errorf("got %+v", f)
		}
		return relay.Later
	}
	for _, name := range []string{"frozen", "removed", "delayed", "later", "done"} {
		r.put(text, item("ann@example.org", name+"@example.net"))
	}
	r.run(2)
	for len(asked) < 5 {
		r.run(0)
		time.Sleep(time.Millisecond)
	}
	want := "frozen frozen@example.net:remaining; queued delayed@example.net:remaining; queued later@example.net:remaining"
	if got := r.left(); got != want {
		t.Errorf("left %q, want %q", got, want)
	}
}

// O34, O43: many messages to one destination share connections, and no more of them than are allowed.
func TestConnectionsPerRouteAreBounded(t *testing.T) {
	hop := new(nextHops).serve(t, nil, false)
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
	r.PerRoute = 3
	const n = 200
	for i := range n {
		r.put(text, item("ann@example.org", fmt.Sprintf("u%d@example.net", i)))
	}
	r.run(n)
	hop.mu.Lock()
	defer hop.mu.Unlock()
	if hop.sessions > 6 || len(hop.got) != n {
		t.Errorf("got %d messages over %d connections, want %d over few", len(hop.got), hop.sessions, n)
	}
}

// A stop in the middle of an attempt loses nothing.
func TestStopLeavesTheItemInTheSpool(t *testing.T) {
	block := make(chan struct{})
	hop := &nextHops{eom: func(int) esmtp.Reply { <-block; return esmtp.Reply{} }}
	hop.serve(t, nil, false)
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
	r.StopTime = 50 * time.Millisecond
	r.put(text, item("ann@example.org", "bob@example.net"))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	for r.Active() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := r.left(); got != "queued bob@example.net:remaining" {
		t.Errorf("left %q", got)
	}
	close(block)
}

// An attempt that is being made when Run is told to end comes to its end.
func TestAttemptsGoOnWhenRunEnds(t *testing.T) {
	begun, block := make(chan struct{}), make(chan struct{})
	hop := &nextHops{eom: func(int) esmtp.Reply { close(begun); <-block; return esmtp.Reply{} }}
	hop.serve(t, nil, false)
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
	r.put(text, item("ann@example.org", "bob@example.net"))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	<-begun
	cancel()
	select {
	case err := <-done:
		close(block)
		t.Fatalf("Run ended before the attempt, with %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(block)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := r.left(); got != "" || len(hop.letters()) != 1 {
		t.Errorf("left %q; the next hop has %d", got, len(hop.letters()))
	}
}

// A smarthost takes what has no other way, with a login for that hop alone.
func TestLogsInAtASmarthost(t *testing.T) {
	users := make(chan string, 1)
	srv := &esmtp.Server{Hostname: "smart.example", AllowInsecureAuth: true, NewHandler: func(*esmtp.Session) esmtp.Handler { return &smarthost{users: users} }}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- srv.Serve(l) }()
	defer func() {
		srv.Close()
		srv.Shutdown(context.Background())
		<-done
	}()
	r := newRig(t, dns{}, nil)
	hop, err := route.ParseHop("ann@" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	r.NextHops = []route.Hop{hop}
	r.Auth = func(h route.Hop) *smtpclient.Auth {
		if h.User == "" {
			return nil
		}
		return &smtpclient.Auth{User: h.User, Password: "secret", AllowInsecure: true}
	}
	r.put(text, item("ann@example.org", "bob@example.net"))
	if a := r.run(1)[0]; a.Accepted != 1 {
		t.Fatalf("got %+v", a)
	}
	if user := <-users; user != "ann" {
		t.Errorf("logged in as %q, want ann", user)
	}
}

type smarthost struct {
	esmtp.Default
	users chan string
}

func (h *smarthost) Mechanisms(*esmtp.Session) []string { return []string{"PLAIN"} }

func (h *smarthost) Authenticate(s *esmtp.Session, c esmtp.Credentials) esmtp.Reply {
	if c.User == "ann" && c.Password == "secret" {
		return esmtp.Say(235)
	}
	return esmtp.Reply{}
}

func (h *smarthost) EOM(s *esmtp.Session) esmtp.Reply {
	h.users <- s.User()
	return esmtp.Reply{}
}
