package relay

import (
	"testing"

	"github.com/caddy-esmtp/esmtp/relay/route"
)

// Where there is no room to wait anywhere, a route is left out until somebody leaves its hop; a hop that nobody is at is crowded never.
func TestARouteIsLeftOutUntilSomebodyLeavesItsHop(t *testing.T) {
	woken := 0
	s := slots{wake: func() { woken++ }}
	hop, other := route.Hop{Host: "busy.example"}, route.Hop{Host: "other.example"}
	check := func(when string, want ...string) {
		t.Helper()
		got := s.exclude()
		for _, route := range want {
			if _, ok := got[route]; !ok {
				t.Errorf("%s: %s is not left out", when, route)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: got %v, want %v", when, got, want)
		}
	}
	if s.isCrowded(hop, "a.example", true) {
		t.Error("nobody is there")
	}
	for _, h := range []route.Hop{hop, other} {
		for range 2 {
			if !s.tryEnter(h, 2) {
				t.Fatal("there is room")
			}
		}
	}
	if s.tryEnter(hop, 2) || s.isCrowded(hop, "a.example", false) {
		t.Error("want one more to wait")
	}
	check("before")
	for _, route := range []string{"a.example", "b.example"} {
		if !s.isCrowded(hop, route, true) {
			t.Errorf("%s may wait, with no room for it", route)
		}
		check("crowded", []string{"a.example", "b.example"}[:len(s.hops[hop].routes)]...)
	}
	if !s.isCrowded(other, "c.example", true) {
		t.Error("c.example may wait")
	}
	s.leave(hop)
	check("one has left", "c.example")
	if woken != 1 {
		t.Errorf("woken %d times", woken)
	}
	if !s.isCrowded(hop, "c.example", true) { // what was found before is known
		t.Error("c.example may wait")
	}
	check("crowded again", "a.example", "b.example", "c.example")
	s.leave(other)
	s.leave(other)
	check("the other is empty", "a.example", "b.example", "c.example")
	s.leave(hop)
	check("all have left")
	if len(s.hops) != 0 || woken != 3 {
		t.Errorf("left %v, woken %d times", s.hops, woken)
	}
}
