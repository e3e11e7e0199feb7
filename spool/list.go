package spool

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Get implements [Spool].
func (s *store) Get(ctx context.Context, id ID) (*Item, error) {
	items, _, err := s.scan(ctx, id-1, 1, func(it *Item) bool { return it.ID == id }, 1)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	return items[0], nil
}

// List implements [Spool].
func (s *store) List(ctx context.Context, f Filter) (items []*Item, next ID, err error) {
	setDefault(&f.Limit, 100)
	f.Limit = min(f.Limit, 1000)
	now := time.Now()
	after := f.After
	for {
		got, last, err := s.scan(ctx, after, 256, func(it *Item) bool { return f.match(it, now) }, f.Limit-len(items))
		if err != nil {
			return nil, 0, err
		}
		items = append(items, got...)
		if last == 0 {
			return items, 0, nil
		}
		if len(items) == f.Limit {
			return items, last, nil
		}
		after = last
	}
}

// scan reads up to n rows after an ID and returns those that match, want at most. last is the last row that was looked at, zero if there
// are no more.
func (s *store) scan(ctx context.Context, after ID, n int, match func(*Item) bool, want int) (items []*Item, last ID, err error) {
	query := s.dialect.bind("SELECT " + columns + " FROM spool_item WHERE id > ? ORDER BY id LIMIT ?")
	rows, err := s.db.QueryContext(ctx, query, int64(after), n)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	looked := 0
	for rows.Next() {
		r, err := scanItem(rows)
		if err != nil {
			return nil, 0, err
		}
		looked++
		it, _ := r.decode() // a damaged one has its state
		if s.onLease(it, r.due) {
			it.State = Sending
		}
		it.lease = 0 // it is only looked at
		last = it.ID
		if match(it) {
			if items = append(items, it); len(items) == want {
				return items, last, nil
			}
		}
	}
	if looked < n {
		last = 0
	}
	return items, last, rows.Err()
}

func (s *store) onLease(it *Item, due int64) bool {
	if it.State != Queued {
		return false
	}
	return s.lanes.onLease(it.ID) || it.lease != 0 && due > time.Now().UnixMilli()
}

// match is done here and not by the database: what people type is never part of a query, and means the same with all databases.
func (f *Filter) match(it *Item, now time.Time) bool {
	age := now.Sub(it.Created())
	return (len(f.States) == 0 || slices.Contains(f.States, it.State)) &&
		(f.Message == 0 || it.Message == f.Message || it.Parent == f.Message) &&
		(f.Older == 0 || age > f.Older) && (f.Younger == 0 || age < f.Younger) &&
		(f.Sender == "" || f.Sender == "<>" && it.Sender.Address == "" || matchText(f.Sender, it.Sender.Address)) &&
		(f.Recipient == "" || slices.ContainsFunc(it.Recipients, func(r Recipient) bool { return matchText(f.Recipient, r.Address) })) &&
		(f.Route == "" || matchText(f.Route, it.Route) || slices.ContainsFunc(it.NextHops, func(h string) bool { return matchText(f.Route, h) }))
}

// matchText finds the pattern in s, or if there are '*' or '?' in it, compares all of s with it. Case doesn't count.
func matchText(pattern, s string) bool {
	pattern, s = strings.ToLower(pattern), strings.ToLower(s)
	if !strings.ContainsAny(pattern, "*?") {
		return strings.Contains(s, pattern)
	}
	p, t := []rune(pattern), []rune(s)
	i, j, star, from := 0, 0, -1, 0
	for j < len(t) { // after a mismatch the last star takes one more
		switch {
		case i < len(p) && p[i] == '*':
			star, from = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[j]):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(string(p[i:]), "*") == ""
}
