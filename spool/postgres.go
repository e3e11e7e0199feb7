package spool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// postgresDialect keeps the spool in a database that several processes share. An item on lease has the lease in its row, and its due time is
// when the lease ends: that of a dead process comes back by itself. The clocks of the processes should agree to a few seconds.
type postgresDialect struct {
	pool  *pgxpool.Pool
	s     *store
	news  chan struct{} // something was committed: tell the others
	tried atomic.Int64  // to make room, in milliseconds
}

const (
	postgresWriters = 4
	postgresLock    = 0x73706f6f // "spoo": the class of our advisory locks
	postgresLimit   = time.Minute
	pollInterval    = time.Second
	pollLeast       = 100 * time.Millisecond
)

func (s *store) openPostgres(ctx context.Context, url string) (err error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("the URL of PostgreSQL: %w", err) // without the password
	}
	config.MaxConns = max(config.MaxConns, postgresWriters+8)
	config.AfterConnect = func(ctx context.Context, c *pgx.Conn) error { // 250 means on disk
		_, err := c.Exec(ctx, "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
		return err
	}
	d := &postgresDialect{s: s, news: make(chan struct{}, 1)}
	if d.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return err
	}
	s.db, s.dialect = stdlib.OpenDBFromPool(d.pool), d
	defer func() {
		if err != nil {
			s.db.Close()
			d.pool.Close()
		}
	}()
	if err := d.migrate(ctx); err != nil {
		return err
	}
	var last ID
	if err := s.db.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM spool_item").Scan(&last); err != nil {
		return err
	}
	s.ids.after(last)
	return nil
}

// migrate makes the tables; one process at a time.
func (d *postgresDialect) migrate(ctx context.Context) error {
	conn, err := d.s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	ddl := strings.NewReplacer("{id}", "BIGINT PRIMARY KEY", "{text}", `TEXT COLLATE "C"`, "{message}", "message BIGINT NOT NULL",
		"{bytes}", "BYTEA", "{bodykey}", ",\n\tPRIMARY KEY (message, n)").Replace(schema) + `
		CREATE INDEX IF NOT EXISTS spool_item_lease ON spool_item (due) WHERE lease <> 0;
		ALTER TABLE spool_body ALTER bytes SET STORAGE EXTERNAL;`
	for _, query := range []string{"BEGIN", fmt.Sprintf("SELECT pg_advisory_xact_lock(%d, -1)", postgresLock), ddl} {
		if _, err := conn.ExecContext(ctx, query); err != nil {
			conn.ExecContext(ctx, "ROLLBACK")
			return err
		}
	}
	err = checkVersion(ctx, conn)
	_, commit := conn.ExecContext(ctx, "COMMIT")
	return errors.Join(err, commit)
}

// bind numbers the placeholders.
func (d *postgresDialect) bind(query string) string {
	var b strings.Builder
	for n, part := range strings.Split(query, "?") {
		if n > 0 {
			fmt.Fprintf(&b, "$%d", n)
		}
		b.WriteString(part)
	}
	return b.String()
}

func (d *postgresDialect) begin() string     { return "BEGIN" }
func (d *postgresDialect) writers() int      { return postgresWriters }
func (d *postgresDialect) shared() bool      { return true }
func (d *postgresDialect) forUpdate() string { return " FOR UPDATE" }

func (d *postgresDialect) writer(ctx context.Context) (*sql.Conn, error) { return d.s.db.Conn(ctx) }

func (d *postgresDialect) limit() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), postgresLimit)
}

// close gives the leases back and ends.
func (d *postgresDialect) close() error {
	var items []*Item
	d.s.lanes.mu.Lock()
	for id, le := range d.s.lanes.leased {
		if le.token != 0 {
			items = append(items, &Item{ID: id, lease: le.token})
		}
	}
	d.s.lanes.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	d.giveBack(ctx, items) // or they end by themselves
	d.pool.Close()
	return nil
}

func (d *postgresDialect) kind(err error) failKind {
	if f, ok := errors.AsType[failure](err); ok {
		return f.kind
	}
	pe, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case errors.Is(err, ErrFull), ok && pe.Code == "53100": // disk_full
		return failFull
	case !ok, strings.HasPrefix(pe.Code, "08"), strings.HasPrefix(pe.Code, "57"), strings.HasPrefix(pe.Code, "25"):
		return failConn // a lost connection, a server that goes down, a transaction in a state of its own
	}
	return failOther
}

