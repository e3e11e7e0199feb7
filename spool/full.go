package spool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"syscall"
	"time"
)

// When the disk is full nothing new is taken, but what is in the spool goes on: to delete a row SQLite needs room in its log. So some room
// is kept in a file that nobody needs: it is deleted when the disk is full, and made again when there is room.

// isNoSpace reports whether an error means that there is no room.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, ErrFull)
}

// diskError is an error of writing a body.
func (s *store) diskError(err error) error {
	if s.dialect.kind(err) != failFull {
		return err
	}
	s.setFull(err)
	return errors.Join(ErrFull, err)
}

func (s *store) setFull(err error) {
	if s.full.CompareAndSwap(false, true) {
		s.log.Error("spool: disk is full: nothing is accepted until there is room", "error", err)
		s.dialect.setFull()
	}
}

// Room implements [Spool]. What fits into a row may fit into room that the database has inside of it, so only what is larger is held against the disk.
func (s *store) Room(n int64) error {
	if s.full.Load() {
		return ErrFull
	}
	if n <= int64(s.dialect.blockSize()) {
		return nil
	}
	if free, known := s.dialect.free(); known && free < n {
		return fmt.Errorf("%w: %d octets are to come, there is room for %d", ErrFull, n, free)
	}
	return nil
}

// makeRoom looks whether there is room again. If not it refuses those ops that only add.
func (s *store) makeRoom(w *writer, batch []*op) []*op {
	ctx, cancel := s.dialect.limit()
	defer cancel()
	if w.connect(ctx) == nil && s.dialect.makeRoom(ctx, w.tx.conn) {
		s.full.Store(false)
		s.log.Info("spool: there is room on the disk again")
		return batch
	}
	s.refuseFull(&batch)
	return batch
}

func (s *store) refuseFull(batch *[]*op) {
	rest := (*batch)[:0]
	for _, o := range *batch {
		if len(o.add) > 0 && o.do == nil {
			o.err <- ErrFull
		} else {
			rest = append(rest, o)
		}
	}
	*batch = rest
}

// free is that of the file system of large bodies. The reserve is not part of it.
func (d *sqliteDialect) free() (int64, bool) { return freeSpace(d.path("bodies")) }

func (d *sqliteDialect) setFull() { os.Remove(d.path("reserve")) }

// makeRoom puts the reserve back, or is content with as much free room inside of the database. It tries once a second.
func (d *sqliteDialect) makeRoom(ctx context.Context, conn *sql.Conn) bool {
	if time.Since(d.tried) < time.Second {
		return false
	}
	d.tried = time.Now()
	var busy, log, done, free, size int64
	if conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &done) != nil {
		return false
	}
	if d.pages == 0 {
		if d.keepReserve() == nil {
			return true
		}
		os.Remove(d.path("reserve"))
	}
	if conn.QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&free) != nil || conn.QueryRowContext(ctx, "PRAGMA page_size").Scan(&size) != nil {
		return false
	}
	return free*size >= d.reserve
}

// keepReserve makes the reserve, of octets that no file system makes smaller.
func (d *sqliteDialect) keepReserve() error {
	path := d.path("reserve")
	if info, err := os.Stat(path); err == nil && info.Size() == d.reserve {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	noise := rand.NewChaCha8([32]byte{1})
	_, err = io.CopyN(f, noise, d.reserve)
	return errors.Join(err, f.Sync(), f.Close())
}
