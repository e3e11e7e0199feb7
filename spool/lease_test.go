//go:build unix

package spool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestABigDestinationDoesNotStarveTheOthers(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		for range 300 {
			put(t, s, "x", newItem("big.example", 1))
		}
		for i := range 9 {
			put(t, s, "x", newItem(fmt.Sprintf("small%d.example", i), 1))
		}
		routes := map[string]int{}
		for _, it := range lease(t, s, LeaseOptions{Max: 50}) {
			routes[it.Route]++
		}
		if len(routes) != 10 || routes["big.example"] != 41 {
			t.Errorf("got %v", routes)
		}
	})
}

func TestARouteAtItsCapWaitsForALeaseToEnd(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		for range 5 {
			put(t, s, "x", newItem("a.example", 1))
		}
		o := LeaseOptions{PerRoute: 2}
		first := lease(t, s, o)
		ready := s.Ready()
		if len(first) != 2 || len(lease(t, s, o)) != 0 {
			t.Fatalf("leased %d", len(first))
		}
		if due := s.NextDue(); !due.IsZero() && time.Until(due) < 0 && url[0] == 's' {
			t.Errorf("due %v, but nothing can be leased", due)
		}
		first[0].State = Delivered
		if err := s.Settle(t.Context(), first[0]); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ready:
		case <-time.After(20 * time.Second):
			t.Fatal("nobody was woken")
		}
		var more []*Item
		eventually(t, "one more", func() bool { more = append(more, lease(t, s, o)...); return len(more) > 0 })
		if len(more) != 1 {
			t.Errorf("leased %d", len(more))
		}
	})
}

// The next attempt need not wait until what became of the last one is on disk.
func TestARouteIsFreeOnceTheAttemptIsOver(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		var hold atomic.Bool
		written := make(chan struct{})
		s := openTest(t, url, &Options{beforeCommit: func() error {
			if hold.Load() {
				<-written
			}
			return nil
		}})
		put(t, s, "x", newItem("a.example", 1))
		put(t, s, "x", newItem("a.example", 1))
		o := LeaseOptions{PerRoute: 1}
		first := lease(t, s, o)
		hold.Store(true)
		first[0].State = Delivered
		id := first[0].ID
		if err := s.Settle(t.Context(), first[0]); err != nil {
			t.Fatal(err)
		}
		next := lease(t, s, o)
		if len(next) != 1 || next[0].ID == id {
			t.Errorf("leased %d items", len(next))
		}
		if len(lease(t, s, o)) != 0 {
			t.Error("leased more than one at a time")
		}
		close(written)
	})
}

func TestPriorityGoesFirst(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		for _, p := range []int{0, 9, -9, 3, 0} {
			it := newItem("a.example", 1)
			it.Priority = p
			put(t, s, "x", it)
		}
		var got []int
		for range 5 {
			for _, it := range lease(t, s, LeaseOptions{Max: 1}) {
				got = append(got, it.Priority)
			}
		}
		if !slices.Equal(got, []int{9, 3, 0, 0, -9}) {
			t.Errorf("got %v", got)
		}
	})
}

func TestExcludedRoutesStay(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		put(t, s, "x", newItem("a.example", 1))
		put(t, s, "x", newItem("b.example", 1))
		o := LeaseOptions{Exclude: map[string]struct{}{"a.example": {}}}
		if got := lease(t, s, o); len(got) != 1 || got[0].Route != "b.example" {
			t.Errorf("got %v", got)
		}
		if due := s.NextDue(); !due.IsZero() && due.Before(time.Now()) {
			t.Errorf("who waits for NextDue spins: %v", due)
		}
		if got := lease(t, s, LeaseOptions{}); len(got) != 1 || got[0].Route != "a.example" {
			t.Errorf("got %v", got)
		}
	})
}

