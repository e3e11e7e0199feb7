package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/spool"
)

// liveQueue is a spool that is open, and the relays that deliver from it: after a reload those of earlier configs may still be at work.
type liveQueue struct {
	*Queue   // of the newest config that has it
	names    []string
	draining bool // no queue of the current config has this spool
	relays   []*relay.Relay
}

// liveQueues lists the open spools, by the names of their queues.
func liveQueues() (list []*liveQueue) {
	var old []*generation
	if app, err := caddy.ActiveContext().AppIfConfigured("esmtp"); err == nil {
		list = addQueues(list, app.(*App).queues, false)
	}
	draining.Lock()
	for g := range draining.set {
		old = append(old, g)
	}
	draining.Unlock()
	for _, g := range old {
		list = addQueues(list, g.queues, true)
	}
	slices.SortStableFunc(list, func(a, b *liveQueue) int { return strings.Compare(a.name, b.name) })
	return list
}

// addQueues adds the queues of a config that has started.
func addQueues(list []*liveQueue, set *queueSet, draining bool) []*liveQueue {
	for _, name := range slices.Sorted(maps.Keys(set.queues)) {
		q := set.queues[name]
		if q.live.shared == nil {
			continue
		}
		i := slices.IndexFunc(list, func(other *liveQueue) bool { return other.live.shared == q.live.shared })
		if i < 0 {
			i = len(list)
			list = append(list, &liveQueue{Queue: q, draining: draining})
		}
		if !slices.Contains(list[i].names, name) {
			list[i].names = append(list[i].names, name)
		}
		if q.live.relay != nil {
			list[i].relays = append(list[i].relays, q.live.relay)
		}
	}
	return list
}

// findQueue finds a queue by any of its names, one of the current config first.
func findQueue(name string) (*liveQueue, error) {
	var names []string
	var found *liveQueue
	for _, q := range liveQueues() {
		if found == nil && slices.Contains(q.names, name) {
			found = q
		}
		names = append(names, q.names...)
	}
	if found == nil {
		return nil, apiError(http.StatusNotFound, "esmtp: there is no queue %q%s", name, didYouMean(name, names))
	}
	return found, nil
}

// queueView is a queue in JSON.
type queueView struct {
	Name        string                    `json:"name"`
	Also        []string                  `json:"also,omitempty"` // other queues with this spool
	Kind        string                    `json:"kind"`           // of the spool: sqlite, postgres
	Spool       string                    `json:"spool"`
	Draining    bool                      `json:"draining"`
	Full        bool                      `json:"full"`
	Count       map[spool.State]int64     `json:"count"`
	Oldest      map[spool.State]time.Time `json:"oldest"`
	Active      int                       `json:"active"`
	Concurrency int                       `json:"concurrency"`
	Routes      []spool.RouteStats        `json:"routes"`
}

// How many routes are shown.
const (
	someRoutes = 10
	mostRoutes = 1000
)

// newQueueView looks at a spool.
func newQueueView(ctx context.Context, s spool.Spool, where string, routes int) (queueView, error) {
	var view queueView
	view.Kind, view.Spool = shownSpool(where)
	stats, err := s.Stats(ctx, routes)
	if err != nil {
		return view, err
	}
	view.Full, view.Count, view.Oldest, view.Routes = stats.Full, stats.Count, stats.Oldest, stats.Routes
	if view.Routes == nil {
		view.Routes = []spool.RouteStats{}
	}
	for i := range view.Routes {
		view.Routes[i].Route = shownHop(view.Routes[i].Route)
	}
	return view, nil
}

// shownSpool is where a spool is, without a password.
func shownSpool(where string) (kind, shown string) {
	if u, err := url.Parse(where); err == nil && strings.HasPrefix(u.Scheme, "postgres") { // its query can have one, too
		return "postgres", (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	}
	return "sqlite", where
}

func (q *liveQueue) view(ctx context.Context, routes int) (queueView, error) {
	view, err := newQueueView(ctx, q.live.shared, q.url, routes)
	view.Name, view.Also, view.Draining = q.names[0], q.names[1:], q.draining
	view.Active, view.Concurrency = q.activity()
	return view, err
}

// activity is how many attempts are made now, and how many can be.
func (q *liveQueue) activity() (active, limit int) {
	for _, r := range q.relays {
		active += r.Active()
	}
	if len(q.relays) > 0 && !q.draining {
		limit = q.relays[0].Limit()
	}
	return active, limit
}

// showQueues is GET /esmtp/queues.
func showQueues(w http.ResponseWriter, r *http.Request, query url.Values) error {
	routes, err := number(query, "routes", someRoutes, 0, mostRoutes)
	if err != nil {
		return err
	}
	views := []queueView{}
	for _, q := range liveQueues() {
		view, err := q.view(r.Context(), routes)
		if err != nil && q.draining {
			continue // it was closed just now
		}
		if err != nil {
			return spoolError(err)
		}
		views = append(views, view)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"queues": views})
}

