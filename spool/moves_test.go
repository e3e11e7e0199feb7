//go:build unix

package spool

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// TestMovesBetweenStates tries every move from every state: the others are refused and change nothing.
func TestMovesBetweenStates(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		ctx := t.Context()
		bring := map[State]func() ID{
			Queued: func() ID {
				it := newItem("later.example", 1)
				it.Due = time.Now().Add(time.Hour)
				return put(t, s, "x", it)[0]
			},
			Sending: func() ID {
				id := put(t, s, "x", newItem("now.example", 1))[0]
				lease(t, s, LeaseOptions{})
				return id
			},
			Frozen: func() ID {
				it := newItem("example.net", 1)
				it.State, it.Reason = Frozen, "held"
				return put(t, s, "x", it)[0]
			},
			Quarantined: func() ID {
				it := newItem("example.net", 1)
				it.State, it.Reason = Quarantined, "virus"
				return put(t, s, "x", it)[0]
			},
		}
		bring[Removed] = func() ID {
			id := bring[Frozen]()
			if err := s.Remove(ctx, id); err != nil {
				t.Fatal(err)
			}
			return id
		}
		moves := []struct {
			name string
			from []State
			to   State
			do   func(ID) error
		}{
			{"freeze", []State{Queued}, Frozen, func(id ID) error { return s.Freeze(ctx, "why", id) }},
			{"thaw", []State{Frozen}, Queued, func(id ID) error { return s.Thaw(ctx, id) }},
			{"send now", []State{Queued, Frozen}, Queued, func(id ID) error { return s.SendNow(ctx, SendNow{}, id) }},
			{"remove", []State{Frozen, Quarantined}, Removed, func(id ID) error { return s.Remove(ctx, id) }},
			{"recover", []State{Removed}, Frozen, func(id ID) error { return s.Recover(ctx, id) }},
			{"release", []State{Quarantined}, Queued, func(id ID) error { return s.Release(ctx, id, nil) }},
		}
		for from, make := range bring {
			for _, m := range moves {
				id := make()
				err := m.do(id)
				want := m.to
				if !slices.Contains(m.from, from) {
					want = from
					if !errors.Is(err, ErrMove) {
						t.Errorf("%s from %s: got %v, want ErrMove", m.name, from, err)
					}
				} else if err != nil {
					t.Errorf("%s from %s: %v", m.name, from, err)
				}
				it, err := s.Get(ctx, id)
				if err != nil || it.State != want {
					t.Errorf("%s from %s: it is %v, want %s, %v", m.name, from, it, want, err)
					continue
				}
				if want == Queued && slices.Contains(m.from, from) && it.Due.After(time.Now()) {
					t.Errorf("%s from %s: it is due %v", m.name, from, it.Due)
				}
			}
		}
		if err := s.Thaw(ctx, 12345); !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}

func TestMovesWorkOnTheRestWhenOneIsRefused(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		a, b := newItem("a.example", 1), newItem("b.example", 1)
		a.State = Frozen
		ids := put(t, s, "x", a, b)
		if err := s.Remove(t.Context(), append(ids, 99)...); !errors.Is(err, ErrMove) || !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v", err)
		}
		if it, err := s.Get(t.Context(), ids[0]); err != nil || it.State != Removed {
			t.Errorf("%v, %v", it, err)
		}
	})
}

func TestSendNowPutsRetriesInFrontAndFailedRecipientsBack(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		it := newItem("example.net", 2)
		it.State, it.Retry = Frozen, []time.Duration{time.Hour}
		it.Recipients[0].State, it.Recipients[1].State = Failed, Accepted
		id := put(t, s, "x", it)[0]
		if err := s.SendNow(t.Context(), SendNow{Retry: []time.Duration{time.Minute}, Failed: true}, id); err != nil {
			t.Fatal(err)
		}
		got := lease(t, s, LeaseOptions{})
		if len(got) != 1 || !slices.Equal(got[0].Retry, []time.Duration{time.Minute, time.Hour}) ||
			got[0].Recipients[0].State != Remaining || got[0].Recipients[1].State != Accepted {
			t.Errorf("%+v", got)
		}
	})
}

func TestReleaseEditsTheEnvelopeAndNothingElse(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		it := newItem("example.net", 2)
		it.State, it.Reason = Quarantined, "virus"
		id := put(t, s, "body", it)[0]
		bad := func(it *Item) { it.Recipients[0].Address = "a@example.net\r\nRCPT TO:<b@example.net>" }
		if err := s.Release(t.Context(), id, bad); !errors.Is(err, ErrItem) {
			t.Fatalf("got %v, want ErrItem", err)
		}
		err := s.Release(t.Context(), id, func(it *Item) {
			it.Recipients, it.Route, it.NextHops = it.Recipients[1:], "hop.example", []string{"hop.example:25"}
			it.ID, it.Message, it.Size = 1, 2, 3
		})
		if err != nil {
			t.Fatal(err)
		}
		got := lease(t, s, LeaseOptions{})
		if len(got) != 1 || got[0].ID != id || got[0].Route != "hop.example" || len(got[0].Recipients) != 1 || read(t, s, got[0]) != "body" {
			t.Errorf("%+v", got)
		}
	})
}

