package relay

import (
	"sync"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay/route"
)

// A hop that is silent, and not just closed, costs each attempt minutes: while it connects, or in the middle of a message. So who has found a hop silent tells
// the others, and one at a time looks again. One message that gets no answer, where others do, is no sign of it.

// slow is how long trying a hop must take to be remembered.
var slow = 10 * time.Second

// Bounds on how long a hop is left alone, and on how many are remembered.
const (
	minDead  = time.Minute
	maxDead  = 10 * time.Minute
	maxHops  = 10_000
	deadRoom = maxHops / 10
)

// replyDead is for those that wait.
var replyDead = esmtp.Deny(451, 4, 4, 1, "no answer from the next host a moment ago")

// deadHops are the hops that were silent.
type deadHops struct {
	mu   sync.Mutex
	hops map[route.Hop]deadHop
}

type deadHop struct {
	until time.Time
	span  time.Duration
}

// mayTry reports whether a hop is to be tried. Of those who ask for a silent one after its time one may; the others wait for what he finds.
func (d *deadHops) mayTry(hop route.Hop, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, dead := d.hops[hop]
	if !dead {
		return true
	}
	if now.Before(h.until) {
		return false
	}
	h.until = now.Add(h.span)
	d.hops[hop] = h
	return true
}

// found tells what trying a hop came to, and how long it took.
func (d *deadHops) found(hop route.Hop, answered bool, took time.Duration, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if answered || took < slow {
		delete(d.hops, hop)
		return
	}
	if d.hops == nil {
		d.hops = make(map[route.Hop]deadHop)
	}
	if len(d.hops) >= maxHops {
		d.forget()
	}
	span := min(max(took, minDead), maxDead)
	d.hops[hop] = deadHop{now.Add(span), span}
}

// note writes down until when hops are left alone. One whose time is over is not: the next attempt tries it.
func (d *deadHops) note(table hopTable, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for hop, h := range d.hops {
		if !now.Before(h.until) {
			continue
		}
		if status := table.at(hop); status.SilentUntil.Before(h.until) {
			status.SilentUntil = h.until
		}
	}
}

// forget makes room, whoever it hits: a hop that is forgotten is found again.
func (d *deadHops) forget() {
	n := 0
	for hop := range d.hops {
		if delete(d.hops, hop); n >= deadRoom {
			return
		}
		n++
	}
}
