package caddymodule

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp/spool"
)

// itemParams are the query parameters that choose items.
var itemParams = []string{"state", "sender", "recipient", "route", "message", "older", "younger"}

// serveItems answers for /esmtp/queues/{name}/items and what is below it.
func (q *liveQueue) serveItems(w http.ResponseWriter, r *http.Request, path []string) error {
	isMove := func(name string) bool { _, ok := queueMoves[name]; return ok }
	switch {
	case len(path) == 0:
		return resource{"GET": {q.listItems, slices.Concat(itemParams, []string{"limit", "after", "redact"})}}.ServeHTTP(w, r)
	case len(path) == 1 && isMove(path[0]):
		return resource{"POST": {q.moveItems(path[0]), slices.Concat(itemParams, []string{"id", "all", "after"})}}.ServeHTTP(w, r)
	case len(path) > 2:
		return apiError(http.StatusNotFound, "esmtp: there is nothing below /%s of an item", path[1])
	}
	id, err := parseItemID(path[0])
	switch {
	case err != nil:
		return err
	case len(path) == 1:
		return resource{"GET": {q.showItem(id), []string{"redact"}}}.ServeHTTP(w, r)
	case path[1] == "message":
		return resource{"GET": {q.showMessage(id), nil}}.ServeHTTP(w, r)
	case isMove(path[1]):
		return resource{"POST": {q.moveItem(path[1], id), nil}}.ServeHTTP(w, r)
	}
	return apiError(http.StatusNotFound, "esmtp: an item has /message, and %s to be posted to, not /%s", strings.Join(moveNames(), ", "), path[1])
}

// parseItemID reads an ID as people give it.
func parseItemID(text string) (spool.ID, error) {
	id, err := spool.ParseID(strings.ToLower(text))
	if err != nil {
		return 0, apiError(http.StatusBadRequest, "esmtp: %q is no id of an item: want 13 digits and letters", text)
	}
	return id, nil
}

// itemView is an item in JSON: as the spool has it, but with states in words always, and times in seconds.
type itemView struct {
	spool.Item
	State          spool.State     `json:"state"`
	Created        time.Time       `json:"created"`
	Recipients     []recipientView `json:"recipients"`      // in a list, the first ones
	RecipientCount int             `json:"recipient_count"` // of all
	Needs          []string        `json:"needs,omitempty"`
	Retry          []float64       `json:"retry,omitempty"` // -1: it is frozen then
}

type recipientView struct {
	spool.Recipient
	State spool.RecipientState `json:"state"`
}

// needNames are the bits of spool.Needs, in their order.
var needNames = []string{"8bit", "binary", "utf8", "requiretls"}

// newItemView shows an item with so many of its recipients, and without who mails whom if that is to be hidden.
func newItemView(it *spool.Item, recipients int, hide bool) itemView {
	view := itemView{Item: *it, State: it.State, Created: it.Created(), Recipients: []recipientView{}, RecipientCount: len(it.Recipients)}
	view.Route, view.NextHops = shownHop(it.Route), shownHops(it.NextHops)
	for _, rcpt := range it.Recipients[:min(recipients, len(it.Recipients))] {
		view.Recipients = append(view.Recipients, recipientView{rcpt, rcpt.State})
	}
	for i, name := range needNames {
		if it.Needs&(1<<i) != 0 {
			view.Needs = append(view.Needs, name)
		}
	}
	for _, wait := range it.Retry {
		view.Retry = append(view.Retry, max(wait.Seconds(), -1))
		if wait < 0 {
			view.Retry[len(view.Retry)-1] = -1
		}
	}
	if hide {
		view.redact()
	}
	return view
}

// redact hides who mails whom. Parameters have addresses in them, and replies and reasons can.
func (v *itemView) redact() {
	v.Reason, v.LastError = "", ""
	v.Sender = spool.Path{Address: redact(v.Sender.Address)}
	for i := range v.Recipients {
		r := &v.Recipients[i]
		r.Reply, r.Path = "", spool.Path{Address: redact(r.Address)}
	}
	v.Origin.User, v.Route = redact(v.Origin.User), redactHop(v.Route)
	for i := range v.NextHops { // a copy
		v.NextHops[i] = redactHop(v.NextHops[i])
	}
}

// itemsView is a page of items.
type itemsView struct {
	Items []itemView `json:"items"`
	Next  string     `json:"next,omitempty"` // for after, to get the next page
}

