package spool

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"
)

// The errors of the spool. Others come from the database or the file system and are as good as temporary: 451.
var (
	// ErrFull: the disk is full. Say 452 (RFC 5321 §4.2.3). What is in the spool can still be settled and removed.
	ErrFull = errors.New("spool: disk is full")
	// ErrClosed: the spool was closed.
	ErrClosed = errors.New("spool: closed")
	// ErrItem: an item can't be kept as it is; the text says why.
	ErrItem = errors.New("spool: bad item")
	// ErrNotFound: there is no such item, or no longer.
	ErrNotFound = errors.New("spool: no such item")
	// ErrMove: the item is in a state from which there is no such move; the text names both.
	ErrMove = errors.New("spool: not in this state")
	// ErrLeaseLost: the lease ended before the item was settled, and the item is somebody else's or due again.
	ErrLeaseLost = errors.New("spool: lease is over")
	// ErrDamaged: the item or its body can't be read as it was written. It is set aside in the state Damaged.
	ErrDamaged = errors.New("spool: damaged")
	// ErrLocked: another process has this folder open. Several processes share a spool with PostgreSQL.
	ErrLocked = errors.New("spool: in use by another process")
)

// Options are the settings of a spool. The zero value and nil mean the defaults.
type Options struct {
	// Logger gets what the owner of the spool must know: damage, a full disk, a lost connection. Default: [slog.Default].
	Logger *slog.Logger
	// KeepRemoved is how long a removed item can be recovered. Default: 7 days.
	KeepRemoved time.Duration
	// KeepQuarantined is how long a quarantined item is kept. Default: 30 days.
	KeepQuarantined time.Duration

	reserve  int64 // octets kept free for when the disk is full; for tests
	maxPages int   // of the database file; for tests

	beforeCommit func() error // for tests
}

// Spool is an open spool; see [Open]. Any goroutine may call any method; a draft, an item and a body belong to one goroutine at a time.
type Spool interface {
	// Create begins a message. End it with Commit, Abort or a Settle that takes it.
	Create() *Draft
	// Room is [ErrFull] if a message of n octets has no room, as far as can be told beforehand; 0: one of any size. It asks the system only about
	// large ones. Nothing is set aside: Commit may say otherwise.
	Room(n int64) error

	// Ready returns a channel that is closed when there may be more to lease than at the last call of Lease: something was committed, moved
	// or settled. Take it before Lease. What becomes due by time alone is told by NextDue.
	Ready() <-chan struct{}
	// NextDue is when the next item becomes due: now or in the past if there is one now, unless the last Lease left it because of a
	// limit or an excluded route; the zero Time if there is none.
	NextDue() time.Time
	// Lease takes items that are due, fairly over their routes, those of higher priority first: they are Sending until settled, returned, or
	// until the lease ends. No items and no error: there is none.
	Lease(ctx context.Context, o LeaseOptions) ([]*Item, error)
	// Renew makes the leases end ttl from now (zero: the default). [ErrLeaseLost] if one of them has ended already.
	Renew(ctx context.Context, ttl time.Duration, items ...*Item) error
	// Return gives leased items back unchanged, due now: they were not tried.
	Return(ctx context.Context, items ...*Item) error
	// Settle ends an attempt: it writes what has become of a leased item, in one transaction with the reports about it. The caller has set
	// State to Queued (and Due), Frozen (and Reason) or Delivered, which deletes the item and, with the last of a message, the body; and
	// any of the fields that it knows better now. The item is not to be used afterwards.
	//
	// With an error nothing was written, the drafts are thrown away, and the item comes back: at once, when it is given back with Return,
	// or when its lease ends.
	//
	// Delivered without reports returns at once, and is on disk a moment later: if the process dies before, the message is delivered again.
	Settle(ctx context.Context, item *Item, reports ...Report) error

	// OpenBody opens the body of an item: it reads from disk as it is read from. [ErrDamaged] if it is not there, or shorter than it was; a
	// wrong checksum is found at the end, in place of io.EOF, when all was read from the beginning to the end. Then the item is set aside, and
	// not to be settled any more. [ErrNotFound] if the item is no longer there. ctx is to last until the body is closed.
	OpenBody(ctx context.Context, item *Item) (io.ReadSeekCloser, error)
	// Get returns an item.
	Get(ctx context.Context, id ID) (*Item, error)
	// List returns the items that pass the filter, oldest first. next is where to go on (Filter.After), zero at the end.
	List(ctx context.Context, f Filter) (items []*Item, next ID, err error)
	// Stats counts, with the top routes that have most items queued.
	Stats(ctx context.Context, top int) (Stats, error)
	// Subscribe tells what happens in this process from now on.
	Subscribe(buffer int) *Subscription
	// Check compares items and bodies, sets aside what is damaged, and deletes bodies that no item has. It reads the whole spool.
	Check(ctx context.Context) (CheckReport, error)

	// The moves work on all items that they can work on; the error joins an [ItemError] for each of the others. Another error among them is that of
	// the database: of 256 items, in the order of their IDs, all or none are moved.

	// Freeze takes queued items out of the queue, until they are thawed.
	Freeze(ctx context.Context, reason string, ids ...ID) error
	// Thaw puts frozen, or damaged, items back into the queue, due now, or when they are to be released. Their time begins anew; see [Item.Entered].
	Thaw(ctx context.Context, ids ...ID) error
	// SendNow makes queued or frozen items due now, also those that are to be released later. The time of those that were frozen, or that get more
	// tries, begins anew.
	SendNow(ctx context.Context, o SendNow, ids ...ID) error
	// Remove takes frozen, quarantined or damaged items away. They can be recovered for a while.
	Remove(ctx context.Context, ids ...ID) error
	// Recover brings removed items back, frozen.
	Recover(ctx context.Context, ids ...ID) error
	// Release sends a quarantined item, due now, or when it is to be released, after the edit, which may be nil; see [Item] for what it may set. Its
	// time begins anew.
	Release(ctx context.Context, id ID, edit func(*Item)) error
	// ReleaseAs commits another message in place of a quarantined item, which is removed in the same transaction, and can be recovered as if
	// by Remove. The items of the message have it as their Parent. With an error neither has happened, as with that of [Draft.Commit], and the
	// draft is thrown away; it is an [ItemError] if the item can't be released.
	ReleaseAs(ctx context.Context, id ID, message Report) error

	// Keep changes for how long items are kept from now on that are removed, or quarantined; see [Options]. Those that are, keep the time they have.
	Keep(removed, quarantined time.Duration)

	// Close waits for what is being written, gives back what is on lease, and closes the database. The leases of a process that dies
	// come back with SQLite at the next Open, with PostgreSQL when they end.
	Close() error
}

