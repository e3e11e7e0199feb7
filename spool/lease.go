package spool

import (
	"context"
	"slices"
	"time"
)

// Lease implements [Spool].
func (s *store) Lease(ctx context.Context, o LeaseOptions) (items []*Item, err error) {
	setDefault(&o.Max, 100)
	setDefault(&o.TTL, defaultTTL)
	s.closing.RLock()
	closed := s.closed
	s.closing.RUnlock()
	if closed {
		return nil, ErrClosed
	}
	if n := s.lanes.expire(time.Now()); n > 0 {
		s.log.Warn("spool: leases ended before their items were settled", "items", n)
	}
	for len(items) < o.Max && err == nil {
		now := time.Now()
		ln, n := s.lanes.take(now.UnixMilli(), o.Max-len(items), &o)
		if ln == nil {
			break
		}
		var got []*Item
		got, err = s.leaseLane(ctx, ln, n, now, now.Add(o.TTL))
		items = append(items, got...)
	}
	if len(items) > 0 {
		err = nil // what is leased is leased; the next call says the same
	}
	return items, err
}

const defaultTTL = 15 * time.Minute

// leaseLane leases up to n items of a lane that it was given.
func (s *store) leaseLane(ctx context.Context, ln *lane, n int, now, until time.Time) ([]*Item, error) {
	s.lanes.fetching.Lock()
	defer s.lanes.fetching.Unlock()
	s.lanes.read(true)
	defer s.lanes.read(false)
	token := int64(s.ids.next())
	f, err := s.dialect.fetch(ctx, s, ln, n, token, now, until)
	if err != nil {
		// Nothing is leased, or, if PostgreSQL has not told us, comes back by itself.
		s.lanes.put(ln, now.Add(time.Second).UnixMilli(), ln.cursor, false, now.UnixMilli())
		return nil, err
	}
	for _, it := range f.items {
		it.State = Sending
	}
	s.lanes.hold(slices.Concat(f.items, f.damaged), token, until)
	s.lanes.put(ln, f.next, f.cursor, f.none, now.UnixMilli())
	for _, it := range f.damaged {
		go s.setAside(it, ErrDamaged)
	}
	return f.items, nil
}

// Renew implements [Spool].
func (s *store) Renew(ctx context.Context, ttl time.Duration, items ...*Item) error {
	setDefault(&ttl, defaultTTL)
	until := time.Now().Add(ttl)
	if err := s.dialect.renew(ctx, items, until); err != nil {
		return err
	}
	return s.lanes.renew(items, until)
}

// Return implements [Spool].
func (s *store) Return(ctx context.Context, items ...*Item) error {
	var ours []*Item
	for _, it := range items {
		if s.lanes.settling(it) == nil {
			ours = append(ours, it)
		}
	}
	err := s.dialect.giveBack(ctx, ours) // if it fails they come back by themselves
	for _, it := range ours {
		s.lanes.comeBack(it)
	}
	s.dialect.committed()
	return err
}
