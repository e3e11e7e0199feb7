//go:build unix

package spool

import (
	"cmp"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

// leasedInTime leases what is due, as a relay does: it waits for Ready and NextDue, and for nothing else.
func leasedInTime(t *testing.T, s *store, n int) (items []*Item) {
	t.Helper()
	giveUp := time.After(20 * time.Second)
	for len(items) < n {
		ready := s.Ready()
		got := lease(t, s, LeaseOptions{})
		if items = append(items, got...); len(got) > 0 {
			continue
		}
		if !waitForWork(s, ready, giveUp) {
			t.Fatalf("%d of %d items were leased; the next is due %v", len(items), n, s.NextDue())
		}
	}
	return items
}

// A relay that looks while an item is being moved goes past it. Whatever becomes of the move, the item is found when it is free again.
func TestWhatIsBeingMovedIsFoundLater(t *testing.T) {
	refused, broken := errors.New("refused by the test"), failure{failConn, errors.New("fsync: input/output error")}
	for name, c := range map[string]struct {
		state  State
		change error
		commit error
	}{
		"refused": {Queued, refused, nil},
		"failed":  {Queued, nil, broken},
		"sent":    {Queued, nil, nil},
		"thawed":  {Frozen, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(t *testing.T, url string) {
				var fail atomic.Bool
				s := openTest(t, url, &Options{beforeCommit: func() error {
					if fail.Load() {
						return c.commit
					}
					return nil
				}})
				it := newItem("a.example", 1)
				it.State = c.state
				id := put(t, s, "x", it)[0]
				moving, looked, moved := make(chan struct{}), make(chan struct{}), make(chan error, 1)
				m := move{"send now", []State{Queued, Frozen}, EventSendNow, func(it *Item) error {
					moving <- struct{}{}
					<-looked
					fail.Store(true)
					return errors.Join(c.change, toQueue(it))
				}}
				go func() { moved <- s.move(t.Context(), []ID{id}, m) }()
				<-moving
				if got := lease(t, s, LeaseOptions{}); len(got) > 0 {
					t.Errorf("leased while it is being moved: %v", got)
				}
				close(looked)
				if err := <-moved; !errors.Is(err, cmp.Or(c.change, c.commit)) {
					t.Errorf("got %v", err)
				}
				fail.Store(false)
				if got := leasedInTime(t, s, 1); got[0].ID != id {
					t.Errorf("leased %v", got[0])
				}
			})
		})
	}
}

// Many are thawed under the eyes of a relay that is awake.
func TestWhatIsThawedIsLeased(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		for range 20 {
			var ids []ID
			for range 20 {
				it := newItem("a.example", 1)
				it.State = Frozen
				ids = append(ids, put(t, s, "x", it)...)
			}
			thawed := make(chan error, 1)
			go func() { thawed <- s.Thaw(t.Context(), ids...) }()
			for _, it := range leasedInTime(t, s, len(ids)) {
				it.State = Delivered
				if err := s.Settle(t.Context(), it); err != nil {
					t.Error(err)
				}
			}
			if err := <-thawed; err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A fetch may see an item as it was, or as it is to be, while somebody has it. It is found once they have let go of it; before the fetch is over too.
func TestAFetchThatGoesPastAnItemLooksAgain(t *testing.T) {
	key, pos := laneKey{route: "a.example"}, position{due: 5, id: 7}
	last := position{due: 9, id: 9}
	far := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		take  func(l *lanes) *Item
		let   func(l *lanes, it *Item)
		found bool
	}{
		"a move":        {claimed, func(l *lanes, it *Item) { l.unclaim([]ID{it.ID}) }, true},
		"settled":       {settling, func(l *lanes, it *Item) { l.release(it) }, true},
		"delivered":     {settling, func(l *lanes, it *Item) { l.gone(it) }, false},
		"given back":    {settling, func(l *lanes, it *Item) { l.comeBack(it) }, true},
		"lease is over": {settling, func(l *lanes, it *Item) { l.unsettle(it, far); l.expire(far) }, true},
	} {
		for _, when := range []string{"before", "during", "after"} {
			t.Run(name+" "+when+" the fetch ends", func(t *testing.T) {
				l := newLanes()
				it := c.take(l)
				l.add(key, pos)
				ln, _ := l.take(far.UnixMilli(), 1, &LeaseOptions{})
				l.read(true)
				if when == "before" {
					c.let(l, it)
				}
				if !l.pass(place{key, pos}) {
					t.Error("it was there to be leased, and somebody has it")
				}
				if when == "during" {
					c.let(l, it)
				}
				l.put(ln, 0, last, true, far.UnixMilli())
				l.read(false)
				if when == "after" {
					c.let(l, it)
				}
				again, _ := l.take(far.UnixMilli(), 1, &LeaseOptions{})
				if (again != nil) != c.found {
					t.Fatalf("got %v, want to look again: %v", again, c.found)
				}
				if again != nil && (again.laneKey != key || again.cursor.compare(pos) >= 0 || l.pass(place{key, pos})) {
					t.Errorf("the next fetch doesn't find it: %+v", again)
				}
			})
		}
	}
}

func claimed(l *lanes) *Item {
	l.claim([]ID{7})
	return &Item{ID: 7}
}

// settling is an item that was leased elsewhere, and is being settled.
func settling(l *lanes) *Item {
	it := &Item{ID: 7, Route: "a.example", Due: fromMilli(5)}
	l.hold([]*Item{it}, 1, time.Now().Add(time.Hour))
	l.settling(it)
	return it
}
