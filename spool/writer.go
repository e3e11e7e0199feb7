package spool

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

// All changes go through a writer: it takes all that wait, makes them in one transaction, and tells those who wait. So the more sessions
// there are, the fewer fsyncs each of them costs.

const (
	batchOps    = 512
	batchOctets = 8 << 20
	lazyDelay   = 20 * time.Millisecond // how long changes wait for others that nobody waits for
)

// op is one change, all or nothing.
type op struct {
	do     func(context.Context, *tx) error // what is not below, first; an error of type refusal is this op's only
	add    []*message
	del    []*Item                          // delivered
	after  func(context.Context, *sql.Conn) // once it is committed
	err    chan error                       // nil if nobody waits
	state  atomic.Int32                     // opWaiting …
	refuse error                            // what do said
}

const (
	opWaiting int32 = iota
	opTaken
	opWithdrawn
)

// message is what a draft adds.
type message struct {
	id    ID
	body  []byte // nil if it is there already
	items []*Item
	data  []string // of each item
}

// refusal is an error of an op that leaves the transaction as it was.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// submit hands an op to a writer and waits until it is committed. An op that no writer has taken when ctx ends is withdrawn.
func (s *store) submit(ctx context.Context, o *op) error {
	o.err = make(chan error, 1)
	if err := s.send(ctx, o); err != nil {
		return err
	}
	select {
	case err := <-o.err:
		return err
	case <-ctx.Done():
		if o.state.CompareAndSwap(opWaiting, opWithdrawn) {
			return ctx.Err()
		}
		return <-o.err // not long: the dialect limits it
	}
}

// send hands an op to a writer.
func (s *store) send(ctx context.Context, o *op) error {
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return ErrClosed
	}
	select {
	case s.ops <- o:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writer has a connection of its own, and makes a new one when that fails.
type writer struct {
	s  *store
	tx *tx // nil: no connection
}

func (w *writer) run() {
	var batch []*op
	for {
		batch = w.gather(batch[:0])
		if len(batch) == 0 {
			w.disconnect()
			return
		}
		w.write(batch)
		clear(batch)
	}
}

// gather waits for an op and takes all that wait with it. If nobody waits for any of them it waits a little for more. None: the spool is
// closed.
func (w *writer) gather(batch []*op) []*op {
	first, ok := <-w.s.ops
	if !ok {
		return nil
	}
	var size int
	urgent := false
	accept := func(o *op) {
		if o.state.CompareAndSwap(opWaiting, opTaken) {
			batch = append(batch, o)
			urgent = urgent || o.err != nil
			for _, m := range o.add {
				size += len(m.body)
			}
		}
	}
	accept(first)
	var lazy <-chan time.Time
	for len(batch) < batchOps && size < batchOctets {
		select {
		case o, ok := <-w.s.ops:
			if !ok {
				return batch
			}
			accept(o)
			continue
		default:
		}
		if urgent {
			return batch
		}
		if lazy == nil {
			lazy = time.After(lazyDelay)
		}
		select {
		case o, ok := <-w.s.ops:
			if !ok {
				return batch
			}
			accept(o)
		case <-lazy:
			if len(batch) == 0 { // all withdrawn
				return w.gather(batch)
			}
			return batch
		}
	}
	return batch
}

// write commits a batch, and what of it can be if not all of it can.
func (w *writer) write(batch []*op) {
	if w.s.full.Load() {
		batch = w.s.makeRoom(w, batch)
	}
	if len(batch) == 0 {
		return
	}
	err := w.try(batch)
	if err == nil {
		w.finish(batch)
		return
	}
	switch w.s.dialect.kind(err) {
	case failFull:
		w.s.setFull(err)
		w.s.refuseFull(&batch)
		w.each(batch)
	case failConn:
		w.s.log.Error("spool: lost the database", "error", err)
		w.disconnect()
		w.fail(batch, err)
	default:
		w.each(batch)
	}
}

// each writes ops one by one: one that can't be written fails alone.
func (w *writer) each(batch []*op) {
	for _, o := range batch {
		err := w.try([]*op{o})
		if err == nil {
			w.finish([]*op{o})
			continue
		}
		switch w.s.dialect.kind(err) {
		case failFull:
			err = errors.Join(ErrFull, err)
		case failConn:
			w.disconnect()
		}
		w.fail([]*op{o}, err)
	}
}

// finish tells the ops that they are committed.
func (w *writer) finish(batch []*op) {
	ctx, cancel := w.s.dialect.limit()
	defer cancel()
	for _, o := range batch {
		if o.refuse == nil && o.after != nil {
			o.after(ctx, w.tx.conn)
		}
		if o.err != nil {
			o.err <- o.refuse
		}
	}
}

func (w *writer) fail(batch []*op, err error) {
	for _, o := range batch {
		if o.err != nil {
			o.err <- err
		} else {
			w.s.lost(o, err)
		}
	}
}

// try makes the changes of a batch in one transaction.
func (w *writer) try(batch []*op) (err error) {
	ctx, cancel := w.s.dialect.limit()
	defer cancel()
	if err := w.connect(ctx); err != nil {
		return failure{failConn, err}
	}
	if _, err = w.tx.exec(ctx, w.s.dialect.begin()); err != nil {
		return err
	}
	if err = w.changes(ctx, batch); err == nil {
		if err = w.s.commit(ctx, w.tx); err == nil {
			return nil
		}
	}
	if _, rollback := w.tx.conn.ExecContext(ctx, "ROLLBACK"); rollback != nil && w.s.dialect.kind(err) != failFull {
		w.disconnect() // whatever it is in, out of it
	}
	return err
}

// changes makes the changes of a batch, all rows of one kind at once.
func (w *writer) changes(ctx context.Context, batch []*op) error {
	var add []*message
	var del []*Item
	for _, o := range batch {
		o.refuse = nil
		if o.do != nil {
			err := o.do(ctx, w.tx)
			var r refusal
			if errors.As(err, &r) {
				o.refuse = r.error
				continue
			}
			if err != nil {
				return err
			}
		}
		add = append(add, o.add...)
		del = append(del, o.del...)
	}
	if err := w.tx.insert(ctx, add); err != nil {
		return err
	}
	slices.SortFunc(del, func(a, b *Item) int { return cmp.Compare(a.ID, b.ID) }) // all lock rows in one order
	return w.tx.delete(ctx, del)
}

func (w *writer) connect(ctx context.Context) error {
	if w.tx != nil {
		return nil
	}
	conn, err := w.s.dialect.writer(ctx)
	if err != nil {
		return err
	}
	w.tx = &tx{conn: conn, d: w.s.dialect, stmts: map[string]*sql.Stmt{}, texts: map[group]string{}}
	return nil
}

// disconnect closes the connection for good: it doesn't go back into the pool.
func (w *writer) disconnect() {
	if w.tx == nil {
		return
	}
	for _, st := range w.tx.stmts {
		st.Close()
	}
	w.tx.conn.Raw(func(any) error { return errBadConn })
	w.tx.conn.Close()
	w.tx = nil
}
