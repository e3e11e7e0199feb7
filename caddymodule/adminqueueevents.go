package caddymodule

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/spool"
)

// queueEventParams are the query parameters of GET /esmtp/queues/{name}/events.
var queueEventParams = []string{"type", "route", "message", "redact"}

// queueEventTypes are what an event of a queue can be: those of a spool, and attempts.
var queueEventTypes = []string{
	string(spool.EventSpooled), string(spool.EventDelivered), string(spool.EventFailed), string(spool.EventDelayed), string(spool.EventFrozen),
	string(spool.EventThawed), string(spool.EventSendNow), string(spool.EventRemoved), string(spool.EventRecovered), string(spool.EventQuarantined),
	string(spool.EventReleased), string(spool.EventExpired), string(spool.EventDamaged), "attempt",
}

// queueEvent is something that happened to an item. Which fields it has depends on its type.
type queueEvent struct {
	Type     string    `json:"type"`
	Time     time.Time `json:"time"`
	ID       spool.ID  `json:"id"`
	Message  spool.ID  `json:"message"`
	Route    string    `json:"route,omitempty"`
	At       time.Time `json:"at,omitzero"` // of delayed: the next attempt
	Reason   string    `json:"reason,omitempty"`
	Attempt  int       `json:"attempt,omitempty"` // which one it was; this and the rest of attempts only
	Result   string    `json:"result,omitempty"`
	Hop      string    `json:"hop,omitempty"`
	Host     string    `json:"host,omitempty"`
	TLS      string    `json:"tls,omitempty"`
	Policy   string    `json:"policy,omitempty"`
	Reused   bool      `json:"reused,omitempty"`
	Accepted int       `json:"accepted,omitempty"` // recipients
	Failed   int       `json:"failed,omitempty"`
	Later    int       `json:"later,omitempty"`
	Reports  int       `json:"reports,omitempty"`
	Reply    string    `json:"reply,omitempty"`
	Took     float64   `json:"took,omitempty"` // in seconds
}

func newQueueEvent(e spool.Event) queueEvent {
	return queueEvent{Type: string(e.Kind), Time: e.Time, ID: e.ID, Message: e.Message, Route: shownHop(e.Route), At: e.At, Reason: e.Reason}
}

func newAttemptEvent(a relay.Attempt) queueEvent {
	it := a.Item
	return queueEvent{
		Type: "attempt", Time: time.Now(), ID: it.ID, Message: it.Message, Route: shownHop(it.Route), Attempt: it.Attempts, Result: attemptResult(a),
		Hop: a.Hop, Host: a.Host, TLS: a.TLS, Policy: a.Policy, Reused: a.Reused,
		Accepted: a.Accepted, Failed: a.Failed, Later: a.Later, Reports: a.Reports, Reply: a.Reply, Took: a.Took.Seconds(),
	}
}

// attemptResult is what became of an attempt, in one word: as soon as one recipient is to be tried again it is delayed.
func attemptResult(a relay.Attempt) string {
	switch {
	case a.Later > 0:
		return "delayed"
	case a.Failed > 0:
		return "failed"
	}
	return "delivered"
}

// redacted returns the event without who mails whom. Replies and reasons can tell it.
func (e queueEvent) redacted() queueEvent {
	e.Route, e.Hop, e.Reason, e.Reply = redactHop(e.Route), redactHop(e.Hop), "", ""
	return e
}

// attemptFeed hands attempts to those who watch a spool, as the spool itself does with its events.
type attemptFeed struct {
	mu   sync.Mutex
	subs []*attemptSub
}

type attemptSub struct {
	c    chan queueEvent
	lost int // since it was asked for; guarded by mu of the feed
}

// tell is called after each attempt.
func (f *attemptFeed) tell(a relay.Attempt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.subs) == 0 {
		return
	}
	e := newAttemptEvent(a)
	for _, sub := range f.subs {
		select {
		case sub.c <- e:
		default:
			sub.lost++
		}
	}
}

func (f *attemptFeed) subscribe() (*attemptSub, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.subs) >= maxSubscribers {
		return nil, errTooManyWatch
	}
	sub := &attemptSub{c: make(chan queueEvent, maxQueue)}
	f.subs = append(f.subs, sub)
	return sub, nil
}

func (f *attemptFeed) unsubscribe(sub *attemptSub) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs = slices.DeleteFunc(f.subs, func(other *attemptSub) bool { return other == sub })
}

// takeLost returns how many attempts were lost since the last call.
func (f *attemptFeed) takeLost(sub *attemptSub) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, sub.lost = sub.lost, 0
	return n
}

// queueEventWishes chooses events.
func queueEventWishes(query url.Values) (wants func(queueEvent) bool, err error) {
	var message spool.ID
	if query.Has("message") {
		if message, err = parseItemID(query.Get("message")); err != nil {
			return nil, err
		}
	}
	types := queueEventTypes
	if query.Has("type") {
		types = strings.Split(query.Get("type"), ",")
	}
	for _, kind := range types {
		if !slices.Contains(queueEventTypes, kind) {
			return nil, apiError(http.StatusBadRequest, "esmtp: there is no type of events %q%s", kind, didYouMean(kind, queueEventTypes))
		}
	}
	return func(e queueEvent) bool {
		return slices.Contains(types, e.Type) && (!query.Has("route") || e.Route == shownHop(query.Get("route"))) && (message == 0 || e.Message == message)
	}, nil
}

// streamQueueEvents is GET /esmtp/queues/{name}/events. It ends as the stream of GET /esmtp/events does, and when the spool is closed.
func (a *AdminAPI) streamQueueEvents(w http.ResponseWriter, r *http.Request, q *liveQueue, query url.Values) error {
	wants, err := queueEventWishes(query)
	if err != nil {
		return err
	}
	hide, err := yes(query, "redact")
	if err != nil {
		return err
	}
	shared := q.live.shared
	attempts, err := shared.attempts.subscribe()
	if err != nil {
		return apiError(http.StatusServiceUnavailable, "esmtp: %w", err)
	}
	defer shared.attempts.unsubscribe(attempts)
	changes := shared.Subscribe(maxQueue)
	defer changes.Close()
	out, err := a.openStream(w, r, hide)
	if err != nil {
		return nil
	}
	defer out.close()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	told := 0 // of the losses of changes
	for {
		var e queueEvent
		select {
		case <-r.Context().Done():
			return nil
		case <-a.stopping:
			return nil
		case <-beat.C:
			if out.write(": still here\n\n") != nil {
				return nil
			}
			continue
		case change, ok := <-changes.C:
			if !ok {
				return nil
			}
			e = newQueueEvent(change)
		case e = <-attempts.c:
		}
		lost := shared.attempts.takeLost(attempts) + int(changes.Lost()) - told
		told = int(changes.Lost())
		if out.queueEvent(e, wants, lost) != nil {
			return nil
		}
	}
}

// queueEvent writes an event, if it is wanted, and how many were lost.
func (out eventWriter) queueEvent(e queueEvent, wants func(queueEvent) bool, lost int) error {
	if !wants(e) && lost == 0 {
		return nil
	}
	if wants(e) {
		if out.redact {
			e = e.redacted()
		}
		if err := out.event(e.Type, e); err != nil {
			return err
		}
	}
	if err := out.lost(lost); err != nil {
		return err
	}
	return out.control.Flush()
}
