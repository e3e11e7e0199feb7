package spool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Large bodies are files in bodies/, named by the message. A file is complete and durable before its items are committed: written under
// another name, synced, renamed, and the folder synced, without which a power cut loses the name.

const tempSuffix = ".tmp"

func (d *sqliteDialect) blockSize() int { return 64 << 10 }

func (d *sqliteDialect) bodyPath(message ID) string {
	return filepath.Join(d.dir, "bodies", message.String())
}

func (d *sqliteDialect) create(_ context.Context, id ID) (sink, error) {
	f, err := os.OpenFile(d.bodyPath(id)+tempSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &fileSink{f: f, path: d.bodyPath(id)}, nil
}

type fileSink struct {
	f       *os.File
	path    string
	renamed bool
}

func (w *fileSink) write(block []byte) error {
	_, err := w.f.Write(block)
	return err
}

func (w *fileSink) finish() (int, error) {
	if err := errors.Join(w.f.Sync(), w.f.Close()); err != nil {
		return 0, err
	}
	if err := os.Rename(w.f.Name(), w.path); err != nil {
		return 0, err
	}
	w.renamed = true
	return 0, syncFolder(filepath.Dir(w.path))
}

func (w *fileSink) abort() {
	w.f.Close()
	if w.renamed {
		os.Remove(w.path)
	} else {
		os.Remove(w.f.Name())
	}
}

// syncFolder makes the names in a folder durable. Where a folder can't be synced (Windows) there is nothing to do.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && os.PathSeparator == '/' {
		return err
	}
	return nil
}

func (d *sqliteDialect) readChunk(ctx context.Context, message ID, n int) *sql.Row {
	return d.readBody.QueryRowContext(ctx, int64(message), int64(n))
}

func (d *sqliteDialect) open(_ context.Context, it *Item) (io.ReadSeekCloser, error) {
	f, err := os.Open(d.bodyPath(it.Message))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: the body is missing", ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != it.Size {
		err = fmt.Errorf("%w: the body has %d octets instead of %d", ErrDamaged, info.Size(), it.Size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// hasItems asks whether a message has any items.
const hasItems = "SELECT EXISTS (SELECT 1 FROM spool_item WHERE id = ? UNION ALL SELECT 1 FROM spool_item WHERE message = ? AND message <> id)"

func (d *sqliteDialect) dropBody(ctx context.Context, conn *sql.Conn, it *Item) {
	if it.Chunks > 0 {
		return
	}
	if it.Items > 1 {
		var has bool
		if err := conn.QueryRowContext(ctx, hasItems, int64(it.Message), int64(it.Message)).Scan(&has); err != nil || has {
			return // the sweep tries again
		}
	}
	os.Remove(d.bodyPath(it.Message))
}

// sweep deletes files that have been nobody's for an hour, and rows of bodies that no item has.
func (d *sqliteDialect) sweep(ctx context.Context, s *store) (int, error) {
	return d.sweepFiles(ctx, s, time.Hour)
}

func (d *sqliteDialect) sweepFiles(ctx context.Context, s *store, age time.Duration) (orphans int, err error) {
	folder, err := os.Open(filepath.Join(d.dir, "bodies"))
	if err != nil {
		return 0, err
	}
	defer folder.Close()
	for {
		entries, err := folder.ReadDir(256)
		for _, e := range entries {
			if gone, err := d.sweepFile(ctx, s, e, age); err != nil {
				return orphans, err
			} else if gone {
				orphans++
			}
		}
		if err == io.EOF {
			return orphans, nil
		}
		if err != nil {
			return orphans, err
		}
	}
}

func (d *sqliteDialect) sweepFile(ctx context.Context, s *store, e os.DirEntry, age time.Duration) (bool, error) {
	name, temp := strings.CutSuffix(e.Name(), tempSuffix)
	id, err := ParseID(name)
	if err != nil || s.drafts.has(id) { // asked first: a draft that isn't one any more is committed or not
		return false, nil
	}
	if info, err := e.Info(); err != nil || age > 0 && time.Since(info.ModTime()) < age {
		return false, nil
	}
	if !temp {
		var has bool
		if err := s.db.QueryRowContext(ctx, hasItems, int64(id), int64(id)).Scan(&has); err != nil || has {
			return false, err
		}
	}
	return os.Remove(filepath.Join(d.dir, "bodies", e.Name())) == nil, nil
}
