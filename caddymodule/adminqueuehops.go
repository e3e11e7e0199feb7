package caddymodule

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddy-esmtp/esmtp/relay"
)

// hopView is a next hop in JSON.
type hopView struct {
	Hop         string    `json:"hop"`
	Active      int       `json:"active"`
	Waiting     int       `json:"waiting"`
	Idle        int       `json:"idle"`
	SilentUntil time.Time `json:"silent_until,omitzero"`
}

// hopsView is what is said of all of them.
type hopsView struct {
	Hops []hopView `json:"hops"`
}

// showHops is GET /esmtp/queues/{name}/hops. There are no pages: a relay knows of so many hops and no more.
func (q *liveQueue) showHops(w http.ResponseWriter, _ *http.Request, query url.Values) error {
	hide, err := yes(query, "redact")
	if err != nil {
		return err
	}
	var lists [][]relay.HopStatus
	for _, r := range q.relays {
		lists = append(lists, r.Hops())
	}
	view := hopsView{addHops(lists...)}
	if hide {
		for i := range view.Hops {
			view.Hops[i].Hop = redactHop(view.Hops[i].Hop)
		}
	}
	return writeJSON(w, http.StatusOK, view)
}

// addHops adds up what relays say of their hops. Where more than one leaves a hop alone, the last to try it again counts.
func addHops(lists ...[]relay.HopStatus) []hopView {
	all := slices.Concat(lists...)
	slices.SortFunc(all, func(a, b relay.HopStatus) int { return strings.Compare(a.Hop, b.Hop) })
	views := []hopView{}
	for _, h := range all {
		if len(views) == 0 || views[len(views)-1].Hop != h.Hop {
			views = append(views, hopView{Hop: h.Hop})
		}
		v := &views[len(views)-1]
		v.Active, v.Waiting, v.Idle = v.Active+h.Active, v.Waiting+h.Waiting, v.Idle+h.Idle
		if v.SilentUntil.Before(h.SilentUntil) {
			v.SilentUntil = h.SilentUntil
		}
	}
	return views
}
