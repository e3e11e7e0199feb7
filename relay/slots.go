package relay

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/caddy-esmtp/esmtp/relay/route"
)

// maxWaiting is how many attempts may wait for a slot at one hop. When it has so many it is crowded, until half of them are left: what else is for it stays
// in the spool.
var maxWaiting = 250

// slots bound how many attempts are at one hop. Leases bound it by the item's route, which is the recipients' domain where a smarthost takes the
// mail of many.
type slots struct {
	mu   sync.Mutex
	hops map[route.Hop]*slot
	wake func() // when a hop is crowded no more

	excluded map[string]struct{} // the routes of all crowded hops, as they were when exclude was called last,
	found    []string            // those that have come since,
	stale    bool                // and whether a hop has become crowded, or is it no more
}

type slot struct {
	taken   chan struct{} // has as many as are taken
	users   int           // that have one, or wait for one
	heard   time.Time     // when the hop was last there for one of them
	crowded bool
	routes  map[string]struct{} // of items that were given back, for want of room to wait
}

// waiting is how many wait for a slot.
func (h *slot) waiting() int { return h.users - len(h.taken) }

// enter waits for one of n slots. It reports false if ctx ends first. Whoever has entered must leave.
func (s *slots) enter(ctx context.Context, hop route.Hop, n int) bool {
	h := s.use(hop, n)
	select {
	case h.taken <- struct{}{}:
		return true
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forget(hop, h)
		return false
	}
}

// tryEnter enters if that can be had without waiting.
func (s *slots) tryEnter(hop route.Hop, n int) bool {
	h := s.use(hop, n)
	select {
	case h.taken <- struct{}{}:
		return true
	default:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forget(hop, h)
		return false
	}
}

// use finds the slots of a hop, which forget forgets.
func (s *slots) use(hop route.Hop, n int) *slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hops == nil {
		s.hops = make(map[route.Hop]*slot)
	}
	h := s.hops[hop]
	if h == nil {
		h = &slot{taken: make(chan struct{}, n)}
		s.hops[hop] = h
	}
	h.users++
	return h
}

func (s *slots) leave(hop route.Hop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hops[hop]
	<-h.taken // never blocks, as one of them is ours; with the lock held, so that who leaves isn't counted as waiting
	s.forget(hop, h)
	if h.waiting() <= maxWaiting/2 {
		s.ease(h)
	}
}

// forget lets a hop go that nobody uses any more. It is called with the lock held.
func (s *slots) forget(hop route.Hop, h *slot) {
	if h.users--; h.users == 0 {
		delete(s.hops, hop)
		s.ease(h)
	}
}

// hear takes note that somebody who is at a hop had an answer.
func (s *slots) hear(hop route.Hop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hops[hop].heard = time.Now()
}

// heardSince reports whether somebody who is at a hop had an answer since then: the hop is there, if not for every message.
func (s *slots) heardSince(hop route.Hop, then time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hops[hop].heard.After(then)
}

// isCrowded reports whether an item of a route is not to wait at a hop; then nothing of this route is leased as long as that is so. full says that too many
// wait elsewhere. Who is at the hop will leave it, and so somebody eases it.
func (s *slots) isCrowded(hop route.Hop, route string, full bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hops[hop]
	if h == nil {
		return false
	}
	if !h.crowded {
		if !full && h.waiting() < maxWaiting {
			return false
		}
		h.crowded, s.stale = true, true
	}
	if h.routes == nil || len(h.routes) >= maxRoutes {
		h.routes = make(map[string]struct{})
	}
	h.routes[route] = struct{}{}
	s.found = append(s.found, route)
	return true
}

// maxRoutes bounds how many routes of a hop are remembered: what is forgotten is found again.
const maxRoutes = 100_000

// ease has items for a hop leased again. It is called with the lock held.
func (s *slots) ease(h *slot) {
	if h.crowded {
		h.crowded, s.stale = false, true
		s.wake()
	}
}

// exclude returns the routes of which nothing is to be leased. The map is good until the next call, and so for one goroutine.
func (s *slots) exclude() map[string]struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stale {
		s.excluded = make(map[string]struct{})
		for _, h := range s.hops {
			if h.crowded {
				maps.Copy(s.excluded, h.routes)
			}
		}
	} else {
		for _, route := range s.found {
			s.excluded[route] = struct{}{}
		}
	}
	s.stale, s.found = false, s.found[:0]
	return s.excluded
}

// note writes down how many attempts are at each hop, and how many wait.
func (s *slots) note(table hopTable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for hop, h := range s.hops {
		status := table.at(hop)
		status.Active += len(h.taken)
		status.Waiting += h.waiting()
	}
}
