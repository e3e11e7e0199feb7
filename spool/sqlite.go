package spool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
)

// sqliteDialect keeps the spool in a folder of this process: spool.db with its log, bodies/ with what is large, lock, and a reserve of disk
// space. Leases are in memory only: they end with the process.
type sqliteDialect struct {
	dir     string
	db      *sql.DB
	lock    *sql.DB
	reserve int64
	tried   time.Time // to make room
	pages   int

	readBody, readLane *sql.Stmt // what each message needs
}

// The settings of SQLite. A commit is in the log, and the log on disk, when it returns (synchronous=FULL; fullfsync is for macOS).
const sqlitePragmas = "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=fullfsync(1)" +
	"&_pragma=checkpoint_fullfsync(1)&_pragma=wal_autocheckpoint(2000)&_pragma=cache_size(-8192)&_pragma=temp_store(MEMORY)"

func (s *store) openSQLite(ctx context.Context, dir string) (err error) {
	d := &sqliteDialect{dir: dir, reserve: s.opt.reserve, pages: s.opt.maxPages}
	if err := os.MkdirAll(filepath.Join(dir, "bodies"), 0o700); err != nil {
		return err
	}
	if err := d.takeLock(ctx); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if err := d.keepReserve(); err != nil {
		s.log.Error("spool: disk is full: nothing is accepted until there is room", "folder", dir, "error", err)
		os.Remove(d.path("reserve"))
		s.full.Store(true)
	}
	if d.db, err = sql.Open("sqlite", d.dsn("spool.db")+sqlitePragmas); err != nil {
		return err
	}
	d.db.SetMaxOpenConns(5) // the writer's and some readers'
	d.db.SetMaxIdleConns(5)
	s.db, s.dialect = d.db, d
	if err := d.migrate(ctx); err != nil {
		return fmt.Errorf("%s: %w", d.path("spool.db"), err)
	}
	if d.readBody, err = d.db.PrepareContext(ctx, selectChunk); err != nil {
		return err
	}
	if d.readLane, err = d.db.PrepareContext(ctx, sqliteLane); err != nil {
		return err
	}
	if err := syncFolder(dir); err != nil {
		return err
	}
	var last ID
	if err := d.db.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM spool_item").Scan(&last); err != nil {
		return err
	}
	s.ids.after(last)
	if _, err := d.sweepFiles(ctx, s, 0); err != nil {
		return err
	}
	return d.loadLanes(ctx, s)
}

func (d *sqliteDialect) path(name string) string { return filepath.Join(d.dir, name) }

func (d *sqliteDialect) dsn(name string) string {
	path, err := filepath.Abs(d.path(name))
	if err != nil {
		path = d.path(name)
	}
	return "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()
}

// takeLock holds a lock on a file of its own for as long as the spool is open. SQLite has done that on every system.
func (d *sqliteDialect) takeLock(ctx context.Context) (err error) {
	if d.lock, err = sql.Open("sqlite", d.dsn("lock")+"?_pragma=journal_mode(MEMORY)"); err != nil {
		return err
	}
	d.lock.SetMaxOpenConns(1)
	if _, err = d.lock.ExecContext(ctx, "BEGIN EXCLUSIVE"); err == nil {
		return nil
	}
	d.lock.Close()
	if sqliteCode(err)&0xff == sqliteBusy {
		return fmt.Errorf("%w: %s", ErrLocked, d.dir)
	}
	return err
}

func (d *sqliteDialect) migrate(ctx context.Context) error {
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	ddl := strings.NewReplacer("{id}", "INTEGER PRIMARY KEY", "{text}", "TEXT", "{message}", "message INTEGER PRIMARY KEY", "{bytes}", "BLOB", "{bodykey}", "").Replace(schema)
	if _, err := conn.ExecContext(ctx, ddl); err != nil {
		return err
	}
	return checkVersion(ctx, conn)
}

// loadLanes finds out what is queued, from the index alone.
func (d *sqliteDialect) loadLanes(ctx context.Context, s *store) error {
	rows, err := d.db.QueryContext(ctx, "SELECT route, priority, min(due) FROM spool_item WHERE state = 0 GROUP BY route, priority")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var key laneKey
		var due int64
		if err := rows.Scan(&key.route, &key.priority, &due); err != nil {
			return err
		}
		s.lanes.add(key, position{due: due})
	}
	return rows.Err()
}

func (d *sqliteDialect) bind(query string) string { return query }
func (d *sqliteDialect) begin() string            { return "BEGIN IMMEDIATE" }
func (d *sqliteDialect) writers() int             { return 1 }
func (d *sqliteDialect) start(*store) error       { return nil }

// limit is none: a context that can end costs a goroutine for each statement, and a local file answers. What each message reads does without
// for the same reason.
func (d *sqliteDialect) limit() (context.Context, context.CancelFunc) {
	return context.Background(), func() {}
}

