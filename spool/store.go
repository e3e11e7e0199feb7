package spool

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// store is the implementation of [Spool].
type store struct {
	log     *slog.Logger
	opt     Options
	db      *sql.DB // for reading
	dialect dialect
	ids     idClock
	lanes   *lanes
	hub     hub

	ops     chan *op
	closing sync.RWMutex // held to send to ops
	closed  bool
	wg      sync.WaitGroup // writers and the like
	stop    chan struct{}  // closed by Close

	keepRemoved, keepQuarantined atomic.Int64 // nanoseconds

	full   atomic.Bool // the disk is
	drafts drafts
}

// dialect is what differs between the databases.
type dialect interface {
	// bind turns the placeholders ? of a statement into those of the database.
	bind(query string) string
	// begin is the statement that begins a transaction of a writer.
	begin() string
	// limit bounds what a writer does in one go.
	limit() (context.Context, context.CancelFunc)
	// writers is how many write at the same time; writer opens a connection for one.
	writers() int
	writer(ctx context.Context) (*sql.Conn, error)
	// kind says what an error of the database means.
	kind(err error) failKind
	// start starts what runs beside, until the store stops. Then close.
	start(s *store) error
	close() error

	// blockSize is how much of a body goes into one row, or into the file at a time. A body that fits is committed with its items.
	blockSize() int
	// create begins a body that is larger.
	create(ctx context.Context, id ID) (sink, error)
	// readChunk reads a row of a body; open opens the body of an item that is larger; dropBody deletes it once no item has it; sweep deletes those that no item has.
	readChunk(ctx context.Context, message ID, n int) *sql.Row
	open(ctx context.Context, it *Item) (io.ReadSeekCloser, error)
	dropBody(ctx context.Context, conn *sql.Conn, it *Item)
	sweep(ctx context.Context, s *store) (orphans int, err error)

	// fetch leases up to n items of the lane, and says when the next one is due; none: there is no other.
	fetch(ctx context.Context, s *store, ln *lane, n int, token int64, now, until time.Time) (f fetched, err error)
	// renew and giveBack change leases in the database, if they are there.
	renew(ctx context.Context, items []*Item, until time.Time) error
	giveBack(ctx context.Context, items []*Item) error
	// deleteItems deletes items on lease; fence is what the column lease must be to change one.
	deleteItems(ctx context.Context, t *tx, items []*Item) error
	fence(it *Item) int64
	// forUpdate locks what a statement selects; sending counts what is on lease.
	forUpdate() string
	sending(ctx context.Context, s *store) (int64, error)
	// committed is after something was queued; shared says whether other processes take part.
	committed()
	shared() bool
	// check has the database check itself.
	check(ctx context.Context) error
	// free is how many octets a body has room for that is larger than blockSize, unless nobody can tell.
	free() (octets int64, known bool)
	// makeRoom tries to come out of a full disk; setFull has just been told of it.
	setFull()
	makeRoom(ctx context.Context, conn *sql.Conn) bool
}

// sink takes a large body, a block at a time, of which only the last may be short.
type sink interface {
	write(block []byte) error
	// finish makes it durable. chunks is how many rows it takes, 0 if it is a file.
	finish() (chunks int, err error)
	abort()
}

// fetched is what was leased of a lane.
type fetched struct {
	items   []*Item
	damaged []*Item
	next    int64    // when the next item is due
	cursor  position // of the last item that was looked at
	none    bool     // there is no next item, or it is for others to say
}

type failKind uint8

const (
	failOther failKind = iota
	failFull           // no room
	failConn           // the connection, or the file, is not to be used any more
)

// failure is an error of which the kind is known.
type failure struct {
	kind failKind
	error
}

func (f failure) Unwrap() error { return f.error }