// LeaseOptions say what to lease.
type LeaseOptions struct {
	Max      int                 // items at most; default 100
	TTL      time.Duration       // when the lease ends by itself; default 15 minutes
	PerRoute int                 // no route has more on lease in this process; 0: no limit
	Exclude  map[string]struct{} // routes not to lease now
}

// Report is a message about an item, such as a bounce, or in place of it: a draft, and where it goes.
type Report struct {
	Draft *Draft
	Items []*Item
}

// ItemError is why an item was not moved: its Err wraps [ErrMove], [ErrNotFound], [ErrItem] or [ErrDamaged].
type ItemError struct {
	ID  ID
	Err error
}

// Error is that of Err.
func (e *ItemError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *ItemError) Unwrap() error { return e.Err }

// SendNow says how to send items now.
type SendNow struct {
	Retry  []time.Duration // put before what is left of the item's schedule
	Failed bool            // try the recipients that have failed again, too
}

// Filter selects items. A zero field selects all.
type Filter struct {
	States    []State       // any of them
	Sender    string        // the address holds this text, without regard to case; with '*' or '?' in it, matches as a whole; "<>": it is null
	Recipient string        // the same about any recipient
	Route     string        // the same about the route or any next hop
	Message   ID            // items of this message, or about it (Parent)
	Older     time.Duration // created longer ago than that
	Younger   time.Duration // created less long ago than that
	After     ID            // only greater IDs, to go on
	Limit     int           // items at most; default 100, at most 1000
}

// Stats are the numbers of a spool.
type Stats struct {
	Count  map[State]int64     `json:"count"`
	Oldest map[State]time.Time `json:"oldest"` // when the oldest item was created
	Routes []RouteStats        `json:"routes"` // those with most items queued, most first
	Full   bool                `json:"full"`   // nothing is taken, since the disk is full
}

// RouteStats are the numbers of a route.
type RouteStats struct {
	Route  string    `json:"route"`
	Queued int64     `json:"queued"` // due or not
	Oldest time.Time `json:"oldest"` // when the oldest was created
}

// CheckReport is what the Check of a [Spool] found.
type CheckReport struct {
	Items   int64 `json:"items"`   // looked at
	Damaged []ID  `json:"damaged"` // set aside: the row can't be read, or the body isn't there or isn't what it was
	Orphans int   `json:"orphans"` // bodies without an item, deleted
}

// Event is something that happened to an item.
type Event struct {
	Kind    EventKind `json:"event"`
	Time    time.Time `json:"time"`
	ID      ID        `json:"id"`
	Message ID        `json:"message"`
	Route   string    `json:"route,omitempty"`
	At      time.Time `json:"at,omitzero"`      // of Delayed: the next attempt
	Reason  string    `json:"reason,omitempty"` // of what has one
}

// EventKind names an event in one word, such as "spooled".
type EventKind string

// The events.
const (
	EventSpooled     EventKind = "spooled"
	EventDelivered   EventKind = "delivered" // done: every recipient was accepted
	EventFailed      EventKind = "failed"    // done: a recipient failed
	EventDelayed     EventKind = "delayed"
	EventFrozen      EventKind = "frozen"
	EventThawed      EventKind = "thawed"
	EventSendNow     EventKind = "send_now"
	EventRemoved     EventKind = "removed"
	EventRecovered   EventKind = "recovered"
	EventQuarantined EventKind = "quarantined"
	EventReleased    EventKind = "released"
	EventExpired     EventKind = "expired" // removed or quarantined for long enough, and deleted
	EventDamaged     EventKind = "damaged"
)
