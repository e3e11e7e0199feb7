package spool

import (
	"context"
	"errors"
)

// ReleaseAs implements [Spool].
func (s *store) ReleaseAs(ctx context.Context, id ID, r Report) error {
	m, err := r.prepare(id)
	if err != nil {
		r.Draft.Abort()
		return err
	}
	remove := move{"release", []State{Quarantined}, EventReleased, func(it *Item) error {
		it.State, it.Due = Removed, s.removedUntil()
		return nil
	}}
	claimed := s.lanes.claim([]ID{id})
	defer s.lanes.unclaim(claimed)
	var released *Item
	var refused refusal
	err = s.submit(ctx, &op{add: []*message{m}, do: func(ctx context.Context, t *tx) (err error) {
		refused = refusal{} // it may run twice
		released, err = s.moveOne(ctx, t, id, len(claimed) > 0, remove)
		errors.As(err, &refused)
		return err // what refuses this refuses the message
	}})
	if refused.error != nil {
		r.Draft.Abort() // nobody has it, for certain
		return &ItemError{id, refused.error}
	}
	r.Draft.end(err)
	if err != nil {
		return err
	}
	s.hub.tell(EventReleased, released)
	s.queued(r.Items)
	return nil
}