func TestALeaseEnds(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		put(t, s, "x", newItem("a.example", 1))
		late := lease(t, s, LeaseOptions{TTL: 50 * time.Millisecond})[0]
		var again []*Item
		eventually(t, "the lease ends", func() bool { again = lease(t, s, LeaseOptions{}); return len(again) > 0 })
		late.State, late.Due = Queued, time.Now()
		if err := s.Settle(t.Context(), late); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("got %v, want ErrLeaseLost", err)
		}
		if err := s.Renew(t.Context(), 0, late); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("got %v, want ErrLeaseLost", err)
		}
		if err := s.Renew(t.Context(), time.Minute, again...); err != nil {
			t.Error(err)
		}
		if err := s.Return(t.Context(), again...); err != nil {
			t.Error(err)
		}
		if got := lease(t, s, LeaseOptions{}); len(got) != 1 || got[0].Attempts != 0 {
			t.Errorf("got %v", got)
		}
	})
}

// TestNothingIsLeasedTwiceOrForgotten has many put, lease, give back, retry and deliver at the same time.
func TestNothingIsLeasedTwiceOrForgotten(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		const senders, each = 8, 40
		var mu sync.Mutex
		held, done := map[ID]bool{}, map[ID]int{}
		var wg sync.WaitGroup
		for n := range senders {
			wg.Go(func() {
				for i := range each {
					it := newItem(fmt.Sprintf("r%d.example", (n+i)%5), 1)
					it.Priority = i % 3
					put(t, s, "x", it)
				}
			})
		}
		finished := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(done) == senders*each
		}
		for range 4 {
			wg.Go(func() {
				for end := time.Now().Add(60 * time.Second); !finished(); {
					if time.Now().After(end) {
						t.Errorf("%d of %d are done", len(done), senders*each)
						return
					}
					ready := s.Ready()
					items, err := s.Lease(t.Context(), LeaseOptions{Max: 7, PerRoute: 5})
					if err != nil {
						t.Error(err)
						return
					}
					for _, it := range items {
						settleSomehow(t, s, it, &mu, held, done)
					}
					if len(items) == 0 {
						select {
						case <-ready:
						case <-time.After(20 * time.Millisecond):
						}
					}
				}
			})
		}
		wg.Wait()
	})
}

func settleSomehow(t *testing.T, s *store, it *Item, mu *sync.Mutex, held map[ID]bool, done map[ID]int) {
	mu.Lock()
	if held[it.ID] || done[it.ID] > 0 {
		t.Errorf("%s is leased twice", it.ID)
	}
	held[it.ID] = true
	delete(held, it.ID) // from now on it may be leased again
	final := it.Attempts == 2
	if final {
		done[it.ID]++
	}
	mu.Unlock()
	var err error
	switch {
	case final:
		it.State = Delivered
		err = s.Settle(t.Context(), it)
	case it.ID%5 == 0 && it.Attempts == 0 && len(it.LastError) == 0:
		it.State, it.LastError = Queued, "given back"
		err = s.Settle(t.Context(), it)
	default:
		it.State, it.Due = Queued, time.Now().Add(time.Duration(it.ID%7)*time.Millisecond)
		it.Attempts++
		err = s.Settle(t.Context(), it)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestReportsAreCommittedWithTheItemOrNotAtAll(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		ctx := t.Context()
		report := func(text string) Report {
			d := s.Create()
			d.Write([]byte(text))
			bounce := newItem("example.org", 1)
			bounce.Sender = Path{}
			return Report{Draft: d, Items: []*Item{bounce}}
		}
		id := put(t, s, "x", newItem("example.net", 1))[0]
		it := lease(t, s, LeaseOptions{TTL: 50 * time.Millisecond})[0]
		var again []*Item
		eventually(t, "the lease ends", func() bool { again = lease(t, s, LeaseOptions{}); return len(again) > 0 })
		it.State = Delivered
		if err := s.Settle(ctx, it, report("too late")); !errors.Is(err, ErrLeaseLost) {
			t.Fatalf("got %v, want ErrLeaseLost", err)
		}
		again[0].State = Delivered
		big := strings.Repeat("bounce ", 100_000)
		if err := s.Settle(ctx, again[0], report("bounce"), report(big)); err != nil {
			t.Fatal(err)
		}
		items, _, err := s.List(ctx, Filter{})
		if err != nil || len(items) != 2 || items[0].Parent != id || read(t, s, items[0]) != "bounce" || read(t, s, items[1]) != big {
			t.Errorf("%v, %v", items, err)
		}
	})
}

