package spool

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// OpenBody implements [Spool].
func (s *store) OpenBody(ctx context.Context, it *Item) (io.ReadSeekCloser, error) {
	var r io.ReadSeekCloser
	var err error
	if it.Chunks == 1 {
		r, err = s.openSmall(ctx, it)
	} else {
		r, err = s.dialect.open(ctx, it)
	}
	if errors.Is(err, ErrDamaged) {
		err = s.setAside(it, err)
	}
	if err != nil {
		return nil, fmt.Errorf("spool: body of item %s: %w", it.ID, err)
	}
	return &body{ReadSeekCloser: r, s: s, it: it}, nil
}

// openSmall reads a body that is one row.
func (s *store) openSmall(ctx context.Context, it *Item) (io.ReadSeekCloser, error) {
	b, err := s.chunk(ctx, it.Message, 0)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) != it.Size {
		return nil, fmt.Errorf("%w: the body has %d octets instead of %d", ErrDamaged, len(b), it.Size)
	}
	return nopCloser{bytes.NewReader(b)}, nil
}

// chunk reads a row of a body.
func (s *store) chunk(ctx context.Context, message ID, n int) (b []byte, err error) {
	err = s.dialect.readChunk(ctx, message, n).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("%w: the body is missing", ErrDamaged)
	}
	return b, err
}

const selectChunk = "SELECT bytes FROM spool_body WHERE message = ? AND n = ?"

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

// body checks the checksum of what is read from the beginning to the end.
type body struct {
	io.ReadSeekCloser
	s      *store
	it     *Item
	at     int64 // where the reader is
	summed int64 // up to where it was summed
	crc    uint32
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadSeekCloser.Read(p)
	if b.at == b.summed {
		b.crc = crc32.Update(b.crc, castagnoli, p[:n])
		b.summed += int64(n)
	}
	b.at += int64(n)
	switch {
	case err != io.EOF && !errors.Is(err, ErrDamaged):
		return n, err
	case err == io.EOF && b.at < b.it.Size:
		err = fmt.Errorf("%w: the body ends at %d of %d octets", ErrDamaged, b.at, b.it.Size)
	case err == io.EOF && b.summed == b.it.Size && b.crc != b.it.Checksum:
		err = fmt.Errorf("%w: the body isn't what it was", ErrDamaged)
	}
	if err != io.EOF {
		err = b.s.setAside(b.it, err)
	}
	return n, err
}

func (b *body) Seek(offset int64, whence int) (int64, error) {
	at, err := b.ReadSeekCloser.Seek(offset, whence)
	if err == nil {
		b.at = at
		if at == 0 {
			b.summed, b.crc = 0, 0
		}
	}
	return at, err
}