func TestWhatWasKeptForLongEnoughIsDeleted(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		events := s.Subscribe(100)
		quarantined, removed, frozen := newItem("a.example", 1), newItem("b.example", 1), newItem("c.example", 1)
		quarantined.State, removed.State, frozen.State = Quarantined, Frozen, Frozen
		ids := put(t, s, string(make([]byte, 300<<10)), quarantined, removed, frozen)
		if err := s.Remove(t.Context(), ids[1]); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			after time.Duration
			want  []ID
		}{
			{6 * 24 * time.Hour, ids},
			{8 * 24 * time.Hour, []ID{ids[0], ids[2]}},
			{31 * 24 * time.Hour, []ID{ids[2]}},
		} {
			if err := s.expire(t.Context(), time.Now().Add(step.after)); err != nil {
				t.Fatal(err)
			}
			items, _, err := s.List(t.Context(), Filter{})
			var got []ID
			for _, it := range items {
				got = append(got, it.ID)
			}
			if err != nil || !slices.Equal(got, step.want) {
				t.Errorf("after %v: got %v, want %v, %v", step.after, got, step.want, err)
			}
		}
		if it, err := s.Get(t.Context(), ids[2]); err != nil || len(read(t, s, it)) != 300<<10 {
			t.Errorf("the body went with the others: %v", err)
		}
		expired := 0
		for len(events.C) > 0 {
			if e := <-events.C; e.Kind == EventExpired {
				expired++
			}
		}
		if expired != 2 {
			t.Errorf("%d events, want 2", expired)
		}
	})
}

func TestEventsTellWhatHappened(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		events, slow := s.Subscribe(100), s.Subscribe(1)
		ctx := context.Background()
		id := put(t, s, "x", newItem("example.net", 1))[0]
		it := lease(t, s, LeaseOptions{})[0]
		it.State, it.Due, it.LastError = Queued, time.Now().Add(time.Hour), "451 later"
		err := errors.Join(s.Settle(ctx, it), s.Freeze(ctx, "wait", id), s.Remove(ctx, id), s.Recover(ctx, id), s.Thaw(ctx, id))
		it = lease(t, s, LeaseOptions{})[0]
		it.State, it.Recipients[0].State = Delivered, Accepted
		if err = errors.Join(err, s.Settle(ctx, it)); err != nil {
			t.Fatal(err)
		}
		want := []EventKind{EventSpooled, EventDelayed, EventFrozen, EventRemoved, EventRecovered, EventThawed, EventDelivered}
		for _, kind := range want {
			select {
			case e := <-events.C:
				if e.Kind != kind || e.ID != id || e.Route != "example.net" || kind == EventDelayed && (e.Reason != "451 later" || e.At.IsZero()) {
					t.Errorf("got %+v, want %s", e, kind)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("no %s", kind)
			}
		}
		slow.hub.mu.Lock() // the last event may be on its way to this one
		lost := slow.Lost()
		slow.hub.mu.Unlock()
		if lost != uint64(len(want)-1) {
			t.Errorf("%d lost", lost)
		}
		events.Close()
		events.Close()
		if _, open := <-events.C; open {
			t.Error("still open")
		}
	})
}

// For how long things are kept can be changed while the spool is open; what is kept already keeps its time.
func TestKeepHoldsFromThenOn(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, &Options{KeepRemoved: time.Hour, KeepQuarantined: 2 * time.Hour})
		ctx := t.Context()
		quarantined := func() time.Duration {
			it := newItem("example.net", 1)
			it.State = Quarantined
			it, err := s.Get(ctx, put(t, s, "x", it)[0])
			if err != nil {
				t.Fatal(err)
			}
			return time.Until(it.Due).Round(time.Minute)
		}
		removed := func() time.Duration {
			it := newItem("example.net", 1)
			it.State = Frozen
			id := put(t, s, "x", it)[0]
			it, err := s.Get(ctx, id)
			if err = errors.Join(err, s.Remove(ctx, id)); err == nil {
				it, err = s.Get(ctx, id)
			}
			if err != nil {
				t.Fatal(err)
			}
			return time.Until(it.Due).Round(time.Minute)
		}
		check := func(wantRemoved, wantQuarantined time.Duration) {
			t.Helper()
			if r, q := removed(), quarantined(); r != wantRemoved || q != wantQuarantined {
				t.Errorf("kept for %v and %v, want %v and %v", r, q, wantRemoved, wantQuarantined)
			}
		}
		check(time.Hour, 2*time.Hour)
		s.Keep(3*time.Hour, 0)
		check(3*time.Hour, 30*24*time.Hour)
	})
}

