package spool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

const updateItem = "UPDATE spool_item SET state = ?, priority = ?, due = ?, lease = 0, route = ?, data = ? WHERE id = ? AND lease = ?"

// settleAgain is how long an item stays on lease that could not be settled.
const settleAgain = time.Minute

// Settle implements [Spool].
func (s *store) Settle(ctx context.Context, it *Item, reports ...Report) error {
	change := op{}
	var err error
	switch it.State {
	case Delivered:
		change.del = []*Item{it}
		change.after = func(ctx context.Context, conn *sql.Conn) { s.gone(ctx, conn, it) }
		if len(reports) > 0 {
			change.do = func(ctx context.Context, t *tx) error { return s.stillOurs(ctx, t, it) }
		}
	case Queued, Frozen:
		err = s.settleUpdate(it, &change)
	default:
		err = fmt.Errorf("%w: an attempt can't end as %s", ErrMove, it.State)
	}
	if err == nil {
		err = s.addReports(it, reports, &change)
	}
	if err == nil {
		err = s.lanes.settling(it)
	}
	if err != nil {
		abort(reports)
		return err
	}
	write, waits := s.submit, true
	if len(reports) == 0 && it.State == Delivered {
		write, waits = s.send, false // the lease lasts until it is committed
	}
	err = write(ctx, &change)
	for _, r := range reports {
		r.Draft.end(err)
	}
	switch {
	case errors.Is(err, ErrLeaseLost):
		s.lanes.comeBack(it)
		return err
	case err != nil: // it is on disk as it was: to lease it at once would only deliver it once more
		s.lanes.unsettle(it, time.Now().Add(settleAgain))
		return err
	case !waits:
		return nil
	}
	s.lanes.release(it)
	s.settled(it)
	for _, r := range reports {
		s.queued(r.Items)
	}
	return nil
}

func abort(reports []Report) {
	for _, r := range reports {
		r.Draft.Abort()
	}
}

// settleUpdate is the change of an item that stays.
func (s *store) settleUpdate(it *Item, change *op) error {
	it.clean()
	if it.State == Frozen {
		it.Due = time.Time{}
	} else if it.Due.IsZero() {
		it.Due = time.Now()
	}
	if err := it.validate(); err != nil {
		return err
	}
	data, err := encode(it)
	change.do = func(ctx context.Context, t *tx) error { return s.update(ctx, t, it, data) }
	return err
}

// update writes an item that is on lease, or is nobody's.
func (s *store) update(ctx context.Context, t *tx, it *Item, data string) error {
	n, err := t.exec(ctx, updateItem, int64(it.State), int64(it.Priority), toMilli(it.Due), it.Route, data, int64(it.ID), s.dialect.fence(it))
	if err == nil && n == 0 {
		return refusal{ErrLeaseLost}
	}
	return err
}

// stillOurs refuses what follows if an item is no longer on this lease.
func (s *store) stillOurs(ctx context.Context, t *tx, it *Item) error {
	n, err := t.exec(ctx, "UPDATE spool_item SET lease = lease WHERE id = ? AND lease = ?", int64(it.ID), s.dialect.fence(it))
	if err == nil && n == 0 {
		return refusal{ErrLeaseLost}
	}
	return err
}

// addReports adds the drafts to the change.
func (s *store) addReports(it *Item, reports []Report, change *op) error {
	for _, r := range reports {
		m, err := r.prepare(it.ID)
		if err != nil {
			return err
		}
		change.add = append(change.add, m)
	}
	return nil
}

// prepare makes the report about an item ready to be committed.
func (r Report) prepare(about ID) (*message, error) {
	for _, item := range r.Items {
		item.Parent = about
	}
	return r.Draft.prepare(r.Items)
}

// gone is after a delivered item was deleted.
func (s *store) gone(ctx context.Context, conn *sql.Conn, it *Item) {
	s.dialect.dropBody(ctx, conn, it)
	s.lanes.gone(it)
	for i := range it.Recipients {
		if it.Recipients[i].State != Accepted {
			s.hub.tell(EventFailed, it)
			return
		}
	}
	s.hub.tell(EventDelivered, it)
}

// settled is after an item was written that stays.
func (s *store) settled(it *Item) {
	switch it.State {
	case Queued:
		s.enqueue(it)
		s.hub.tell(EventDelayed, it)
	case Frozen:
		s.hub.tell(EventFrozen, it)
	}
}

// lost is after a change failed that nobody waited for: it is tried again until it succeeds or the spool is closed.
func (s *store) lost(o *op, err error) {
	s.log.Warn("spool: what was delivered can't be deleted yet", "error", err)
	time.AfterFunc(time.Second, func() {
		o.state.Store(opWaiting)
		if s.send(context.Background(), o) != nil {
			s.log.Error("spool: what was delivered was not deleted, and will be delivered again")
		}
	})
}