// writer opens a connection to write on. After a failure the log is emptied first: what the system failed to write of it, it may drop from
// memory without another word, and all that follows in the log would be lost with it.
func (d *sqliteDialect) writer(ctx context.Context) (*sql.Conn, error) {
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	var busy, log, done int
	err = conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &done)
	if busy != 0 {
		err = errors.New("the log of the database can't be emptied: somebody reads it")
	}
	if err == nil && d.pages > 0 {
		_, err = conn.ExecContext(ctx, fmt.Sprintf("PRAGMA max_page_count(%d)", d.pages))
	}
	if err != nil && d.kind(err) != failFull {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (d *sqliteDialect) close() error {
	var err error
	if d.db != nil {
		err = d.db.Close()
	}
	return errors.Join(err, d.lock.Close())
}

// Result codes of SQLite.
const (
	sqliteBusy         = 5
	sqliteIOErr        = 10
	sqliteCorrupt      = 11
	sqliteFull         = 13
	sqliteCantOpen     = 14
	sqliteNotADB       = 26
	sqliteIOErrShmSize = 10 | 19<<8
)

func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

func (d *sqliteDialect) kind(err error) failKind {
	if f, ok := errors.AsType[failure](err); ok {
		return f.kind
	}
	switch code := sqliteCode(err); {
	case code&0xff == sqliteFull || code == sqliteIOErrShmSize || isNoSpace(err):
		return failFull
	case code&0xff == sqliteBusy, code&0xff == sqliteIOErr, code&0xff == sqliteCantOpen, code&0xff == sqliteCorrupt, code&0xff == sqliteNotADB, errors.Is(err, errBadConn):
		return failConn
	}
	return failOther
}

// The limit is + 0, since SQLite looks at a bare one to plan the query, and plans it anew for each value.
const sqliteLane = "SELECT " + columns + " FROM spool_item WHERE state = 0 AND route = ? AND priority = ? AND (due, id) > (?, ?) ORDER BY due, id LIMIT ? + 0"

// fetch reads on from the cursor. Nothing is written: what is leased is in memory.
func (d *sqliteDialect) fetch(ctx context.Context, s *store, ln *lane, n int, token int64, now, until time.Time) (f fetched, err error) {
	f.cursor = ln.cursor
	for {
		rows, err := d.readLane.QueryContext(context.WithoutCancel(ctx), ln.route, ln.priority, f.cursor.due, int64(f.cursor.id), n-len(f.items)+1)
		if err != nil {
			return f, err
		}
		looked, more, err := f.read(s, rows, n, now.UnixMilli())
		if err != nil || more {
			return f, err
		}
		if looked == 0 {
			f.none = true
			return f, nil
		}
		// All of them were on lease already, or are taken now: look further.
	}
}

// read reads rows as long as they are to be leased. more says that the next one isn't, or not yet.
func (f *fetched) read(s *store, rows *sql.Rows, n int, now int64) (looked int, more bool, err error) {
	defer rows.Close()
	for rows.Next() {
		looked++
		r, err := scanItem(rows)
		if err != nil {
			return looked, false, err
		}
		pos := position{r.due, r.item.ID}
		if !s.lanes.pass(place{r.item.lane(), pos}) {
			if len(f.items) == n || r.due > now {
				f.next = r.due
				return looked, true, nil
			}
			it, err := r.decode()
			if err != nil {
				f.damaged = append(f.damaged, it)
			} else {
				f.items = append(f.items, it)
			}
		}
		f.cursor = pos
	}
	return looked, false, rows.Err()
}

func (d *sqliteDialect) renew(context.Context, []*Item, time.Time) error { return nil }
func (d *sqliteDialect) giveBack(context.Context, []*Item) error         { return nil }
func (d *sqliteDialect) fence(*Item) int64                               { return 0 }

func (d *sqliteDialect) deleteItems(ctx context.Context, t *tx, items []*Item) error {
	ids := make([]any, len(items))
	for i, it := range items {
		ids[i] = int64(it.ID)
	}
	return t.rows(ctx, "DELETE FROM spool_item WHERE id IN (", "?", ")", 1, ids)
}

func (d *sqliteDialect) check(ctx context.Context) error {
	var result string
	if err := d.db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result); err != nil {
		return err
	}
	if result != "ok" {
		return fmt.Errorf("%w: the database says: %s", ErrDamaged, result)
	}
	return nil
}

func (d *sqliteDialect) forUpdate() string { return "" }
func (d *sqliteDialect) shared() bool      { return false }
func (d *sqliteDialect) committed()        {}

func (d *sqliteDialect) sending(_ context.Context, s *store) (n int64, err error) {
	s.lanes.mu.Lock()
	defer s.lanes.mu.Unlock()
	for _, le := range s.lanes.leased {
		if le.token != 0 {
			n++
		}
	}
	return n, nil
}
