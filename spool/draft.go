package spool

import (
	"cmp"
	"context"
	"errors"
	"hash/crc32"
	"sync"
	"time"
)

// Draft is a message that is coming in: Write its body, then Commit it. It belongs to one goroutine at a time.
type Draft struct {
	s    *store
	id   ID
	buf  []byte // what is not in out
	out  sink   // nil while the body is small
	size int64
	crc  uint32
	err  error
	done bool
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errDone    = errors.New("spool: the draft was committed or aborted")
)

// drafts are those that have a body outside of the buffer, which is nobody's yet.
type drafts struct {
	mu  sync.Mutex
	ids map[ID]struct{}
}

func (d *drafts) add(id ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ids == nil {
		d.ids = map[ID]struct{}{}
	}
	d.ids[id] = struct{}{}
}

func (d *drafts) remove(id ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.ids, id)
}

func (d *drafts) has(id ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.ids[id]
	return ok
}

// Create implements [Spool].
func (s *store) Create() *Draft { return &Draft{s: s, id: s.ids.next()} }

// Write adds to the body. It copies p. Its error is [ErrFull], or that of the disk; Commit returns it, too.
func (d *Draft) Write(p []byte) (n int, err error) {
	if d.done {
		return 0, errDone
	}
	if d.err != nil {
		return 0, d.err
	}
	d.size += int64(len(p))
	d.crc = crc32.Update(d.crc, castagnoli, p)
	block := d.s.dialect.blockSize()
	for n < len(p) {
		if len(d.buf) == block {
			if d.err = d.flush(); d.err != nil {
				return n, d.err
			}
		}
		m := min(len(p)-n, block-len(d.buf))
		d.buf = append(d.buf, p[n:n+m]...)
		n += m
	}
	return n, nil
}

// flush hands the buffer to the sink.
func (d *Draft) flush() (err error) {
	if d.s.full.Load() {
		return ErrFull
	}
	if d.out == nil {
		d.s.drafts.add(d.id)
		if d.out, err = d.s.dialect.create(context.Background(), d.id); err != nil {
			return d.s.diskError(err)
		}
	}
	if err = d.out.write(d.buf); err != nil {
		return d.s.diskError(err)
	}
	d.buf = d.buf[:0]
	return nil
}

// Size is how many octets the body has so far.
func (d *Draft) Size() int64 { return d.size }

// Commit puts the message into the spool, as one item or more. When it returns without an error, all of it is on disk; with one, nothing
// is, and ids is nil. It sets ID, Message, Size and what else the spool sets in the items. [ErrItem] if an item can't be kept, [ErrFull] if
// there is no room. If ctx ends first, or the connection to the database is lost, the message may be there nevertheless: as for a client
// that is cut off before it reads the 250.
func (d *Draft) Commit(ctx context.Context, items ...*Item) (ids []ID, err error) {
	m, err := d.prepare(items)
	if err != nil {
		d.Abort()
		return nil, err
	}
	err = d.s.submit(ctx, &op{add: []*message{m}})
	d.end(err)
	if err != nil {
		return nil, err
	}
	d.s.queued(items)
	for _, it := range items {
		ids = append(ids, it.ID)
	}
	return ids, nil
}

// prepare makes the draft ready to be committed: after it only rows are to be written.
func (d *Draft) prepare(items []*Item) (*message, error) {
	switch {
	case d.done:
		return nil, errDone
	case d.err != nil:
		return nil, d.err
	case d.s.full.Load():
		return nil, ErrFull
	case len(items) == 0:
		return nil, badItem("a message for nobody")
	}
	for _, it := range items {
		if err := d.s.fit(it); err != nil {
			return nil, err
		}
	}
	m := &message{id: d.id, items: items, data: make([]string, len(items))}
	chunks := 1
	if d.out == nil {
		m.body = d.buf
		if m.body == nil {
			m.body = []byte{}
		}
	} else {
		if err := d.flush(); err != nil {
			return nil, err
		}
		var err error
		if chunks, err = d.out.finish(); err != nil {
			return nil, d.s.diskError(err)
		}
	}
	for i, it := range items {
		it.Message, it.Size, it.Checksum, it.Chunks, it.Items = d.id, d.size, d.crc, chunks, len(items)
		if it.ID = d.id; i > 0 {
			it.ID = d.s.ids.next()
		}
		var err error
		if m.data[i], err = encode(it); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// fit checks an item and fills in what is not set.
func (s *store) fit(it *Item) error {
	if err := it.validate(); err != nil {
		return err
	}
	it.clean()
	switch it.State {
	case Queued:
		now := time.Now()
		it.enter(cmp.Or(it.Due, now))
		if !it.Since.After(now) {
			it.Since = time.Time{} // since it was created, as nearly all are: no need to keep it
		}
	case Quarantined:
		it.Due = s.quarantinedUntil()
	case Frozen:
		it.Due = time.Time{}
	default:
		return badItem("a new item can't be %s", it.State)
	}
	return nil
}

// end ends the draft after a commit, or the attempt. If that may have succeeded in spite of the error the body stays: the sweep deletes it if
// it is nobody's.
func (d *Draft) end(err error) {
	if errors.Is(err, ErrFull) {
		d.Abort()
	}
	if !d.done {
		d.done = true
		d.buf = nil
		d.s.drafts.remove(d.id)
	}
}

// Abort throws the draft away. After Commit it does nothing, so it can be deferred.
func (d *Draft) Abort() {
	if d.done {
		return
	}
	d.done = true
	d.buf = nil
	if d.out != nil {
		d.out.abort()
	}
	d.s.drafts.remove(d.id)
}
