package relay

import (
	"slices"
	"strings"
	"time"

	"github.com/caddy-esmtp/esmtp/relay/route"
)

// HopStatus is how a next hop stands with a relay: why mail for it moves, or doesn't.
type HopStatus struct {
	// Hop is its address, as [route.Hop.String] writes it. A user can be in it, a password never is.
	Hop string

	// Active is how many attempts are at the hop, at most Relay.PerRoute; Waiting is how many others have to wait until one of them leaves. When
	// those are many the rest stays in the spool.
	Active  int
	Waiting int

	// Idle is how many connections to it are kept for the next message.
	Idle int

	// SilentUntil is until when it is left alone, as it gave no answer. Zero: it is tried by the next attempt.
	SilentUntil time.Time
}

// hopTable is where those who know something about hops write it down, with their own locks held: nothing but the table is touched.
type hopTable map[route.Hop]*HopStatus

// at returns what there is about a hop. Hops whose addresses are the same to people are one.
func (t hopTable) at(hop route.Hop) *HopStatus {
	hop.Untrusted = false
	if t[hop] == nil {
		t[hop] = new(HopStatus)
	}
	return t[hop]
}

// Hops returns the next hops that there is something to say about, sorted by Hop: attempts are at them, connections to them are kept, or they are
// silent. Each number is of its own moment. Those that are posted to, on the web, have no connections of ours and are not among them. No more
// than 10,000 are silent, and none is once Run has been told to end, as it begins no attempts. Any goroutine may call it.
func (r *Relay) Hops() []HopStatus {
	table := make(hopTable)
	r.slots.note(table)
	r.pool.note(table)
	if !r.ending.Load() {
		r.dead.note(table, time.Now())
	}
	list := make([]HopStatus, 0, len(table))
	for hop, status := range table {
		status.Hop = hop.String()
		list = append(list, *status)
	}
	slices.SortFunc(list, func(a, b HopStatus) int { return strings.Compare(a.Hop, b.Hop) })
	return list
}
