package relay

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/relay/route"
)

func TestASilentHopIsLeftAloneAndThenTriedByOne(t *testing.T) {
	var d deadHops
	hop, now := route.Hop{Host: "silent.example"}, time.Now()
	d.found(hop, false, slow-1, now)
	if !d.mayTry(hop, now) {
		t.Error("a hop that refuses at once costs nothing, and was remembered")
	}
	d.found(hop, false, 2*time.Minute, now)
	if d.mayTry(hop, now.Add(2*time.Minute-1)) || !d.mayTry(route.Hop{Host: "other.example"}, now) {
		t.Error("want that hop alone left alone for as long as it took")
	}
	now = now.Add(2 * time.Minute)
	first, second := d.mayTry(hop, now), d.mayTry(hop, now)
	if !first || second {
		t.Error("want one to look again")
	}
	d.found(hop, true, time.Hour, now)
	if len(d.hops) != 0 || !d.mayTry(hop, now) {
		t.Error("want a hop that answers to be forgotten")
	}
}

func TestSilentHopsAreBounded(t *testing.T) {
	var d deadHops
	for i := range 2 * maxHops {
		d.found(route.Hop{Host: fmt.Sprint(i)}, false, time.Hour, time.Now())
	}
	if len(d.hops) > maxHops {
		t.Errorf("got %d", len(d.hops))
	}
}