// serveQueue answers for /esmtp/queues/{name} and what is below it.
func (a *AdminAPI) serveQueue(w http.ResponseWriter, r *http.Request) error {
	path := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/esmtp/queues/"), "/")
	for i := range path { // a name can have a slash in it
		path[i], _ = url.PathUnescape(path[i])
	}
	if r.Method == http.MethodGet {
		unhurried(w)
	}
	if path[0] == "" {
		return apiError(http.StatusNotFound, "esmtp: the queue's name is missing; all queues are at /esmtp/queues")
	}
	q, err := findQueue(path[0])
	switch {
	case err != nil:
		return err
	case len(path) == 1:
		return resource{"GET": {q.show, []string{"routes"}}}.ServeHTTP(w, r)
	case path[1] == "items":
		return q.serveItems(w, r, path[2:])
	case len(path) > 2:
	case path[1] == "events":
		return resource{"GET": {func(w http.ResponseWriter, r *http.Request, query url.Values) error {
			return a.streamQueueEvents(w, r, q, query)
		}, queueEventParams}}.ServeHTTP(w, r)
	case path[1] == "hops":
		return resource{"GET": {q.showHops, []string{"redact"}}}.ServeHTTP(w, r)
	case path[1] == "check":
		return resource{"POST": {q.check, nil}}.ServeHTTP(w, r)
	case path[1] == "concurrency":
		return resource{"POST": {q.setConcurrency, nil}}.ServeHTTP(w, r)
	}
	return apiError(http.StatusNotFound, "esmtp: a queue has /items, /hops, /events, /check and /concurrency, not /%s", strings.Join(path[1:], "/"))
}

// show is GET /esmtp/queues/{name}.
func (q *liveQueue) show(w http.ResponseWriter, r *http.Request, query url.Values) error {
	routes, err := number(query, "routes", someRoutes, 0, mostRoutes)
	if err != nil {
		return err
	}
	view, err := q.view(r.Context(), routes)
	if err != nil {
		return spoolError(err)
	}
	return writeJSON(w, http.StatusOK, view)
}

// mostConcurrency is far more than a machine has sockets for.
const mostConcurrency = 10_000

// setConcurrency is POST /esmtp/queues/{name}/concurrency. It holds until the next config.
func (q *liveQueue) setConcurrency(w http.ResponseWriter, r *http.Request, _ url.Values) error {
	var order struct {
		Concurrency int `json:"concurrency"`
	}
	if err := readOrder(w, r, &order); err != nil {
		return err
	}
	if order.Concurrency < 1 || order.Concurrency > mostConcurrency {
		return apiError(http.StatusBadRequest, `esmtp: want {"concurrency": n}, from 1 to %d`, mostConcurrency)
	}
	if q.draining || len(q.relays) == 0 {
		return apiError(http.StatusConflict, "esmtp: queue %s begins no attempts any more: its config is gone", q.name)
	}
	q.relays[0].SetConcurrency(order.Concurrency)
	active, limit := q.activity()
	return writeJSON(w, http.StatusOK, map[string]int{"active": active, "concurrency": limit})
}

// maxOrder is the size of what can be said about a move: release with many recipients.
const maxOrder = 1 << 20

// readOrder reads the body of a request, which may be empty, into the fields that there are.
func readOrder(w http.ResponseWriter, r *http.Request, order any) error {
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
	in.DisallowUnknownFields()
	err := in.Decode(order)
	if err == nil {
		if _, more := in.Token(); more != io.EOF {
			err = errors.New("there is something after it")
		}
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return apiError(http.StatusRequestEntityTooLarge, "esmtp: the body has %d octets at most", maxOrder)
	case err != nil && err != io.EOF:
		return apiError(http.StatusBadRequest, "esmtp: the body is not the JSON that was expected: %w", err)
	}
	unhurried(w)
	return nil
}

// unhurried lets a request take its time once it has been read: else Caddy's read timeout would seem to be the client's leaving.
func unhurried(w http.ResponseWriter) {
	http.NewResponseController(w).SetReadDeadline(time.Time{})
}

// spoolError makes an error of the admin API of one of a spool.
func spoolError(err error) error {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, spool.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, spool.ErrMove):
		status = http.StatusConflict
	case errors.Is(err, spool.ErrItem):
		status = http.StatusBadRequest
	case errors.Is(err, spool.ErrClosed), errors.Is(err, spool.ErrFull):
		status = http.StatusServiceUnavailable
	}
	return apiError(status, "esmtp: %s", strings.TrimPrefix(err.Error(), "spool: "))
}
