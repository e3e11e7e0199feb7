package spool

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"time"
)

// Large bodies are rows of 256 KiB, inserted as they come in.

func (d *postgresDialect) blockSize() int { return 256 << 10 }

func (d *postgresDialect) create(ctx context.Context, id ID) (sink, error) {
	return &chunkSink{d: d, id: id}, nil
}

type chunkSink struct {
	d  *postgresDialect
	id ID
	n  int
}

func (w *chunkSink) write(block []byte) error {
	ctx, cancel := w.d.limit()
	defer cancel()
	_, err := w.d.pool.Exec(ctx, "INSERT INTO spool_body (message, n, bytes) VALUES ($1, $2, $3)", int64(w.id), w.n, block)
	w.n++
	return err
}

func (w *chunkSink) finish() (int, error) { return w.n, nil }

func (w *chunkSink) abort() {
	ctx, cancel := w.d.limit()
	defer cancel()
	w.d.pool.Exec(ctx, "DELETE FROM spool_body WHERE message = $1", int64(w.id)) // or the sweep does it
}

func (d *postgresDialect) readChunk(ctx context.Context, message ID, n int) *sql.Row {
	return d.s.db.QueryRowContext(ctx, d.bind(selectChunk), int64(message), int64(n))
}

func (d *postgresDialect) open(ctx context.Context, it *Item) (io.ReadSeekCloser, error) {
	var n int
	var size int64
	err := d.pool.QueryRow(ctx, "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM spool_body WHERE message = $1", int64(it.Message)).Scan(&n, &size)
	if err == nil && (n != it.Chunks || size != it.Size) {
		err = fmt.Errorf("%w: the body has %d octets in %d rows instead of %d in %d", ErrDamaged, size, n, it.Size, it.Chunks)
	}
	if err != nil {
		return nil, err
	}
	return &chunkReader{d: d, ctx: ctx, it: it, n: -1}, nil
}

// chunkReader reads one row at a time.
type chunkReader struct {
	d   *postgresDialect
	ctx context.Context
	it  *Item
	at  int64
	n   int // of chunk, -1: none
	buf []byte
}

func (r *chunkReader) Read(p []byte) (int, error) {
	if r.at >= r.it.Size {
		return 0, io.EOF
	}
	block := int64(r.d.blockSize())
	if n := int(r.at / block); n != r.n {
		b, err := r.d.s.chunk(r.ctx, r.it.Message, n)
		if err != nil {
			return 0, err
		}
		r.n, r.buf = n, b
	}
	off := r.at % block
	if off >= int64(len(r.buf)) {
		return 0, fmt.Errorf("%w: row %d of the body is short", ErrDamaged, r.n)
	}
	n := copy(p, r.buf[off:])
	r.at += int64(n)
	return n, nil
}

func (r *chunkReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.it.Size
	}
	if offset < 0 {
		return r.at, fmt.Errorf("spool: seek to %d", offset)
	}
	r.at = offset
	return offset, nil
}

func (r *chunkReader) Close() error { return nil }

// dropBody has nothing to do: the rows went with the item.
func (d *postgresDialect) dropBody(context.Context, *sql.Conn, *Item) {}

// sweep deletes rows that no item has, of drafts that began a day ago: whoever is still writing one has been cut off long before.
func (d *postgresDialect) sweep(ctx context.Context, s *store) (orphans int, err error) {
	const query = `WITH gone AS (
		DELETE FROM spool_body WHERE message < $1 AND NOT EXISTS (` + siblings + `) RETURNING message
	) SELECT count(DISTINCT message) FROM gone`
	before := (time.Now().Add(-24*time.Hour).UnixMilli() - idEpoch) << (idNodeBits + idSeqBits)
	err = d.pool.QueryRow(ctx, query, before).Scan(&orphans)
	return orphans, err
}
