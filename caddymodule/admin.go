package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(new(AdminAPI))
}

// AdminAPI is a part of Caddy's admin API: it shows what the mail servers do, and lets an operator step in. Everything is below /esmtp/:
//
//	GET    /esmtp/servers                  servers, those of earlier configs that still have sessions included
//	GET    /esmtp/sessions                 live sessions
//	DELETE /esmtp/sessions                 ends all that a filter names
//	GET    /esmtp/sessions/{id}            one session
//	DELETE /esmtp/sessions/{id}            ends it with a 421
//	POST   /esmtp/sessions/{id}/messages   hands its handlers an AdminMessage
//	GET    /esmtp/counters                 totals since the process began
//	GET    /esmtp/limits                   limits, and how much of them is used
//	GET    /esmtp/events                   server-sent events of sessions and messages
//
// And of the queues:
//
//	GET    /esmtp/queues                               queues, and how full they are
//	GET    /esmtp/queues/{name}                        one queue
//	GET    /esmtp/queues/{name}/items                  what is in it
//	GET    /esmtp/queues/{name}/items/{id}             one item
//	GET    /esmtp/queues/{name}/items/{id}/message     its message
//	POST   /esmtp/queues/{name}/items/{id}/{move}      freeze, thaw, send, remove, recover or release
//	POST   /esmtp/queues/{name}/items/{move}           the same for all that a filter names
//	GET    /esmtp/queues/{name}/hops                   how the next hops stand
//	POST   /esmtp/queues/{name}/concurrency            how many deliveries are made at a time
//	POST   /esmtp/queues/{name}/check                  compares items and bodies
//	GET    /esmtp/queues/{name}/events                 server-sent events of items and attempts
//
// It is there whenever Caddy's admin endpoint is, with no setting. Who may use that may use this: passwords are never in it, mail addresses are.
type AdminAPI struct {
	stopping chan struct{} // closed when the admin endpoint makes room for the next one, or Caddy exits
	watch    sync.Once
}

// CaddyModule returns the Caddy module information.
func (*AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.esmtp", New: func() caddy.Module { return &AdminAPI{stopping: make(chan struct{})} }}
}

// Routes returns the endpoints. The patterns are plain paths and prefixes, so that Caddy's access controls for remote administration
// can name them.
func (a *AdminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/esmtp/servers", Handler: resource{"GET": {showServers, nil}}},
		{Pattern: "/esmtp/sessions", Handler: resource{
			"GET":    {listSessions, slices.Concat(filterParams, []string{"limit", "after", "redact"})},
			"DELETE": {kickSessions, slices.Concat(filterParams, []string{"all"}, kickParams)},
		}},
		{Pattern: "/esmtp/sessions/", Handler: caddy.AdminHandlerFunc(serveSession)},
		{Pattern: "/esmtp/counters", Handler: resource{"GET": {showCounters, nil}}},
		{Pattern: "/esmtp/limits", Handler: resource{"GET": {showLimits, []string{"server", "clients"}}}},
		{Pattern: "/esmtp/events", Handler: resource{"GET": {a.streamEvents, eventParams}}},
		{Pattern: "/esmtp/queues", Handler: resource{"GET": {showQueues, []string{"routes"}}}},
		{Pattern: "/esmtp/queues/", Handler: caddy.AdminHandlerFunc(a.serveQueue)},
		{Pattern: "/esmtp/", Handler: caddy.AdminHandlerFunc(a.notFound)},
	}
}

// notFound answers for all paths that there aren't.
func (a *AdminAPI) notFound(_ http.ResponseWriter, r *http.Request) error {
	var paths []string
	for _, route := range a.Routes() {
		if route.Pattern != "/esmtp/" {
			paths = append(paths, route.Pattern)
		}
	}
	return apiError(http.StatusNotFound, "esmtp: there is no %s; there are %s", r.URL.Path, strings.Join(paths, ", "))
}

// serveSession answers for /esmtp/sessions/{id} and what is below it.
func serveSession(w http.ResponseWriter, r *http.Request) error {
	id, below, deeper := strings.Cut(strings.TrimPrefix(r.URL.Path, "/esmtp/sessions/"), "/")
	switch {
	case id == "":
		return apiError(http.StatusNotFound, "esmtp: the session's id is missing; all sessions are at /esmtp/sessions")
	case !deeper:
		return resource{
			"GET":    {showSession(id), []string{"redact"}},
			"DELETE": {kickSession(id), kickParams},
		}.ServeHTTP(w, r)
	case below == "messages":
		return resource{"POST": {postMessage(id), nil}}.ServeHTTP(w, r)
	}
	return apiError(http.StatusNotFound, "esmtp: a session has /messages, not /%s", below)
}

// resource is what can be done at a path, by HTTP method.
type resource map[string]operation

// operation serves a request whose query has been checked: it has each of params at most once, and nothing else.
type operation struct {
	serve  func(w http.ResponseWriter, r *http.Request, query url.Values) error
	params []string
}

// ServeHTTP finds the operation, and checks the query.
func (res resource) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	op, ok := res[r.Method]
	if !ok {
		allowed := strings.Join(slices.Sorted(maps.Keys(res)), ", ")
		w.Header().Set("Allow", allowed)
		return apiError(http.StatusMethodNotAllowed, "esmtp: %s takes %s, not %s", r.URL.Path, allowed, r.Method)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return apiError(http.StatusBadRequest, "esmtp: query: %w", err)
	}
	for name, values := range query {
		switch {
		case len(op.params) == 0:
			return apiError(http.StatusBadRequest, "esmtp: %s %s takes no query parameters, and so not %q", r.Method, r.URL.Path, name)
		case !slices.Contains(op.params, name):
			return apiError(http.StatusBadRequest, "esmtp: there is no query parameter %q%s", name, didYouMean(name, op.params))
		case len(values) > 1:
			return apiError(http.StatusBadRequest, "esmtp: query parameter %q is given twice", name)
		}
	}
	return op.serve(w, r, query)
}

// yes reads a query parameter that is there or not: "", 1 and true are yes, 0 and false no.
func yes(query url.Values, name string) (bool, error) {
	switch query.Get(name) {
	case "1", "true":
		return true, nil
	case "0", "false":
		return false, nil
	case "":
		return query.Has(name), nil
	}
	return false, apiError(http.StatusBadRequest, "esmtp: %s is 1 or 0, not %q", name, query.Get(name))
}

// apiError makes an error as Caddy's admin API has them.
func apiError(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

// writeJSON answers with a value.
func writeJSON(w http.ResponseWriter, status int, value any) error {
	text, err := toJSON(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(text) // if the client has gone there is nobody to tell
	return nil
}

// toJSON writes a line. Replies are full of angle brackets: it leaves them alone.
func toJSON(value any) ([]byte, error) {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	err := out.Encode(value)
	return b.Bytes(), err
}

// Interface guards
var (
	_ caddy.Module       = (*AdminAPI)(nil)
	_ caddy.AdminRouter  = (*AdminAPI)(nil)
	_ caddy.AdminHandler = resource(nil)
)
