package relay

import (
	"context"
	"slices"
	"sync"

	"github.com/caddy-esmtp/esmtp/relay/route"
)

// maxAside is how many attempts may stand aside, at all hops: each holds an item in memory, and its lease.
const maxAside = 5000

// enter waits for a slot at a hop, aside. It reports false if ctx ends first, or if too many wait there: then the attempt is cut off, and the spool has the item
// again, unless somebody got the message. Whoever has entered must leave the slot.
func (a *attempt) enter(ctx context.Context, hop route.Hop) bool {
	r := a.r
	if r.slots.tryEnter(hop, r.PerRoute) {
		return true
	}
	if !a.accepted() && r.slots.isCrowded(hop, a.item.Route, r.places.full()) {
		a.cutOff()
		return false
	}
	r.places.stepAside()
	defer r.places.comeBack(ctx)
	r.wake() // there is a place
	return r.slots.enter(ctx, hop, r.PerRoute)
}

// places bound how many attempts are made at a time. One that waits for a slot at a busy hop, or for a server that says nothing, stands aside, and leaves its
// place to mail for other hops: the mail of a thousand domains can be waiting for one smarthost.
type places struct {
	mu     sync.Mutex
	limit  int
	taken  int
	aside  int
	coming []chan struct{} // those whose wait at a hop is over: they come before new items
}

// free is how many new attempts can begin.
func (p *places) free() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.coming) > 0 {
		return 0
	}
	return p.limit - p.taken
}

// full reports whether no more may stand aside.
func (p *places) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.aside >= maxAside
}

// take takes a place for a new attempt. It can be one too many.
func (p *places) take() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken++
}

// leave gives the place of an attempt back.
func (p *places) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	p.pass()
}

// stepAside gives a place back for as long as an attempt waits for something else.
func (p *places) stepAside() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	p.aside++
	p.pass()
}

// comeBackAtOnce takes a place again. It can be one too many.
func (p *places) comeBackAtOnce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.aside--
	p.taken++
}

// comeBack waits for a place again, but not longer than ctx: who is told to end needs none to do it.
func (p *places) comeBack(ctx context.Context) {
	p.mu.Lock()
	p.aside--
	if p.taken < p.limit || ctx.Err() != nil {
		p.taken++
		p.mu.Unlock()
		return
	}
	turn := make(chan struct{})
	p.coming = append(p.coming, turn)
	p.mu.Unlock()
	select {
	case <-turn:
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		if i := slices.Index(p.coming, turn); i >= 0 { // else it has one by now
			p.coming = slices.Delete(p.coming, i, i+1)
			p.taken++
		}
	}
}

// pass gives free places to those who come back. It is called with the lock held.
func (p *places) pass() {
	for p.taken < p.limit && len(p.coming) > 0 {
		close(p.coming[0])
		p.coming = p.coming[1:]
		p.taken++
	}
}

// set changes how many there are.
func (p *places) set(limit int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = limit
	p.pass()
}

// inUse returns how many places are taken, and of how many.
func (p *places) inUse() (taken, limit int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken, p.limit
}
