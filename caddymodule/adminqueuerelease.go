package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/spool"
	"github.com/caddy-esmtp/esmtp/wrap"
)

// releaseOrder is the body of a release. What is nil is left as it was.
type releaseOrder struct {
	Sender     *string  `json:"sender,omitempty"` // "" is the null sender
	Recipients []string `json:"recipients,omitempty"`
	NextHops   []string `json:"next_hops"` // none: the mail exchangers, or as the queue is set

	Wrap   bool   `json:"wrap,omitempty"`   // as an attachment of a message that says why it was held
	Reason string `json:"reason,omitempty"` // which that says, instead of the item's
}

func prepareRelease(q *liveQueue, read func(any) error) (doMove, error) {
	var order releaseOrder
	if err := read(&order); err != nil {
		return nil, err
	}
	edit, err := order.edit()
	if err != nil {
		return nil, apiError(http.StatusBadRequest, "esmtp: %w", err)
	}
	hops, _ := parseHops(order.NextHops) // edit has read them
	if err := q.checkLogins(hops); err != nil {
		return nil, apiError(http.StatusBadRequest, "esmtp: %w", err)
	}
	release := q.releaser(order)
	return func(ctx context.Context, s spool.Spool, ids []spool.ID) error {
		var errs []error
		for _, id := range ids {
			err := release(ctx, s, id, edit)
			if err != nil && !errors.As(err, new(*spool.ItemError)) {
				err = &spool.ItemError{ID: id, Err: err} // each is a transaction of its own
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}, nil
}

// releaser is how an item is released by the order.
func (q *liveQueue) releaser(order releaseOrder) func(context.Context, spool.Spool, spool.ID, func(*spool.Item)) error {
	return func(ctx context.Context, s spool.Spool, id spool.ID, edit func(*spool.Item)) error {
		if !order.Wrap {
			return s.Release(ctx, id, edit)
		}
		return wrap.Release(ctx, s, id, wrap.Options{Hostname: q.Hostname, Reason: order.Reason}, edit)
	}
}

// edit checks the order, and returns what changes an item by it.
func (o releaseOrder) edit() (func(*spool.Item), error) {
	var sender spool.Path
	var err error
	if o.Reason != "" && !o.Wrap {
		return nil, errors.New("reason is for a message that is wrapped: say wrap too")
	}
	if o.Sender != nil {
		if sender, err = newPath(*o.Sender); err != nil {
			return nil, err
		}
	}
	if _, err := parseHops(o.NextHops); err != nil {
		return nil, err
	}
	var rcpts []spool.Recipient
	domains := make(map[string]bool)
	for _, address := range o.Recipients {
		path, err := newPath(address)
		if err != nil {
			return nil, err
		}
		parsed, _ := path.Path() // it is fine
		if parsed.Domain() == "" {
			return nil, errors.New("recipient " + path.Address + " has no domain")
		}
		domains[parsed.Domain()] = true
		rcpts = append(rcpts, spool.Recipient{Path: path})
	}
	if o.Recipients != nil && len(rcpts) == 0 {
		return nil, errors.New("recipients is empty")
	}
	if len(domains) > 1 && len(o.NextHops) == 0 { // an item has one destination
		return nil, errors.New("recipients are of more than one domain: that needs next_hops")
	}
	return func(it *spool.Item) {
		if o.Sender != nil && sender.Address != it.Sender.Address {
			it.Sender.Address = sender.Address // the parameters are about the message
		}
		if len(rcpts) > 0 {
			it.Recipients = keepParams(rcpts, it.Recipients)
		}
		if o.NextHops != nil {
			it.NextHops = o.NextHops
		}
		setRoute(it)
	}, nil
}

// newPath checks an address.
func newPath(address string) (spool.Path, error) {
	path, err := esmtp.NewPath(strings.TrimSuffix(strings.TrimPrefix(address, "<"), ">"), "")
	return spool.PathOf(path), err
}

// keepParams gives recipients that were there already their parameters back.
func keepParams(rcpts, before []spool.Recipient) []spool.Recipient {
	rcpts = slices.Clone(rcpts)
	for i := range rcpts {
		if j := slices.IndexFunc(before, func(r spool.Recipient) bool { return r.Address == rcpts[i].Address }); j >= 0 {
			rcpts[i].Params = before[j].Params
		}
	}
	return rcpts
}

// setRoute brings what depends on the addresses and hops of an item up to date.
func setRoute(it *spool.Item) {
	if len(it.NextHops) > 0 {
		it.Route = it.NextHops[0]
	} else if path, err := it.Recipients[0].Path.Path(); err == nil {
		it.Route = path.Domain()
	}
	ascii := func(s string) bool { return !strings.ContainsFunc(s, func(c rune) bool { return c >= utf8.RuneSelf }) }
	if !ascii(it.Sender.Address) || slices.ContainsFunc(it.Recipients, func(r spool.Recipient) bool { return !ascii(r.Address) }) {
		it.Needs |= spool.NeedsUTF8
	}
}
