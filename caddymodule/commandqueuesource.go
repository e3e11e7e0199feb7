package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/caddy-esmtp/esmtp/spool"
)

// queueSource is where commands look at a queue: a Caddy that is running, or a spool without one.
type queueSource interface {
	// page lists items; the query is that of GET /esmtp/queues/{name}/items.
	page(query url.Values) (itemsView, error)
	item(id string, query url.Values) (itemView, error)
	message(id string) (io.ReadCloser, error)
	stats() ([]queueView, error)
	check() (checkView, error)
	close()
}

// open finds the source.
func (c *queueClient) open(ctx context.Context) (queueSource, error) {
	if c.spool != "" {
		return c.openSpool(ctx)
	}
	path, err := c.path()
	if errors.Is(err, errNotThere) {
		err = fmt.Errorf("%w; without Caddy, --spool reads the spool", err)
	}
	return &remoteQueue{c, path}, err
}

// allItems gets all pages.
func allItems(source queueSource, query url.Values, each func([]itemView) error) error {
	query.Set("limit", strconv.Itoa(mostPerPage))
	for {
		page, err := source.page(query)
		if err != nil {
			return err
		}
		if err := each(page.Items); err != nil || page.Next == "" {
			return err
		}
		query.Set("after", page.Next)
	}
}

// remoteQueue is a queue of a Caddy that is running.
type remoteQueue struct {
	*queueClient
	at string // its path
}

func (q *remoteQueue) page(query url.Values) (page itemsView, err error) {
	err = q.get(http.MethodGet, q.at+"/items", query, &page)
	return page, err
}

func (q *remoteQueue) item(id string, query url.Values) (item itemView, err error) {
	err = q.get(http.MethodGet, q.at+"/items/"+url.PathEscape(id), query, &item)
	return item, err
}

func (q *remoteQueue) message(id string) (io.ReadCloser, error) {
	return q.do(http.MethodGet, q.at+"/items/"+url.PathEscape(id)+"/message", nil)
}

func (q *remoteQueue) stats() ([]queueView, error) { return q.queues() }

func (q *remoteQueue) check() (view checkView, err error) {
	err = q.post(q.at+"/check", nil, struct{}{}, &view)
	return view, err
}

func (q *remoteQueue) close() {}

// spoolQueue is a spool that is read without Caddy.
type spoolQueue struct {
	spool.Spool
	ctx            context.Context
	command, where string
}

// openSpool opens a spool that must be there already.
func (c *queueClient) openSpool(ctx context.Context) (queueSource, error) {
	if !strings.HasPrefix(c.spool, "postgres") {
		if _, err := os.Stat(filepath.Join(strings.TrimPrefix(c.spool, "sqlite://"), "spool.db")); err != nil {
			return nil, fmt.Errorf("%s: there is no spool at %s: %w", c.command, c.spool, err)
		}
	}
	s, err := spool.Open(ctx, c.spool, &spool.Options{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	switch {
	case errors.Is(err, spool.ErrLocked):
		return nil, fmt.Errorf("%s: a process has %s open, which should be Caddy: leave out --spool to ask it", c.command, c.spool)
	case err != nil:
		return nil, (&spoolQueue{command: c.command}).wrap(err)
	}
	return &spoolQueue{s, ctx, c.command, c.spool}, nil
}

// wrap names the command in an error, as the client of the admin API does.
func (q *spoolQueue) wrap(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, prefix := range []string{"esmtp: ", "spool: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return fmt.Errorf("%s: %s", q.command, text)
}

func (q *spoolQueue) page(query url.Values) (itemsView, error) {
	page, err := itemsPage(q.ctx, q, query)
	return page, q.wrap(err)
}

func (q *spoolQueue) item(text string, query url.Values) (itemView, error) {
	id, err := parseItemID(text)
	if err != nil {
		return itemView{}, q.wrap(err)
	}
	it, err := q.Get(q.ctx, id)
	if err != nil {
		return itemView{}, q.wrap(err)
	}
	return newItemView(it, len(it.Recipients), query.Has("redact")), nil
}

func (q *spoolQueue) message(text string) (io.ReadCloser, error) {
	id, err := parseItemID(text)
	if err != nil {
		return nil, q.wrap(err)
	}
	_, body, err := openMessage(q.ctx, q, id)
	return body, q.wrap(err)
}

func (q *spoolQueue) stats() ([]queueView, error) {
	view, err := newQueueView(q.ctx, q, q.where, someRoutes)
	return []queueView{view}, q.wrap(err)
}

func (q *spoolQueue) check() (checkView, error) {
	view, err := checkSpool(q.ctx, q)
	return view, q.wrap(err)
}

func (q *spoolQueue) close() { q.Close() }