// newItemFilter reads the query parameters that choose items.
func newItemFilter(query url.Values) (f spool.Filter, err error) {
	f.Sender, f.Recipient, f.Route = query.Get("sender"), query.Get("recipient"), query.Get("route")
	for _, name := range []string{"sender", "recipient", "route", "state", "message", "after"} {
		if query.Has(name) && query.Get(name) == "" {
			hint := ""
			if name == "sender" {
				hint = "; the null sender is <>"
			}
			return f, apiError(http.StatusBadRequest, "esmtp: %s is empty%s", name, hint)
		}
	}
	if query.Has("state") {
		for name := range strings.SplitSeq(query.Get("state"), ",") {
			var state spool.State
			if err := state.UnmarshalText([]byte(name)); err != nil || state == spool.Delivered {
				return f, apiError(http.StatusBadRequest, "esmtp: there is no state %q%s", name, didYouMean(name, itemStates()))
			}
			f.States = append(f.States, state)
		}
	}
	for name, id := range map[string]*spool.ID{"message": &f.Message, "after": &f.After} {
		if query.Has(name) {
			if *id, err = parseItemID(query.Get(name)); err != nil {
				return f, err
			}
		}
	}
	for name, age := range map[string]*time.Duration{"older": &f.Older, "younger": &f.Younger} {
		if query.Has(name) {
			if *age, err = caddy.ParseDuration(query.Get(name)); err != nil || *age <= 0 {
				return f, apiError(http.StatusBadRequest, "esmtp: %s is a duration, such as 10m or 2d, not %q", name, query.Get(name))
			}
		}
	}
	f.Limit, err = number(query, "limit", somePerPage, 1, mostPerPage)
	return f, err
}

// itemStates are the names of the states that an item can be found in.
func itemStates() (names []string) {
	for state := range spool.Delivered {
		names = append(names, state.String())
	}
	return names
}

// listItems is GET /esmtp/queues/{name}/items.
func (q *liveQueue) listItems(w http.ResponseWriter, r *http.Request, query url.Values) error {
	page, err := itemsPage(r.Context(), q.live.shared, query)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, page)
}

// itemsPage lists items of a spool.
func itemsPage(ctx context.Context, s spool.Spool, query url.Values) (page itemsView, err error) {
	hide, err := yes(query, "redact")
	if err != nil {
		return page, err
	}
	f, err := newItemFilter(query)
	if err != nil {
		return page, err
	}
	items, next, err := s.List(ctx, f)
	if err != nil {
		return page, spoolError(err)
	}
	page.Items = []itemView{}
	for _, it := range items {
		page.Items = append(page.Items, newItemView(it, maxRecipients, hide))
	}
	if next != 0 {
		page.Next = next.String()
	}
	return page, nil
}

// showItem is GET /esmtp/queues/{name}/items/{id}.
func (q *liveQueue) showItem(id spool.ID) func(http.ResponseWriter, *http.Request, url.Values) error {
	return func(w http.ResponseWriter, r *http.Request, query url.Values) error {
		hide, err := yes(query, "redact")
		if err != nil {
			return err
		}
		it, err := q.live.shared.Get(r.Context(), id)
		if err != nil {
			return spoolError(err)
		}
		return writeJSON(w, http.StatusOK, newItemView(it, len(it.Recipients), hide))
	}
}

// openMessage opens the message of an item.
func openMessage(ctx context.Context, s spool.Spool, id spool.ID) (*spool.Item, io.ReadCloser, error) {
	it, err := s.Get(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	body, err := s.OpenBody(ctx, it)
	if errors.Is(err, spool.ErrDamaged) {
		if _, gone := s.Get(ctx, id); errors.Is(gone, spool.ErrNotFound) {
			err = gone // it was delivered just now
		}
	}
	return it, body, err
}

// showMessage is GET /esmtp/queues/{name}/items/{id}/message.
func (q *liveQueue) showMessage(id spool.ID) func(http.ResponseWriter, *http.Request, url.Values) error {
	return func(w http.ResponseWriter, r *http.Request, _ url.Values) error {
		it, body, err := openMessage(r.Context(), q.live.shared, id)
		if err != nil {
			return spoolError(err)
		}
		defer body.Close()
		header := w.Header()
		header.Set("Content-Type", "message/rfc822")
		header.Set("Content-Length", strconv.FormatInt(it.Size, 10))
		header.Set("Content-Disposition", `attachment; filename="`+id.String()+`.eml"`)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-store")
		control := http.NewResponseController(w)
		defer control.SetWriteDeadline(time.Time{})
		if err := copyWhole(slowWriter{w, control}, body, it.Size); err != nil {
			panic(http.ErrAbortHandler) // the status has been sent: all that can be done is to break off
		}
		return nil
	}
}

// copyWhole copies a message. The last octet is written when all of the message was read, and is known to be what it was: who gets less has been told that
// something is wrong.
func copyWhole(w io.Writer, body io.Reader, size int64) error {
	if _, err := io.CopyN(w, body, size-1); err != nil {
		return err
	}
	last, err := io.ReadAll(body) // one octet, and the result of the checksum
	if err == nil {
		_, err = w.Write(last)
	}
	return err
}

// slowWriter gives each write its own time, so that a message may take as long as it has to.
type slowWriter struct {
	w       io.Writer
	control *http.ResponseController
}

func (s slowWriter) Write(p []byte) (int, error) {
	s.control.SetWriteDeadline(time.Now().Add(writeTime))
	return s.w.Write(p)
}
