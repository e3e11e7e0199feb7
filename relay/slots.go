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
	s.mu.Lock()
	if s.hops == nil {
		s.hops = make(map[route.Hop]*slot)
	}
	h := s.hops[hop]
	if h == nil {
		h = &slot{taken: make(chan struct{}, n)}
		s.hops[hop] = h
	}
	h.users++
	s.mu.Unlock()
	select {
	case h.taken <- struct{}{}:
		return true
	case <-ctx.Done():
		s.forget(hop, h)
		return false
	}
}

func (s *slots) leave(hop route.Hop) {
	s.mu.Lock()
	h := s.hops[hop]
	s.mu.Unlock()
	<-h.taken
	s.forget(hop, h)
}

// forget lets a hop go that nobody uses any more.
func (s *slots) forget(hop route.Hop, h *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.users--; h.users == 0 {
		delete(s.hops, hop)
	}
}
