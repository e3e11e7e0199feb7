package caddymodule

import (
	"context"
	"errors"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp/spool"
)

// queueMove is a move that people make: POST /esmtp/queues/{name}/items/{id}/{move}, and …/items/{move} for many.
type queueMove struct {
	from []spool.State // in which a filter that names no state finds items
	// prepare reads how it is to be done, and returns what does it.
	prepare func(q *liveQueue, read func(order any) error) (doMove, error)
}

// doMove moves items; its error is as those of the moves of [spool.Spool].
type doMove func(ctx context.Context, s spool.Spool, ids []spool.ID) error

var queueMoves = map[string]queueMove{
	"freeze":  {[]spool.State{spool.Queued, spool.Sending}, prepareFreeze},
	"thaw":    {[]spool.State{spool.Frozen, spool.Damaged}, prepareSimple(spool.Spool.Thaw)},
	"send":    {[]spool.State{spool.Queued, spool.Frozen}, prepareSend},
	"remove":  {[]spool.State{spool.Queued, spool.Sending, spool.Frozen, spool.Quarantined, spool.Damaged}, prepareSimple(remove)},
	"recover": {[]spool.State{spool.Removed}, prepareSimple(spool.Spool.Recover)},
	"release": {[]spool.State{spool.Quarantined}, prepareRelease},
}

func moveNames() []string { return slices.Sorted(maps.Keys(queueMoves)) }

// prepareSimple is for moves of which there is nothing to say.
func prepareSimple(move func(spool.Spool, context.Context, ...spool.ID) error) func(*liveQueue, func(any) error) (doMove, error) {
	return func(_ *liveQueue, read func(any) error) (doMove, error) {
		err := read(new(struct{}))
		return func(ctx context.Context, s spool.Spool, ids []spool.ID) error { return move(s, ctx, ids...) }, err
	}
}

// freezeOrder is the body of a freeze.
type freezeOrder struct {
	Reason string `json:"reason,omitempty"`
}

func prepareFreeze(_ *liveQueue, read func(any) error) (doMove, error) {
	order := freezeOrder{Reason: "frozen by the administrator"}
	err := read(&order)
	return func(ctx context.Context, s spool.Spool, ids []spool.ID) error {
		return s.Freeze(ctx, order.Reason, ids...)
	}, err
}

// remove freezes what is queued first. Nothing can go wrong in between: what is frozen stays so until somebody else thaws it, and then it isn't removed.
func remove(s spool.Spool, ctx context.Context, ids ...spool.ID) error {
	for err := range leaves(s.Freeze(ctx, "removed by the administrator", ids...)) {
		if !errors.As(err, new(*spool.ItemError)) {
			return err
		}
	}
	return s.Remove(ctx, ids...) // it says what is wrong with those that were not frozen
}

// sendOrder is the body of a send.
type sendOrder struct {
	Retry  []caddy.Duration `json:"retry,omitempty"`  // waits after failed attempts, before those of its schedule
	Failed bool             `json:"failed,omitempty"` // recipients that have failed, too
}

func prepareSend(_ *liveQueue, read func(any) error) (doMove, error) {
	var order sendOrder
	if err := read(&order); err != nil {
		return nil, err
	}
	o := spool.SendNow{Failed: order.Failed}
	for _, wait := range order.Retry {
		if wait <= 0 || len(o.Retry) == mostRetries {
			return nil, apiError(http.StatusBadRequest, "esmtp: retry has durations above zero, such as 10m, and %d at most", mostRetries)
		}
		o.Retry = append(o.Retry, time.Duration(wait))
	}
	return func(ctx context.Context, s spool.Spool, ids []spool.ID) error { return s.SendNow(ctx, o, ids...) }, nil
}

const mostRetries = 20

// movedView tells which items were moved, and which not, and why.
type movedView struct {
	Done   []spool.ID     `json:"done"`
	Failed []notMovedView `json:"failed"`
	Next   string         `json:"next,omitempty"` // for after, as there are more
}

type notMovedView struct {
	ID    spool.ID `json:"id"`
	Error string   `json:"error"`
}

// moveItem is POST /esmtp/queues/{name}/items/{id}/{move}.
func (q *liveQueue) moveItem(name string, id spool.ID) func(http.ResponseWriter, *http.Request, url.Values) error {
	return func(w http.ResponseWriter, r *http.Request, _ url.Values) error {
		do, err := queueMoves[name].prepare(q, func(order any) error { return readOrder(w, r, order) })
		if err != nil {
			return err
		}
		if err := do(r.Context(), q.live.shared, []spool.ID{id}); err != nil {
			return spoolError(err)
		}
		q.logMoved(name, id)
		return writeJSON(w, http.StatusOK, movedView{Done: []spool.ID{id}, Failed: []notMovedView{}})
	}
}

