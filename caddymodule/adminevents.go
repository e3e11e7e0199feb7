package caddymodule

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// eventParams are the query parameters of GET /esmtp/events.
var eventParams = []string{"server", "route", "session", "remote", "type", "commands", "redact"}

// eventTypes are what an event can be.
var eventTypes = []string{"connected", "replied", "secured", "authenticated", "message", "failed", "limited", "ended"}

// heartbeat is how often a stream in which nothing happens shows that it is still there.
var heartbeat = 15 * time.Second

// writeTime is how long a client may take for what it has asked for.
const writeTime = 30 * time.Second

// eventWishes chooses events.
func eventWishes(query url.Values) (wants func(*sessionEvent) bool, err error) {
	var network netip.Prefix
	if query.Has("remote") {
		if network, err = parseNetwork(query.Get("remote")); err != nil {
			return nil, err
		}
	}
	commands, err := yes(query, "commands")
	if err != nil {
		return nil, err
	}
	types := slices.DeleteFunc(slices.Clone(eventTypes), func(kind string) bool { return kind == "replied" })
	if query.Has("type") {
		types = strings.Split(query.Get("type"), ",")
	}
	for _, kind := range types {
		if !slices.Contains(eventTypes, kind) {
			return nil, apiError(http.StatusBadRequest, "esmtp: there is no type of events %q%s", kind, didYouMean(kind, eventTypes))
		}
	}
	if commands {
		types = append(types, "replied")
	}
	session, err := sessionID(query, "session")
	if err != nil {
		return nil, err
	}
	return func(e *sessionEvent) bool {
		return slices.Contains(types, e.Type) && says(query, "server", e.Server) && says(query, "route", e.Route) &&
			(session == "" || session == e.Session) && isIn(e.addr, network)
	}, nil
}

// streamEvents is GET /esmtp/events. It ends when the client goes, and when the admin endpoint is shut down: for a reload, as Caddy then
// opens another one, or for good.
func (a *AdminAPI) streamEvents(w http.ResponseWriter, r *http.Request, query url.Values) error {
	wants, err := eventWishes(query)
	if err != nil {
		return err
	}
	hide, err := yes(query, "redact")
	if err != nil {
		return err
	}
	sub, err := watched.subscribe(wants)
	if err != nil {
		return apiError(http.StatusServiceUnavailable, "esmtp: %w", err)
	}
	defer watched.unsubscribe(sub)
	out, err := a.openStream(w, r, hide)
	if err != nil {
		return nil
	}
	defer out.close()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-r.Context().Done():
			return nil
		case <-a.stopping:
			return nil
		case <-beat.C:
			err = out.write(": still here\n\n")
		case <-sub.ready:
			err = out.events(sub.take())
		}
		if err != nil {
			return nil
		}
	}
}

// openStream begins an answer that lasts. The error is that of a client that has gone.
func (a *AdminAPI) openStream(w http.ResponseWriter, r *http.Request, hide bool) (eventWriter, error) {
	a.watch.Do(func() { // there is one endpoint for each AdminAPI, and it can be shut down twice
		if srv, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok {
			srv.RegisterOnShutdown(sync.OnceFunc(func() { close(a.stopping) }))
		}
	})
	out := eventWriter{w, http.NewResponseController(w), hide}
	out.control.SetReadDeadline(time.Time{}) // else Caddy's read timeout would seem to be the client's leaving
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return out, out.write("retry: 1000\n\n")
}

// close lets what comes next on the connection take its time.
func (out eventWriter) close() { out.control.SetWriteDeadline(time.Time{}) }

// eventWriter writes server-sent events (WHATWG HTML §9.2).
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	redact  bool
}

func (out eventWriter) events(queue []*sessionEvent, lost int) error {
	for _, e := range queue {
		v := *e
		if out.redact {
			v = v.redacted()
		}
		if err := out.event(e.Type, v); err != nil {
			return err
		}
	}
	if err := out.lost(lost); err != nil {
		return err
	}
	return out.control.Flush()
}

// lost tells how many events were lost, if there were any.
func (out eventWriter) lost(n int) error {
	if n == 0 {
		return nil
	}
	return out.event("lost", map[string]any{"type": "lost", "time": time.Now(), "lost": n})
}

func (out eventWriter) event(kind string, value any) error {
	text, err := toJSON(value)
	if err != nil {
		return err
	}
	out.control.SetWriteDeadline(time.Now().Add(writeTime))
	_, err = fmt.Fprintf(out.w, "event: %s\ndata: %s\n", kind, text)
	return err
}

func (out eventWriter) write(text string) error {
	out.control.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := out.w.Write([]byte(text)); err != nil {
		return err
	}
	return out.control.Flush()
}
