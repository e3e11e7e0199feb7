package spool

import "time"

// Which items this process has on lease, or is changing.

// leased is an item on lease, or one that is being changed.
type leased struct {
	key   laneKey
	pos   position
	token int64     // zero: it is being changed, which counts for no route
	until time.Time // zero: it is being settled

	passed *place // where a fetch went past it, while it was being changed or settled
}

// place is where an item is in the queue.
type place struct {
	key laneKey
	pos position
}

// pass reports whether a fetch is to go past an item that is there, because somebody has it. Who changes it may leave it there, or have put it there by
// now: then the next fetch looks there again, once they have let go of it.
func (l *lanes) pass(at place) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if le := l.leased[at.pos.id]; le != nil {
		if le.until.IsZero() {
			le.passed = new(at)
		}
		return true
	}
	stays, recent := l.recent[at.pos.id]
	if stays {
		l.addLocked(at.key, at.pos)
	}
	return recent
}

// read begins and ends a fetch. It is called with fetching held.
func (l *lanes) read(begin bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reading = begin
	clear(l.recent)
}

// hold notes that items are leased, until the lease ends.
func (l *lanes) hold(items []*Item, token int64, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, it := range items {
		if le := l.leased[it.ID]; le != nil && le.token != 0 && !le.until.IsZero() {
			l.freeRoute(le.key.route) // that lease has ended in the database, and who had it doesn't know yet
		}
		it.lease = token
		l.leased[it.ID] = &leased{key: it.lane(), pos: it.position(), token: token, until: until}
		l.inRoute[it.Route]++
	}
	if l.expiry.IsZero() || until.Before(l.expiry) {
		l.expiry = until
	}
}

// ours is the lease of an item, if it is still that by which its holder got it. With PostgreSQL somebody else may have leased it by now: as soon as what became
// of it is committed, anybody can. That lease is not to be touched.
func (l *lanes) ours(it *Item) *leased {
	if le := l.leased[it.ID]; le != nil && le.token == it.lease && le.token != 0 {
		return le
	}
	return nil
}

// release ends the lease of an item that was changed.
func (l *lanes) release(it *Item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ours(it) != nil {
		l.releaseLocked(it.ID, true)
	}
}

// gone ends that of one that was deleted.
func (l *lanes) gone(it *Item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ours(it) != nil {
		l.releaseLocked(it.ID, false)
	}
}

// comeBack ends that of one that is as it was: it is where it came from, whatever its holder has made of it.
func (l *lanes) comeBack(it *Item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if le := l.ours(it); le != nil {
		l.releaseLocked(it.ID, true)
		l.addLocked(le.key, le.pos)
		l.signal()
	}
}

// releaseLocked lets go of an item. stays says that it is still there.
func (l *lanes) releaseLocked(id ID, stays bool) {
	le := l.leased[id]
	delete(l.leased, id)
	if l.reading {
		l.recent[id] = stays
	}
	if le.token != 0 && !le.until.IsZero() {
		l.freeRoute(le.key.route)
	}
	if stays && le.passed != nil {
		l.addLocked(le.passed.key, le.passed.pos)
		l.signal()
	}
}

// freeRoute tells that a route has one less on lease.
func (l *lanes) freeRoute(route string) {
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

// settling checks the lease of an item and stops its clock. After that it ends with release, or goes on with unsettle. Meanwhile it doesn't
// count for its route: the attempt is over, and the next need not wait until what became of it is on disk.
func (l *lanes) settling(it *Item) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	le := l.ours(it)
	if le == nil || le.until.IsZero() {
		return ErrLeaseLost
	}
	le.until = time.Time{}
	l.freeRoute(le.key.route)
	return nil
}

// unsettle starts the clock of a lease again, after settling failed: its holder can try again until then.
func (l *lanes) unsettle(it *Item, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	le := l.ours(it)
	if le == nil {
		return
	}
	le.until = until
	l.inRoute[le.key.route]++
	if l.expiry.IsZero() || until.Before(l.expiry) {
		l.expiry = until
	}
}

// unclaim gives back what claim got, unless PostgreSQL has leased it meanwhile: then the change was refused.
func (l *lanes) unclaim(ids []ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if le := l.leased[id]; le != nil && le.token == 0 {
			l.releaseLocked(id, true)
		}
	}
}

// renew makes leases end later.
func (l *lanes) renew(items []*Item, until time.Time) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, it := range items {
		if le := l.ours(it); le != nil && !le.until.IsZero() {
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
			l.releaseLocked(id, true)
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

// mine is what this process has on lease from a lane. A lease can be over in a database that was away, while who has it goes on, and is about to settle: nobody
// here is to begin anew.
func (l *lanes) mine(key laneKey) []int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := []int64{} // an array of none, and not NULL
	for id, le := range l.leased {
		if le.token != 0 && le.key == key {
			ids = append(ids, int64(id))
		}
	}
	return ids
}

// onLease reports whether an item is leased, and not just being changed.
func (l *lanes) onLease(id ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	le := l.leased[id]
	return le != nil && le.token != 0
}