// How many items one request moves, and how many of them at a time: the spool makes one transaction of these.
const (
	mostMoved     = 10_000
	movedAtATime  = 256
	mostMovedByID = 1000
)

// moveItems is POST /esmtp/queues/{name}/items/{move}.
func (q *liveQueue) moveItems(name string) func(http.ResponseWriter, *http.Request, url.Values) error {
	return func(w http.ResponseWriter, r *http.Request, query url.Values) error {
		ids, f, err := chooseItems(query, queueMoves[name].from)
		if err != nil {
			return err
		}
		do, err := queueMoves[name].prepare(q, func(order any) error { return readOrder(w, r, order) })
		if err != nil {
			return err
		}
		view := movedView{Done: []spool.ID{}, Failed: []notMovedView{}}
		for part := range slices.Chunk(ids, movedAtATime) {
			view.move(r.Context(), q.live.shared, part, do)
		}
		if ids == nil {
			if err := view.moveAll(r.Context(), q.live.shared, f, do); err != nil {
				return err
			}
		}
		q.logMoved(name, view.Done...)
		q.log.Info("items moved by the administrator", "move", name, "done", len(view.Done), "failed", len(view.Failed))
		return writeJSON(w, http.StatusOK, view)
	}
}

// logMoved writes a line for each item, so that the log has its whole story.
func (q *liveQueue) logMoved(move string, ids ...spool.ID) {
	for _, id := range ids {
		q.log.Info("item moved by the administrator", "move", move, "item", id.String())
	}
}

// chooseItems reads which items are meant: ids, or a filter for others.
func chooseItems(query url.Values, from []spool.State) (ids []spool.ID, f spool.Filter, err error) {
	all, err := yes(query, "all")
	if err != nil {
		return nil, f, err
	}
	filtered := slices.ContainsFunc(itemParams, query.Has)
	switch {
	case query.Has("id") && (filtered || all || query.Has("after")):
		return nil, f, apiError(http.StatusBadRequest, "esmtp: id names the items: there is nothing else to choose them by")
	case query.Has("id"):
		texts := strings.Split(query.Get("id"), ",")
		if len(texts) > mostMovedByID {
			return nil, f, apiError(http.StatusBadRequest, "esmtp: id has %d items at most", mostMovedByID)
		}
		for _, text := range texts {
			id, err := parseItemID(text)
			if err != nil {
				return nil, f, err
			}
			ids = append(ids, id)
		}
		slices.Sort(ids)
		return slices.Compact(ids), f, nil
	case !filtered && !all:
		return nil, f, apiError(http.StatusBadRequest, "esmtp: this would be about all items: say which, by id, %s, or say all=1", strings.Join(itemParams, ", "))
	}
	f, err = newItemFilter(query)
	if len(f.States) == 0 {
		f.States = from
	}
	return nil, f, err
}

// moveAll moves all that a filter lets through, or as many as one request does.
func (v *movedView) moveAll(ctx context.Context, s spool.Spool, f spool.Filter, do doMove) error {
	f.Limit = movedAtATime
	for {
		items, next, err := s.List(ctx, f)
		if err != nil && len(v.Done)+len(v.Failed) == 0 {
			return spoolError(err)
		} else if err != nil { // what was done is to be told
			v.Next = f.After.String()
			return nil
		}
		ids := make([]spool.ID, len(items))
		for i, it := range items {
			ids[i] = it.ID
		}
		if v.move(ctx, s, ids, do); next == 0 {
			return nil
		}
		if f.After = next; len(v.Done)+len(v.Failed) >= mostMoved {
			v.Next = next.String()
			return nil
		}
	}
}

// move moves some items, and notes what has become of each.
func (v *movedView) move(ctx context.Context, s spool.Spool, ids []spool.ID, do doMove) {
	failed := make(map[spool.ID]error)
	for err := range leaves(do(ctx, s, ids)) {
		var one *spool.ItemError
		if errors.As(err, &one) {
			failed[one.ID] = one.Err
			continue
		}
		for _, id := range ids { // the database failed
			failed[id] = err
		}
	}
	for _, id := range ids {
		if err := failed[id]; err != nil {
			v.Failed = append(v.Failed, notMovedView{id, strings.TrimPrefix(err.Error(), "spool: ")})
		} else {
			v.Done = append(v.Done, id)
		}
	}
}

// leaves yields the errors that were joined to one.
func leaves(err error) iter.Seq[error] {
	return func(yield func(error) bool) { eachLeaf(err, yield) }
}

func eachLeaf(err error, yield func(error) bool) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
		return true
	case !ok:
		return yield(err)
	}
	for _, one := range joined.Unwrap() {
		if !eachLeaf(one, yield) {
			return false
		}
	}
	return true
}