const postgresFetch = `
WITH next AS MATERIALIZED (
	SELECT id, due FROM spool_item WHERE state = 0 AND route = $1 AND priority = $2 AND due <= $3 AND id <> ALL ($7::bigint[])
	ORDER BY due LIMIT $4 FOR UPDATE SKIP LOCKED
)
UPDATE spool_item AS i SET lease = $5, due = $6 FROM next WHERE i.id = next.id
RETURNING i.id, i.message, i.state, i.priority, next.due, i.lease, i.route, i.data`

func (d *postgresDialect) fetch(ctx context.Context, s *store, ln *lane, n int, token int64, now, until time.Time) (f fetched, err error) {
	rows, err := s.db.QueryContext(ctx, postgresFetch, ln.route, ln.priority, now.UnixMilli(), n, token, until.UnixMilli(), s.lanes.mine(ln.laneKey))
	if err != nil {
		return f, err
	}
	defer rows.Close()
	looked := 0
	for rows.Next() {
		r, err := scanItem(rows)
		if err != nil {
			return f, err
		}
		looked++
		if it, err := r.decode(); err != nil {
			f.damaged = append(f.damaged, it)
		} else {
			f.items = append(f.items, it)
		}
	}
	f.next, f.none = now.UnixMilli(), looked < n // what is due later the next look at the queue tells
	return f, rows.Err()
}

const whereLeased = " FROM unnest($2::bigint[], $3::bigint[]) AS l (id, lease) WHERE i.id = l.id AND i.lease = l.lease"

func (d *postgresDialect) renew(ctx context.Context, items []*Item, until time.Time) error {
	ids, tokens := leases(items)
	tag, err := d.pool.Exec(ctx, "UPDATE spool_item AS i SET due = $1"+whereLeased, until.UnixMilli(), ids, tokens)
	if err == nil && int(tag.RowsAffected()) < len(items) {
		err = ErrLeaseLost
	}
	return err
}

func (d *postgresDialect) giveBack(ctx context.Context, items []*Item) error {
	if len(items) == 0 {
		return nil
	}
	ids, tokens := leases(items)
	_, err := d.pool.Exec(ctx, "UPDATE spool_item AS i SET due = $1, lease = 0"+whereLeased, time.Now().UnixMilli(), ids, tokens)
	return err
}

func leases(items []*Item) (ids, tokens []int64) {
	for _, it := range items {
		ids, tokens = append(ids, int64(it.ID)), append(tokens, it.lease)
	}
	return ids, tokens
}

// deleteItems locks the bodies that items share first: of two processes that delete the last two items, the second is to see that nobody
// has the body any more. They are locked in one order, so that nobody waits for each other.
func (d *postgresDialect) deleteItems(ctx context.Context, t *tx, items []*Item) error {
	args := make([]any, 0, 2*len(items))
	var shared []ID
	for _, it := range items {
		args = append(args, int64(it.ID), it.lease)
		if it.Items > 1 {
			shared = append(shared, it.Message)
		}
	}
	slices.Sort(shared)
	var bodies []any
	for _, id := range slices.Compact(shared) {
		bodies = append(bodies, int64(id))
	}
	if err := t.rows(ctx, "SELECT 1 FROM spool_body WHERE n = 0 AND message IN (", "?", ") ORDER BY message FOR UPDATE", 1, bodies); err != nil {
		return err
	}
	return t.rows(ctx, "DELETE FROM spool_item WHERE (id, lease) IN (", "(?,?)", ")", 2, args)
}

func (d *postgresDialect) fence(it *Item) int64 { return it.lease }

func (d *postgresDialect) sending(ctx context.Context, s *store) (n int64, err error) {
	err = d.pool.QueryRow(ctx, "SELECT count(*) FROM spool_item WHERE lease <> 0 AND state = 0 AND due > $1", time.Now().UnixMilli()).Scan(&n)
	return n, err
}

func (d *postgresDialect) check(context.Context) error { return nil }

// free is the server's to know.
func (d *postgresDialect) free() (int64, bool) { return 0, false }

func (d *postgresDialect) setFull() { d.tried.Store(time.Now().UnixMilli()) }

// makeRoom has no way to look: it tries again after a while.
func (d *postgresDialect) makeRoom(context.Context, *sql.Conn) bool {
	now := time.Now().UnixMilli()
	last := d.tried.Load()
	return now-last > 5000 && d.tried.CompareAndSwap(last, now)
}
