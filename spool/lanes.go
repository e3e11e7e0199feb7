package spool

import (
	"cmp"
	"container/heap"
	"container/list"
	"sync"
	"time"
)

// lanes is what this process knows about the queue without asking the database: which routes have something queued, and when the first of
// it is due. A lane is the queued items of one route and one priority, in the order in which they are due. Lanes that are due take turns.
type lanes struct {
	// fetching is held from before an item is read in order to be leased until it is known to be: who wants an item that is on nobody's
	// lease takes it for a moment.
	fetching sync.Mutex

	mu      sync.Mutex
	all     map[laneKey]*lane
	waiting laneHeap           // by next
	ready   [19]list.List      // of those due, by priority from 9 to -9
	nReady  int                // in all of ready
	skipped int                // of those, how many the last Lease left because their routes were excluded
	parked  map[string][]*lane // of those due, while their routes have as much on lease as they may
	leased  map[ID]*leased
	recent  map[ID]bool    // released since the fetch began that is reading, which may see them as they were; true: they are still there
	inRoute map[string]int // how many of a route are leased, and not being settled
	expiry  time.Time      // no lease ends before
	reading bool           // a fetch is
	wake    chan struct{}
}

type laneKey struct {
	route    string
	priority int
}

// position is the place of an item in its lane.
type position struct {
	due int64
	id  ID
}

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.due, q.due), cmp.Compare(p.id, q.id))
}

type lane struct {
	laneKey
	next   int64    // when the first item is due that is not on lease
	cursor position // up to here all are on lease, or come back by themselves
	where  laneWhere
	index  int           // in waiting
	elem   *list.Element // in ready
	added  bool          // something came while it was taken,
	first  position      // and this was the first of it
}

type laneWhere uint8

const (
	laneTaken   laneWhere = iota // by Lease, which is reading
	laneWaiting                  // until next
	laneReady
	laneParked
)

func newLanes() *lanes {
	return &lanes{
		all: map[laneKey]*lane{}, parked: map[string][]*lane{}, leased: map[ID]*leased{}, recent: map[ID]bool{}, inRoute: map[string]int{},
		wake: make(chan struct{}),
	}
}

// add tells that an item is queued.
func (l *lanes) add(key laneKey, pos position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addLocked(key, pos)
	l.signal()
}

func (l *lanes) addLocked(key laneKey, pos position) {
	ln := l.all[key]
	if ln == nil {
		ln = &lane{laneKey: key, next: pos.due, cursor: pos.before()}
		l.all[key] = ln
		l.place(ln)
		return
	}
	if ln.where == laneTaken { // Lease reads from cursor on; put looks at first
		if !ln.added || pos.compare(ln.first) < 0 {
			ln.added, ln.first = true, pos
		}
		return
	}
	if pos.compare(ln.cursor) <= 0 {
		ln.cursor = pos.before()
	}
	if pos.due < ln.next {
		ln.next = pos.due
		if ln.where == laneWaiting {
			heap.Fix(&l.waiting, ln.index)
		}
	}
}

func (p position) before() position { return position{p.due, p.id - 1} }

// place puts a lane where it waits until it is due.
func (l *lanes) place(ln *lane) {
	ln.where = laneWaiting
	heap.Push(&l.waiting, ln)
}

// wakeDue moves the lanes that are due to ready.
func (l *lanes) wakeDue(now int64) {
	for len(l.waiting) > 0 && l.waiting[0].next <= now {
		l.makeReady(heap.Pop(&l.waiting).(*lane))
	}
}

func (l *lanes) makeReady(ln *lane) {
	ln.where = laneReady
	ln.elem = l.ready[9-ln.priority].PushBack(ln)
	l.nReady++
}

// take takes the next lane, and says how many items it may give now: all that are wanted, divided by the lanes of the same priority. The
// lanes of excluded routes stay where they are. The caller gives it back with put.
func (l *lanes) take(now int64, want int, o *LeaseOptions) (ln *lane, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wakeDue(now)
	l.skipped = 0
	for i := range l.ready {
		for e := l.ready[i].Front(); e != nil; {
			ln, next := e.Value.(*lane), e.Next()
			if _, excluded := o.Exclude[ln.route]; excluded {
				e = next
				continue
			}
			n = (want + l.ready[i].Len() - 1) / l.ready[i].Len()
			l.ready[i].Remove(e)
			l.nReady--
			ln.elem = nil
			if o.PerRoute > 0 {
				n = min(n, o.PerRoute-l.inRoute[ln.route])
			}
			if n > 0 {
				ln.where, ln.added = laneTaken, false
				return ln, n
			}
			ln.where = laneParked
			l.parked[ln.route] = append(l.parked[ln.route], ln)
			e = next
		}
	}
	l.skipped = l.nReady
	return nil, 0
}

// put gives a lane back. Its next item is due at next; none means that it has none.
func (l *lanes) put(ln *lane, next int64, cursor position, none bool, now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case ln.added: // before or after the lane was read: look again
		if ln.next = ln.first.due; !none {
			ln.next = min(ln.next, next)
		}
		if ln.cursor = cursor; ln.first.compare(cursor) <= 0 {
			ln.cursor = ln.first.before()
		}
	case none:
		delete(l.all, ln.laneKey)
		return
	default:
		ln.next, ln.cursor = next, cursor
	}
	l.signal() // others may have looked while it was taken, and seen nothing
	if ln.next <= now {
		l.makeReady(ln)
	} else {
		l.place(ln)
	}
}

func (it *Item) lane() laneKey      { return laneKey{it.Route, it.Priority} }
func (it *Item) position() position { return position{toMilli(it.Due), it.ID} }

// signal closes the channel of Ready. It is called with mu held.
func (l *lanes) signal() {
	close(l.wake)
	l.wake = make(chan struct{})
}

// nextDue is when there is something to do: a lane becomes due, or a lease ends.
func (l *lanes) nextDue() (t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.nReady > l.skipped {
		return time.Now()
	}
	if len(l.waiting) > 0 {
		t = fromMilli(max(l.waiting[0].next, 1))
	}
	if !l.expiry.IsZero() && (t.IsZero() || l.expiry.Before(t)) {
		t = l.expiry
	}
	return t
}

// laneHeap is a heap of lanes by when they are due.
type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].next < h[j].next }
func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *laneHeap) Push(x any) {
	ln := x.(*lane)
	ln.index = len(*h)
	*h = append(*h, ln)
}
func (h *laneHeap) Pop() any {
	old := *h
	ln := old[len(old)-1]
	*h = old[:len(old)-1]
	return ln
}
