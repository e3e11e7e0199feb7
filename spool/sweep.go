package spool

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// janitor deletes what was kept for long enough and bodies that are nobody's, every hour, and looks whether a full disk has room again.
func (s *store) janitor() {
	hour, room := time.NewTicker(time.Hour), time.NewTicker(5*time.Second)
	defer hour.Stop()
	defer room.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.clean(ctx)
	for {
		select {
		case <-s.stop:
			return
		case <-room.C:
			if s.full.Load() {
				s.send(ctx, &op{})
			}
		case <-hour.C:
			s.clean(ctx)
		}
	}
}

func (s *store) clean(ctx context.Context) {
	if err := s.expire(ctx, time.Now()); err != nil && err != ErrClosed {
		s.log.Error("spool: can't delete what was kept for long enough", "error", err)
	}
	if n, err := s.dialect.sweep(ctx, s); err != nil {
		s.log.Error("spool: can't delete the bodies that are nobody's", "error", err)
	} else if n > 0 {
		s.log.Info("spool: deleted bodies that were nobody's", "bodies", n)
	}
}

// expire deletes removed and quarantined items whose time is over.
func (s *store) expire(ctx context.Context, now time.Time) error {
	var items []*Item
	o := &op{
		do: func(ctx context.Context, t *tx) (err error) {
			if items, err = s.expired(ctx, t, now); err != nil {
				return err
			}
			return t.delete(ctx, items)
		},
		after: func(ctx context.Context, conn *sql.Conn) {
			for _, it := range items {
				s.dialect.dropBody(ctx, conn, it)
				s.hub.tell(EventExpired, it)
			}
		},
	}
	for {
		o.state.Store(opWaiting)
		if err := s.submit(ctx, o); err != nil || len(items) == 0 {
			return err
		}
	}
}

// expired selects, and holds, some of the items whose time is over.
func (s *store) expired(ctx context.Context, t *tx, now time.Time) (items []*Item, err error) {
	const query = "SELECT " + columns + " FROM spool_item WHERE state = ? AND due <= ? LIMIT 256"
	for _, state := range []State{Removed, Quarantined} {
		rows, err := t.query(ctx, query+s.dialect.forUpdate(), int64(state), now.UnixMilli())
		if err != nil {
			return nil, err
		}
		for rows.Next() {
			r, err := scanItem(rows)
			if err != nil {
				rows.Close()
				return nil, err
			}
			it, damage := r.decode()
			if damage != nil { // who knows how many there were
				it.Items = 2
			}
			items = append(items, it)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return nil, err
		}
	}
	return items, nil
}