// Who gives an item back whose Settle failed gives it back as it was, whatever he has made of it.
func TestWhatIsGivenBackIsWhereItCameFrom(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		it := newItem("a.example", 1)
		it.Priority = 1
		id := put(t, s, "x", it)[0]
		it = lease(t, s, LeaseOptions{})[0]
		it.State, it.Due, it.Route, it.Priority = Queued, time.Now().Add(time.Hour), "b.example", 2
		bad := Report{Draft: s.Create(), Items: []*Item{{Route: "nobody.example"}}}
		if err := s.Settle(t.Context(), it, bad); !errors.Is(err, ErrItem) {
			t.Fatalf("got %v, want ErrItem", err)
		}
		if err := s.Return(t.Context(), it); err != nil {
			t.Fatal(err)
		}
		got := leasedInTime(t, s, 1)[0]
		if got.ID != id || got.Route != "a.example" || got.Priority != 1 || got.Due.After(time.Now()) {
			t.Errorf("got %+v", got)
		}
	})
}

// With PostgreSQL the lease in the row may be over when the database has been away. Who has the item, and is still trying to settle it, is not to see it leased
// again by the same process before that.
func TestALeaseIsHeldWhileTheDatabaseIsAway(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		for _, state := range []State{Queued, Delivered} {
			id := put(t, s, "x", newItem("a.example", 1))[0]
			it := lease(t, s, LeaseOptions{})[0]
			execSQL(t, s, "UPDATE spool_item SET due = 1 WHERE id = ?", id)
			s.lanes.add(it.lane(), position{due: 1})
			if got := lease(t, s, LeaseOptions{}); len(got) > 0 {
				t.Errorf("leased %v while it is on lease", got[0].ID)
			}
			it.State, it.Due = state, time.Now()
			if err := s.Settle(t.Context(), it); err != nil {
				t.Error(err)
			}
			if state == Queued { // found again
				it = leasedInTime(t, s, 1)[0]
				it.State = Delivered
				if err := s.Settle(t.Context(), it); err != nil || it.ID != id {
					t.Errorf("%v, %v", it.ID, err)
				}
			}
			eventually(t, "it is gone", func() bool { _, err := s.Get(t.Context(), id); return errors.Is(err, ErrNotFound) })
		}
	})
}

// A context that ends before what was delivered is on its way to the disk leaves the item with its holder, who can settle it once more; and if he doesn't, the
// lease ends.
func TestWhoCanNotSettleInTimeKeepsTheLease(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		var err error
		for err == nil { // it goes by chance whether the writer takes it all the same
			put(t, s, "x", newItem("a.example", 1))
			it := lease(t, s, LeaseOptions{PerRoute: 1})[0]
			it.State = Delivered
			err = s.Settle(over, it)
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		put(t, s, "x", newItem("a.example", 1))
		if got := lease(t, s, LeaseOptions{PerRoute: 1}); len(got) != 0 {
			t.Errorf("leased %v while the first has the route", got[0].ID)
		}
		if n := s.lanes.expire(time.Now().Add(2 * settleAgain)); n != 1 {
			t.Errorf("%d leases ended, want 1", n)
		}
	})
}

// What could not be settled is not leased again at once, which would deliver it as often as the machine can: whoever has it can settle it once
// more.
func TestWhatCanNotBeSettledStaysOnLease(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		var broken atomic.Bool
		s := openTest(t, url, &Options{beforeCommit: func() error {
			if broken.Load() {
				return failure{failConn, errors.New("fsync: input/output error")}
			}
			return nil
		}})
		put(t, s, "text", newItem("example.net", 1))
		it := lease(t, s, LeaseOptions{})[0]
		it.State, it.Due = Queued, time.Now().Add(time.Hour)
		broken.Store(true)
		if err := s.Settle(t.Context(), it); err == nil {
			t.Fatal("settled without a disk")
		}
		broken.Store(false)
		if again := lease(t, s, LeaseOptions{}); len(again) != 0 {
			t.Fatalf("got %v at once", again[0].ID)
		}
		if err := s.Settle(t.Context(), it); err != nil {
			t.Fatal(err)
		}
		if again := lease(t, s, LeaseOptions{}); len(again) != 0 {
			t.Errorf("got %v before it is due", again[0].ID)
		}
	})
}
