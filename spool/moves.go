package spool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// move is a change that people make.
type move struct {
	name   string
	from   []State
	event  EventKind
	change func(*Item) error
}

// Freeze implements [Spool].
func (s *store) Freeze(ctx context.Context, reason string, ids ...ID) error {
	return s.move(ctx, ids, move{"freeze", []State{Queued}, EventFrozen, func(it *Item) error {
		it.State, it.Reason, it.Due = Frozen, reason, time.Time{}
		return nil
	}})
}

// Thaw implements [Spool].
func (s *store) Thaw(ctx context.Context, ids ...ID) error {
	return s.move(ctx, ids, move{"thaw", []State{Frozen, Damaged}, EventThawed, toQueue})
}

// SendNow implements [Spool].
func (s *store) SendNow(ctx context.Context, o SendNow, ids ...ID) error {
	return s.move(ctx, ids, move{"send now", []State{Queued, Frozen}, EventSendNow, func(it *Item) error {
		it.Retry = append(slices.Clone(o.Retry), it.Retry...)
		for i := range it.Recipients {
			if o.Failed && it.Recipients[i].State >= Failed {
				it.Recipients[i].State = Remaining
			}
		}
		now := time.Now()
		it.NotBefore = time.Time{} // whoever says now means it
		if it.State == Frozen || len(o.Retry) > 0 || now.Before(it.Since) {
			return toQueue(it)
		}
		it.Due = now // only sooner than it would be: its time goes on
		return nil
	}})
}

// Remove implements [Spool].
func (s *store) Remove(ctx context.Context, ids ...ID) error {
	return s.move(ctx, ids, move{"remove", []State{Frozen, Quarantined, Damaged}, EventRemoved, func(it *Item) error {
		it.State, it.Due = Removed, s.removedUntil()
		return nil
	}})
}

// Recover implements [Spool].
func (s *store) Recover(ctx context.Context, ids ...ID) error {
	return s.move(ctx, ids, move{"recover", []State{Removed}, EventRecovered, func(it *Item) error {
		it.State, it.Due = Frozen, time.Time{}
		return nil
	}})
}

// Release implements [Spool].
func (s *store) Release(ctx context.Context, id ID, edit func(*Item)) error {
	return s.move(ctx, []ID{id}, move{"release", []State{Quarantined}, EventReleased, func(it *Item) error {
		kept := *it
		if edit != nil {
			edit(it)
		}
		it.ID, it.Message, it.Size, it.Checksum, it.Chunks, it.Items = kept.ID, kept.Message, kept.Size, kept.Checksum, kept.Chunks, kept.Items
		return toQueue(it)
	}})
}

// toQueue makes an item due now, or at its release, and gives it its time anew: who puts it back wants it sent, however long it was kept.
func toQueue(it *Item) error {
	it.Reason = ""
	it.enter(time.Now())
	if it.Expires.Before(it.Due) {
		it.Expires = time.Time{}
	}
	return nil
}

// move changes items that nobody has on lease.
func (s *store) move(ctx context.Context, ids []ID, m move) error {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	var errs []error
	for part := range slices.Chunk(ids, 256) { // so that others get a turn
		errs = append(errs, s.movePart(ctx, part, m))
	}
	return errors.Join(errs...)
}

func (s *store) movePart(ctx context.Context, ids []ID, m move) error {
	claimed := s.lanes.claim(ids)
	var errs []error
	var moved []*Item
	err := s.submit(ctx, &op{do: func(ctx context.Context, t *tx) error {
		errs, moved = nil, nil // it may run twice
		for _, id := range ids {
			it, err := s.moveOne(ctx, t, id, slices.Contains(claimed, id), m)
			if it != nil {
				moved = append(moved, it)
			} else if r := (refusal{}); errors.As(err, &r) {
				errs = append(errs, &ItemError{id, r.error})
			} else if err != nil {
				return err
			}
		}
		return nil
	}})
	s.lanes.unclaim(claimed) // before anybody is woken, who would find them taken
	if err != nil {
		return err
	}
	for _, it := range moved {
		if it.State == Queued {
			s.enqueue(it)
		}
		s.hub.tell(m.event, it)
	}
	return errors.Join(errs...)
}

// moveOne changes one item; its refusal leaves it as it was.
func (s *store) moveOne(ctx context.Context, t *tx, id ID, claimed bool, m move) (*Item, error) {
	r, err := s.lock(ctx, t, id)
	if err != nil {
		return nil, err
	}
	it, damage := r.decode()
	if it.State == Queued && (!claimed || it.lease != 0 && r.due > time.Now().UnixMilli()) {
		it.State = Sending
	}
	if !slices.Contains(m.from, it.State) && !(damage != nil && m.name == "remove") {
		return nil, refusal{fmt.Errorf("%w: can't %s item %s, it is %s", ErrMove, m.name, id, it.State)}
	}
	lease := it.lease
	if damage != nil { // there is nothing to change but the columns
		if m.name != "remove" {
			return nil, refusal{damage}
		}
		_, err := t.exec(ctx, "UPDATE spool_item SET state = ?, due = ? WHERE id = ?", int64(Removed), s.removedUntil().UnixMilli(), int64(id))
		return it, err
	}
	if err := m.change(it); err != nil {
		return nil, refusal{err}
	}
	it.clean()
	if err := it.validate(); err != nil {
		return nil, refusal{err}
	}
	data, err := encode(it)
	if err != nil {
		return nil, refusal{err}
	}
	_, err = t.exec(ctx, updateItem, int64(it.State), int64(it.Priority), toMilli(it.Due), it.Route, data, int64(id), lease)
	it.lease = 0
	return it, err
}

// lock reads an item that is to be changed.
func (s *store) lock(ctx context.Context, t *tx, id ID) (r row, err error) {
	rows, err := t.query(ctx, "SELECT "+columns+" FROM spool_item WHERE id = ?"+s.dialect.forUpdate(), int64(id))
	if err != nil {
		return r, err
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return r, err
		}
		return r, refusal{fmt.Errorf("%w: %s", ErrNotFound, id)}
	}
	return scanItem(rows)
}

// setAside puts an item that is damaged where it is in nobody's way, and says so. It returns the cause, or ErrNotFound: who only looks at an item finds no body once it
// is delivered.
func (s *store) setAside(it *Item, cause error) error {
	s.lanes.settling(it) // unless it is just looked at
	reason := cleanText(cause.Error())
	err := s.submit(context.Background(), &op{do: func(ctx context.Context, t *tx) error {
		r, err := s.lock(ctx, t, it.ID)
		if err != nil {
			return err
		}
		data := r.data
		if good, err := r.decode(); err == nil {
			good.Reason = reason
			if data, err = encode(good); err != nil {
				return err
			}
		}
		_, err = t.exec(ctx, "UPDATE spool_item SET state = ?, due = 0, lease = 0, data = ? WHERE id = ?", int64(Damaged), data, int64(it.ID))
		return err
	}})
	switch {
	case errors.Is(err, ErrNotFound):
		s.lanes.gone(it)
		return err
	case err != nil: // it is found again
		s.lanes.unsettle(it, time.Now().Add(settleAgain))
		s.log.Error("spool: a damaged item can't be set aside", "id", it.ID.String(), "damage", cause, "error", err)
		return cause
	}
	s.lanes.release(it)
	s.log.Error("spool: an item is damaged and was set aside", "id", it.ID.String(), "message", it.Message.String(), "error", cause)
	told := *it
	told.Reason = reason
	s.hub.tell(EventDamaged, &told)
	return cause
}