// RFC 4865 §4: what its sender wants released later is not due before, whatever is done with it meanwhile, but for one who says now.
func TestNothingIsDueBeforeItsRelease(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		ctx := t.Context()
		release := time.Now().Add(100 * time.Hour).Truncate(time.Second)
		for _, test := range []struct {
			name  string
			state State
			moves func(ID) error
		}{
			{"committed", Queued, func(ID) error { return nil }},
			{"frozen and thawed", Queued, func(id ID) error { return errors.Join(s.Freeze(ctx, "", id), s.Thaw(ctx, id)) }},
			{"held and thawed", Frozen, func(id ID) error { return s.Thaw(ctx, id) }},
			{"removed, recovered and thawed", Frozen, func(id ID) error { return errors.Join(s.Remove(ctx, id), s.Recover(ctx, id), s.Thaw(ctx, id)) }},
			{"released from quarantine", Quarantined, func(id ID) error { return s.Release(ctx, id, nil) }},
		} {
			it := newItem("example.net", 1)
			it.State, it.NotBefore = test.state, release
			id := put(t, s, "x", it)[0]
			if err := test.moves(id); err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			got, err := s.Get(ctx, id)
			if err != nil || got.State != Queued || !got.Due.Equal(release) || !got.Entered().Equal(release) {
				t.Errorf("%s: got %+v, %v", test.name, got, err)
			}
			now := time.Now().Truncate(time.Millisecond)
			if err := s.SendNow(ctx, SendNow{}, id); err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			got, err = s.Get(ctx, id)
			if err != nil || got.Due.After(time.Now()) || got.Entered().Before(now) || got.Entered().After(time.Now()) {
				t.Errorf("%s, sent now: got %+v, %v", test.name, got, err)
			}
		}
	})
}

// What somebody kept out of the queue has its time anew when it comes back; what was in it all along has not.
func TestTimeBeginsAnewForWhatComesBack(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		ctx := t.Context()
		over, later := time.Now().Truncate(time.Second), time.Now().Add(time.Hour).Truncate(time.Second)
		for _, test := range []struct {
			name  string
			state State
			move  func(ID) error
			anew  bool
		}{
			{"committed", Queued, func(ID) error { return nil }, false},
			{"sent now", Queued, func(id ID) error { return s.SendNow(ctx, SendNow{}, id) }, false},
			{"sent now, with more tries", Queued, func(id ID) error { return s.SendNow(ctx, SendNow{Retry: []time.Duration{time.Minute}}, id) }, true},
			{"frozen, and sent now", Frozen, func(id ID) error { return s.SendNow(ctx, SendNow{}, id) }, true},
			{"frozen and thawed", Frozen, func(id ID) error { return s.Thaw(ctx, id) }, true},
			{"quarantined and released", Quarantined, func(id ID) error { return s.Release(ctx, id, nil) }, true},
		} {
			a, b := newItem("example.net", 1), newItem("example.net", 1)
			a.State, a.Expires, b.State, b.Expires = test.state, over, test.state, later
			ids := put(t, s, "x", a, b)
			for i, expires := range []time.Time{over, later} {
				if err := test.move(ids[i]); err != nil {
					t.Errorf("%s: %v", test.name, err)
				}
				got, err := s.Get(ctx, ids[i])
				if err != nil || got.State != Queued || got.Since.IsZero() == test.anew || got.Entered().Before(got.Created()) || got.Entered().After(time.Now()) {
					t.Fatalf("%s: got %+v, %v", test.name, got, err)
				}
				if test.anew && expires == over { // it would be given up at once
					expires = time.Time{}
				}
				if !got.Expires.Equal(expires) {
					t.Errorf("%s: it expires %v, want %v", test.name, got.Expires, expires)
				}
			}
		}
	})
}

// Each item that can't be moved has an error of its own.
func TestMovesNameTheirItems(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		it := newItem("example.net", 1)
		it.State = Frozen
		id := put(t, s, "x", it)[0]
		const none = ID(1)
		err := s.SendNow(t.Context(), SendNow{}, id, none)
		var one *ItemError
		if !errors.As(err, &one) || one.ID != none || !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v", err)
		}
		if got, err := s.Get(t.Context(), id); err != nil || got.State != Queued {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}
