package relay

import (
	"bufio"
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// wantHops compares all that a relay knows of its hops.
func wantHops(t *testing.T, r *Relay, when string, want ...HopStatus) {
	t.Helper()
	if got := r.Hops(); !slices.Equal(got, want) {
		t.Errorf("%s: got %+v, want %+v", when, got, want)
	}
}

// pooled makes a connection that can be kept.
func pooled(t *testing.T) *conn {
	t.Helper()
	client, server := esmtptest.Pipe()
	go func() {
		defer server.Close()
		io.WriteString(server, "220 next.example\r\n")
		for in := bufio.NewScanner(server); in.Scan() && in.Text() != "QUIT"; {
			io.WriteString(server, "250 next.example\r\n")
		}
		io.WriteString(server, "221 bye\r\n")
	}()
	c, err := smtpclient.New(t.Context(), client, &smtpclient.Options{LocalName: "relay.example", TLS: smtpclient.Never})
	if err != nil {
		t.Fatal(err)
	}
	return &conn{Conn: c, made: time.Now()}
}

// Who is at a hop is active, who has to wait for that waits, and when the last has left nothing is said of it.
func TestHopsCountAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, one, two := new(Relay), route.Hop{Host: "one.example", Port: 25}, route.Hop{Host: "two.example", Port: 25}
		ctx, cancel := context.WithCancel(t.Context())
		enter := func(ctx context.Context, hop route.Hop) {
			go r.slots.enter(ctx, hop, 2)
			synctest.Wait()
		}
		wantHops(t, r, "before anything")
		for range 4 {
			enter(t.Context(), one)
		}
		enter(ctx, one)
		enter(t.Context(), two)
		name1, name2 := "smtp://one.example:25", "smtp://two.example:25"
		wantHops(t, r, "all there", HopStatus{Hop: name1, Active: 2, Waiting: 3}, HopStatus{Hop: name2, Active: 1})
		cancel()
		synctest.Wait()
		wantHops(t, r, "one gave up", HopStatus{Hop: name1, Active: 2, Waiting: 2}, HopStatus{Hop: name2, Active: 1})
		r.slots.leave(one)
		r.slots.leave(two)
		wantHops(t, r, "two left", HopStatus{Hop: name1, Active: 2, Waiting: 1})
		for range 3 {
			r.slots.leave(one)
			synctest.Wait()
		}
		wantHops(t, r, "all left")
	})
}

// Connections count as long as they are kept, whatever they have been made for.
func TestHopsCountIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, hop := new(Relay), route.Hop{MX: true, Host: "example.net", Port: 25}
		plain, secure := poolKey{hop: hop}, poolKey{hop: hop, level: tlspolicy.Required, requireTLS: true}
		const name = "mx://example.net:25"
		r.pool.give(plain, pooled(t))
		r.pool.give(plain, pooled(t))
		r.pool.give(secure, pooled(t))
		wantHops(t, r, "all kept", HopStatus{Hop: name, Idle: 3})
		c := r.pool.take(plain)
		wantHops(t, r, "one taken", HopStatus{Hop: name, Idle: 2})
		time.Sleep(maxIdle)
		synctest.Wait()
		wantHops(t, r, "after their time")
		r.pool.give(plain, c)
		wantHops(t, r, "one given back", HopStatus{Hop: name, Idle: 1})
		r.pool.close()
		wantHops(t, r, "closed")
	})
}

// A silent hop is one for as long as it is left alone: then the next attempt tries it, and while it does the others are told a later time.
func TestHopsSayUntilWhenTheyAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, hop := new(Relay), route.Hop{Host: "silent.example", Port: 25}
		const name = "smtp://silent.example:25"
		begun := time.Now()
		r.dead.found(hop, false, 2*time.Minute, begun)
		wantHops(t, r, "silent", HopStatus{Hop: name, SilentUntil: begun.Add(2 * time.Minute)})
		time.Sleep(2 * time.Minute)
		wantHops(t, r, "after its time")
		r.dead.mayTry(hop, time.Now())
		wantHops(t, r, "tried again", HopStatus{Hop: name, SilentUntil: begun.Add(4 * time.Minute)})
		r.dead.found(hop, true, time.Second, time.Now())
		wantHops(t, r, "it answers")
	})
}

// One address is one hop, whoever has named it, and has all that is known of it in one place; hops come in an order that doesn't change.
func TestHopsAreSortedAndEachIsThereOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Relay
		now := time.Now()
		hops := []route.Hop{
			{Path: "/run/smtp.sock"}, {Host: "2001:db8::1", Port: 25}, {Host: "mx.example", Port: 587, User: "ann"}, {Protocol: route.LMTP, Host: "b.example", Port: 24},
			{Host: "192.0.2.1", Port: 25, Untrusted: true}, {Host: "192.0.2.1", Port: 25}, {Protocol: route.SMTPS, Host: "a.example", Port: 465}, {MX: true, Host: "a.example", Port: 25},
		}
		for i, hop := range hops {
			r.slots.enter(t.Context(), hop, 1)
			r.dead.found(hop, false, time.Duration(i+1)*time.Minute, now)
		}
		r.pool.give(poolKey{hop: hops[4]}, pooled(t))
		defer r.pool.close()
		want := "lmtp://b.example:24 mx://a.example:25 smtp+unix:///run/smtp.sock smtp://192.0.2.1:25 smtp://[2001:db8::1]:25 smtp://ann@mx.example:587 smtps://a.example:465"
		for range 10 {
			var names []string
			for _, h := range r.Hops() {
				names = append(names, h.Hop)
				if h.Hop == "smtp://192.0.2.1:25" && (h.Active != 2 || h.Idle != 1 || !h.SilentUntil.Equal(now.Add(6*time.Minute))) {
					t.Errorf("got %+v", h)
				}
			}
			if got := strings.Join(names, " "); got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
		}
	})
}
