package relay_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/spool"
)

// silentAt is a next hop that says nothing any more in a session once it was told a verb for the nth time.
func silentAt(t *testing.T, verb string, n int) string {
	t.Helper()
	var mu sync.Mutex
	told := make(map[int]int) // by session
	return scripted(t, func(session int, v string) (string, bool) {
		mu.Lock()
		defer mu.Unlock()
		if v == verb {
			told[session]++
		}
		return "", told[session] >= n
	})
}

// Ten hosts that say nothing, at whatever point, could take all places that there are; those who wait for them stand aside.
func TestASilentHopHoldsUpNobodyElse(t *testing.T) {
	for _, verb := range []string{"", "EHLO", "MAIL", "DATA", "."} {
		t.Run("after "+verb, func(t *testing.T) {
			defer relay.SetPatience(time.Millisecond)()
			silent, other := silentAt(t, verb, 1), new(nextHops).serve(t, nil, false)
			servers := make(map[string]string)
			r := newRig(t, nil, servers)
			r.Concurrency, r.PerRoute, r.StopTime = 4, 2, time.Millisecond
			rules := []route.Rule{{Domain: "other.example", Hops: []route.Hop{hopAt(t, other.addr)}}}
			var items []*spool.Item
			for i := range 10 {
				domain := fmt.Sprintf("s%d.example", i)
				host := fmt.Sprintf("192.0.2.%d", i)
				servers[host] = silent
				rules = append(rules, route.Rule{Domain: domain, Hops: []route.Hop{hopAt(t, host)}})
				items = append(items, item("ann@example.org", "a@"+domain), item("ann@example.org", "b@"+domain))
			}
			var err error
			if r.Table, err = route.NewTable(rules); err != nil {
				t.Fatal(err)
			}
			r.put(text, items...)
			put := make(chan struct{})
			go func() {
				defer close(put)
				eventually(t, "as many as may wait for silent hosts", func() bool { return len(r.dials()) >= r.Concurrency })
				r.put(text, item("ann@example.org", "bob@other.example"))
			}()
			if a := r.run(1)[0]; a.Accepted != 1 || len(other.letters()) != 1 {
				t.Errorf("got %+v", a)
			}
			<-put
		})
	}
}

// Whoever stood aside has a place again, and gives it back.
func TestPlacesAreGivenBack(t *testing.T) {
	defer relay.SetPatience(time.Microsecond)()
	hop := new(nextHops).serve(t, nil, false)
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
	r.Concurrency = 2
	for range 30 {
		r.put(text, item("ann@example.org", "bob@example.net"))
	}
	r.run(30)
	if n := r.Active(); n != 0 {
		t.Errorf("%d places are taken at the end", n)
	}
}

// A reply in the middle of a message that doesn't come costs those a timeout that wait for it already, and nobody after them.
func TestASilentHopInTheMiddleIsLeftAlone(t *testing.T) {
	for _, verb := range []string{"MAIL", "DATA", "."} {
		t.Run("after "+verb, func(t *testing.T) {
			defer relay.SetSlow(20 * time.Millisecond)()
			r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: silentAt(t, verb, 1)})
			r.Schedule.Retry = []time.Duration{time.Hour}
			r.PerRoute = 2
			r.Timeouts.Command, r.Timeouts.Data, r.Timeouts.Final = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
			for range 12 {
				r.put(text, item("ann@example.org", "bob@example.net"))
			}
			alone := 0
			for _, a := range r.run(12) {
				if a.Later != 1 {
					t.Errorf("got %+v", a)
				}
				if strings.Contains(a.Reply, "a moment ago") {
					alone++
				}
			}
			if n := len(r.dials()); n > 2 || alone < 10 {
				t.Errorf("got %d connections, want 2; %d were put off", n, alone)
			}
		})
	}
}

// A connection that was kept and says nothing more is as good a sign as a new one.
func TestAKeptConnectionThatFallsSilentIsASign(t *testing.T) {
	defer relay.SetSlow(20 * time.Millisecond)()
	addr := silentAt(t, "MAIL", 2)
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: addr})
	r.Schedule.Retry, r.Concurrency = []time.Duration{time.Hour}, 1
	r.Timeouts.Command = 50 * time.Millisecond
	for range 3 {
		r.put(text, item("ann@example.org", "bob@example.net"))
	}
	list := r.run(3)
	if list[0].Accepted != 1 || list[1].Later != 1 || !strings.Contains(list[2].Reply, "a moment ago") || len(r.dials()) != 1 {
		t.Errorf("got %+v, %d connections", list, len(r.dials()))
	}
}

// A message that a server can't cope with doesn't keep others from it.
func TestOneMessageWithoutAnAnswerIsNoSilence(t *testing.T) {
	defer relay.SetSlow(20 * time.Millisecond)()
	stuck := make(chan struct{})
	addr := scripted(t, func(session int, verb string) (string, bool) {
		if session == 1 && verb == "." {
			close(stuck)
			return "", true
		}
		return "", false
	})
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: addr})
	r.Schedule.Retry = []time.Duration{time.Hour}
	r.Timeouts.Final = 2 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.put(text, item("ann@example.org", "stuck@example.net"))
	<-stuck
	next := func(want int) {
		t.Helper()
		if a := <-r.attempts; a.Accepted != want || a.Later != 1-want {
			t.Errorf("got %+v", a)
		}
	}
	r.put(text, item("ann@example.org", "bob@example.net"))
	next(1)
	next(0)
	if hops := r.Hops(); len(hops) > 0 && !hops[0].SilentUntil.IsZero() {
		t.Errorf("got %+v", hops)
	}
	r.put(text, item("ann@example.org", "cid@example.net"))
	next(1)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
