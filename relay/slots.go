package relay

import (
	"context"
	"sync"

	"github.com/caddy-esmtp/esmtp/relay/route"
)

// slots bound how many attempts are at one hop. Leases bound it by the item's route, which is the recipients' domain where a smarthost takes the
// mail of many.
type slots struct {
	mu   sync.Mutex
	hops map[route.Hop]*slot
}

type slot struct {
	taken chan struct{} // has as many as are taken
	users int           // that have one, or wait for one
}

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
}

// forget lets a hop go that nobody uses any more. It is called with the lock held.
func (s *slots) forget(hop route.Hop, h *slot) {
	if h.users--; h.users == 0 {
		delete(s.hops, hop)
	}
}

// note writes down how many attempts are at each hop, and how many wait.
func (s *slots) note(table hopTable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for hop, h := range s.hops {
		status := table.at(hop)
		taken := len(h.taken)
		status.Active += taken
		status.Waiting += h.users - taken
	}
}