// Open opens the spool at url, and makes it if there is none:
//
//	sqlite:///var/spool/esmtp   a folder, which holds spool.db and bodies/; a path without a scheme is the same
//	postgres://user@host/db     a database, with the settings in the URL that pgx knows; several processes may share it
//
// The folder belongs to one process at a time ([ErrLocked]). ctx bounds the opening only.
func Open(ctx context.Context, url string, o *Options) (Spool, error) {
	return open(ctx, url, o)
}

func open(ctx context.Context, url string, o *Options) (*store, error) {
	s := &store{lanes: newLanes(), ops: make(chan *op, 2*batchOps), stop: make(chan struct{})}
	if o != nil {
		s.opt = *o
	}
	setDefault(&s.opt.Logger, slog.Default())
	s.Keep(s.opt.KeepRemoved, s.opt.KeepQuarantined)
	setDefault(&s.opt.reserve, 16<<20)
	s.log = s.opt.Logger
	var err error
	scheme, rest, ok := strings.Cut(url, "://")
	switch {
	case !ok && url != "":
		err = s.openSQLite(ctx, url)
	case scheme == "sqlite" && strings.HasPrefix(rest, "/"):
		err = s.openSQLite(ctx, rest)
	case scheme == "postgres" || scheme == "postgresql":
		err = s.openPostgres(ctx, url)
	default:
		err = fmt.Errorf("want sqlite:///path/of/a/folder, the path itself, or postgres://user@host/database, not %q", redact(url))
	}
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	for range s.dialect.writers() {
		s.wg.Go((&writer{s: s}).run)
	}
	s.wg.Go(s.janitor)
	if err := s.dialect.start(s); err != nil {
		s.Close()
		return nil, fmt.Errorf("spool: %w", err)
	}
	return s, nil
}

// Keep implements [Spool].
func (s *store) Keep(removed, quarantined time.Duration) {
	s.keepRemoved.Store(int64(cmp.Or(removed, 7*24*time.Hour)))
	s.keepQuarantined.Store(int64(cmp.Or(quarantined, 30*24*time.Hour)))
}

// removedUntil is when an item goes for good that is removed now, quarantinedUntil the same of one that is quarantined.
func (s *store) removedUntil() time.Time { return time.Now().Add(time.Duration(s.keepRemoved.Load())) }
func (s *store) quarantinedUntil() time.Time {
	return time.Now().Add(time.Duration(s.keepQuarantined.Load()))
}

// redact hides what may be a password.
func redact(url string) string {
	if i := strings.LastIndexByte(url, '@'); i >= 0 {
		return "…" + url[i:]
	}
	return url
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Close implements [Spool].
func (s *store) Close() error {
	s.closing.Lock()
	if s.closed {
		s.closing.Unlock()
		return nil
	}
	s.closed = true
	close(s.stop)
	close(s.ops)
	s.closing.Unlock()
	s.wg.Wait()
	s.hub.close()
	return errors.Join(s.db.Close(), s.dialect.close())
}

// Ready implements [Spool].
func (s *store) Ready() <-chan struct{} {
	s.lanes.mu.Lock()
	defer s.lanes.mu.Unlock()
	return s.lanes.wake
}

// NextDue implements [Spool].
func (s *store) NextDue() time.Time { return s.lanes.nextDue() }

// Subscribe implements [Spool].
func (s *store) Subscribe(buffer int) *Subscription { return s.hub.subscribe(buffer) }

// enqueue makes it known that an item is queued.
func (s *store) enqueue(it *Item) {
	s.lanes.add(it.lane(), it.position())
	s.dialect.committed()
}

// queued tells the lanes and the subscribers about items that have just been committed.
func (s *store) queued(items []*Item) {
	for _, it := range items {
		switch it.State {
		case Queued:
			s.enqueue(it)
			s.hub.tell(EventSpooled, it)
		case Quarantined:
			s.hub.tell(EventQuarantined, it)
		case Frozen:
			s.hub.tell(EventSpooled, it)
			s.hub.tell(EventFrozen, it)
		}
	}
}
