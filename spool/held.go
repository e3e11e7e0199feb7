package spool

import "time"

// Which items this process has on lease, or is changing.

// leased is an item on lease, or one that is being changed.
type leased struct {
	key   laneKey
	pos   position
	token int64     // zero: it is being changed, which counts for no route
	until time.Time // zero: it is being settled
}

// read begins and ends a fetch. It is called with fetching held.
func (l *lanes) read(begin bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reading = begin
	clear(l.recent)
}

// hold notes that items are leased, until the lease ends.
func (l *lanes) hold(items []*Item, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, it := range items {
		l.leased[it.ID] = &leased{key: it.lane(), pos: it.position(), token: it.lease, until: until}
		l.inRoute[it.Route]++
	}
	if l.expiry.IsZero() || until.Before(l.expiry) {
		l.expiry = until
	}
}

// release ends a lease.
func (l *lanes) release(id ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.releaseLocked(id)
}

func (l *lanes) releaseLocked(id ID) *leased {
	le := l.leased[id]
	if le == nil {
		return nil
	}
	delete(l.leased, id)
	if l.reading {
		l.recent[id] = struct{}{}
	}
	if le.token == 0 {
		return le
	}
	route := le.key.route
	if l.inRoute[route]--; l.inRoute[route] == 0 {
		delete(l.inRoute, route)
	}
	if parked := l.parked[route]; len(parked) > 0 {
		for _, ln := range parked {
			l.makeReady(ln)
		}
		delete(l.parked, route)
		l.signal()
	}
	return le
}

// claim reserves items that are not on lease, in order to change them. It returns those that it got; unclaim gives them back.
func (l *lanes) claim(ids []ID) (got []ID) {
	l.fetching.Lock()
	defer l.fetching.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if l.leased[id] == nil {
			l.leased[id] = &leased{}
			got = append(got, id)
		}
	}
	return got
}

// settling checks the lease of an item and stops its clock. After that it ends with release only.
func (l *lanes) settling(it *Item) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	le := l.leased[it.ID]
	if le == nil || le.token != it.lease || le.token == 0 || le.until.IsZero() {
		return ErrLeaseLost
	}
	le.until = time.Time{}
	return nil
}

// unclaim gives back what claim got, unless PostgreSQL has leased it meanwhile: then the change was refused.
func (l *lanes) unclaim(ids []ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if le := l.leased[id]; le != nil && le.token == 0 {
			l.releaseLocked(id)
		}
	}
}

// renew makes leases end later.
func (l *lanes) renew(items []*Item, until time.Time) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, it := range items {
		if le := l.leased[it.ID]; le != nil && le.token == it.lease && !le.until.IsZero() {
			le.until = until
		} else {
			err = ErrLeaseLost
		}
	}
	return err
}

// expire ends the leases that nobody settled in time, at most once a second.
func (l *lanes) expire(now time.Time) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.expiry.IsZero() || now.Before(l.expiry) {
		return 0
	}
	l.expiry = time.Time{}
	for id, le := range l.leased {
		switch {
		case le.until.IsZero():
		case !now.Before(le.until):
			l.releaseLocked(id)
			l.addLocked(le.key, le.pos)
			n++
		case l.expiry.IsZero() || le.until.Before(l.expiry):
			l.expiry = le.until
		}
	}
	if least := now.Add(time.Second); !l.expiry.IsZero() && l.expiry.Before(least) {
		l.expiry = least
	}
	return n
}

// isHeld reports whether an item is leased or being changed, and whether it is leased.
func (l *lanes) isHeld(id ID) (held, onLease bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	le := l.leased[id]
	_, recent := l.recent[id]
	return le != nil || recent, le != nil && le.token != 0
}

// laneOf is the lane that an item on lease came from, whatever its holder has made of it.
func (l *lanes) laneOf(it *Item) laneKey {
	l.mu.Lock()
	defer l.mu.Unlock()
	if le := l.leased[it.ID]; le != nil {
		return le.key
	}
	return it.lane()
}
