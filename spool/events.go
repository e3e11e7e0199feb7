package spool

import (
	"sync"
	"sync/atomic"
	"time"
)

// Subscription is a stream of events; see [Spool].
type Subscription struct {
	// C is closed by Close, and when the spool is closed.
	C <-chan Event

	c    chan Event
	lost atomic.Uint64
	hub  *hub
}

// Lost is how many events there was no room for in the buffer so far: a slow subscriber holds nobody up.
func (s *Subscription) Lost() uint64 { return s.lost.Load() }

// Close ends the subscription.
func (s *Subscription) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.drop(s)
}

// hub hands events to subscribers.
type hub struct {
	mu     sync.Mutex
	subs   map[*Subscription]struct{}
	n      atomic.Int32 // of subs, to be quick when there are none
	closed bool
}

func (h *hub) subscribe(buffer int) *Subscription {
	s := &Subscription{c: make(chan Event, max(buffer, 1)), hub: h}
	s.C = s.c
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(s.c)
		return s
	}
	if h.subs == nil {
		h.subs = map[*Subscription]struct{}{}
	}
	h.subs[s] = struct{}{}
	h.n.Add(1)
	return s
}

// drop is called with mu held.
func (h *hub) drop(s *Subscription) {
	if _, ok := h.subs[s]; ok {
		delete(h.subs, s)
		h.n.Add(-1)
		close(s.c)
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.subs {
		h.drop(s)
	}
}

func (h *hub) tell(kind EventKind, it *Item) {
	if h.n.Load() == 0 {
		return
	}
	e := Event{Kind: kind, Time: time.Now(), ID: it.ID, Message: it.Message, Route: it.Route, Reason: it.Reason}
	if kind == EventDelayed {
		e.At, e.Reason = it.Due, it.LastError
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		select {
		case s.c <- e:
		default:
			s.lost.Add(1)
		}
	}
}
