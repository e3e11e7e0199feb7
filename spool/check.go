package spool

import (
	"context"
	"errors"
	"io"
)

// Check implements [Spool].
func (s *store) Check(ctx context.Context) (r CheckReport, err error) {
	if err := s.dialect.check(ctx); err != nil {
		s.log.Error("spool: the database is damaged", "error", err)
		return r, err
	}
	var after, checked ID
	for {
		items, last, err := s.scan(ctx, after, 256, func(*Item) bool { return true }, 256)
		if err != nil {
			return r, err
		}
		for _, it := range items {
			r.Items++
			damaged, err := s.checkItem(ctx, it, &checked)
			if err != nil {
				return r, err
			}
			if damaged {
				r.Damaged = append(r.Damaged, it.ID)
			}
		}
		if last == 0 {
			break
		}
		after = last
	}
	r.Orphans, err = s.dialect.sweep(ctx, s)
	return r, err
}

// checkItem reads a row, and its body unless it is that of the item before.
func (s *store) checkItem(ctx context.Context, it *Item, checked *ID) (damaged bool, err error) {
	if it.State == Removed || it.State == Damaged && len(it.Recipients) > 0 {
		return it.State == Damaged, nil
	}
	if len(it.Recipients) == 0 { // the row can't be read
		return isDamage(s.setAside(it, ErrDamaged))
	}
	if it.Message == *checked {
		return false, nil
	}
	body, err := s.OpenBody(ctx, it)
	if err == nil {
		_, err = io.Copy(io.Discard, body)
		body.Close()
	}
	if err == nil {
		*checked = it.Message
	}
	return isDamage(err)
}

// isDamage sorts an error of reading an item: it is damaged, was delivered in the meantime, or can't be read now.
func isDamage(err error) (damaged bool, _ error) {
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) {
		return errors.Is(err, ErrDamaged), nil
	}
	return false, err
}
