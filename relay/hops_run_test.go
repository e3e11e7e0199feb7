package relay_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay"
)

// What is said of a hop goes with a message: somebody is there, then a connection is kept, and in the end there is nothing.
func TestHopsFollowAnAttempt(t *testing.T) {
	here, goOn := make(chan struct{}), make(chan struct{})
	hop := &nextHops{eom: func(int) esmtp.Reply {
		close(here)
		<-goOn
		return esmtp.Reply{}
	}}
	hop.serve(t, nil, false)
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
	var during, after []relay.HopStatus
	observe := r.Observer
	r.Observer = func(a relay.Attempt) {
		after = r.Hops()
		observe(a)
	}
	r.put(text, item("ann@example.org", "bob@example.net"))
	go func() {
		defer close(goOn)
		<-here
		during = r.Hops()
	}()
	r.run(1)
	const name = "mx://example.net:25"
	for what, list := range map[string][2][]relay.HopStatus{
		"during": {during, {{Hop: name, Active: 1}}},
		"after":  {after, {{Hop: name, Idle: 1}}},
		"at end": {r.Hops(), {}},
	} {
		if got, want := list[0], list[1]; !slices.Equal(got, want) {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
}

// A hop that gave no answer is said to be left alone, until nothing is begun any more.
func TestHopsTellOfSilence(t *testing.T) {
	defer relay.SetSlow(0)()
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: ""})
	r.Schedule.Retry = []time.Duration{time.Hour}
	var during []relay.HopStatus
	observe := r.Observer
	r.Observer = func(a relay.Attempt) {
		during = r.Hops()
		observe(a)
	}
	r.put(text, item("ann@example.org", "bob@example.net"))
	r.run(1)
	if len(during) != 1 || during[0].Hop != "mx://example.net:25" || time.Until(during[0].SilentUntil) <= 0 || during[0].Active != 0 {
		t.Errorf("got %+v", during)
	}
	if got := r.Hops(); len(got) != 0 {
		t.Errorf("at the end: got %+v", got)
	}
}

// Who asks is in nobody's way, and is never told of more than there can be.
func TestHopsAreAskedForWhileMailMoves(t *testing.T) {
	const domains, each, perRoute = 3, 10, 2
	hop := new(nextHops).serve(t, nil, false)
	d, servers := dns{}, map[string]string{public[0]: hop.addr}
	r := newRig(t, d, servers)
	r.PerRoute = perRoute
	for i := range domains {
		domain := fmt.Sprintf("d%d.example", i)
		for k, v := range mx(domain, public[0]) {
			d[k] = v
		}
		for range each {
			r.put(text, item("ann@example.org", "bob@"+domain))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	for range 2 {
		asking.Go(func() {
			for ctx.Err() == nil {
				list := r.Hops()
				for _, h := range list {
					if h.Active < 0 || h.Active > perRoute || h.Waiting < 0 || h.Idle < 0 || h.Idle > perRoute {
						t.Errorf("got %+v", h)
						return
					}
				}
				if len(list) > domains {
					t.Errorf("got %+v", list)
					return
				}
			}
		})
	}
	r.run(domains * each)
	cancel()
	asking.Wait()
	if got := r.Hops(); len(got) != 0 {
		t.Errorf("at the end: got %+v", got)
	}
}
