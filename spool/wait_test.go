//go:build unix

package spool

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestWhoWaitsForReadyAndNextDueMissesNothing delivers with nothing but these two to wait for, as the documentation says to.
func TestWhoWaitsForReadyAndNextDueMissesNothing(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		const senders, each = 6, 50
		var wg sync.WaitGroup
		for n := range senders {
			wg.Go(func() {
				for i := range each {
					it := newItem(fmt.Sprintf("r%d.example", i%4), 1)
					it.Due = time.Now().Add(time.Duration(i%3*n) * 10 * time.Millisecond)
					put(t, s, "x", it)
				}
			})
		}
		defer wg.Wait()
		giveUp := time.After(60 * time.Second)
		work := make(chan *Item, senders*each)
		for range 4 {
			wg.Go(func() {
				for it := range work {
					it.State = Delivered
					if err := s.Settle(t.Context(), it); err != nil {
						t.Error(err)
					}
				}
			})
		}
		defer close(work)
		for done := 0; done < senders*each; {
			ready := s.Ready()
			items := lease(t, s, LeaseOptions{Max: 9, PerRoute: 3})
			for _, it := range items {
				work <- it
			}
			if done += len(items); len(items) > 0 {
				continue
			}
			if !waitForWork(s, ready, giveUp) {
				t.Fatalf("%d of %d are done", done, senders*each)
			}
		}
	})
}

// Two lease from one spool, as the relays of two configs do around a reload. One takes a lane, fails to read it and leaves; the other looked meanwhile,
// saw nothing, and must hear that it is there again.
func TestALaneThatIsGivenBackWakesWhoLookedMeanwhile(t *testing.T) {
	l := newLanes()
	l.add(laneKey{route: "example.org"}, position{due: 1, id: 1})
	now := time.Now()
	ln, _ := l.take(now.UnixMilli(), 1, &LeaseOptions{})
	l.mu.Lock()
	ready := l.wake
	l.mu.Unlock()
	if other, _ := l.take(now.UnixMilli(), 1, &LeaseOptions{}); other != nil || !l.nextDue().IsZero() {
		t.Fatalf("the other got %v, next due %v; want nothing", other, l.nextDue())
	}
	l.put(ln, now.Add(time.Second).UnixMilli(), ln.cursor, false, now.UnixMilli())
	select {
	case <-ready:
	default:
		t.Error("who waits isn't woken")
	}
}

// With PostgreSQL an item can be leased again as soon as what became of it is committed, before who settled it has come back to say that its lease is
// over. That must not end the new lease, which would leave the item with nobody until it runs out.
func TestTheEndOfALeaseIsNotThatOfTheNext(t *testing.T) {
	l := newLanes()
	old, until := &Item{ID: 1, Route: "a"}, time.Now().Add(time.Hour)
	l.hold([]*Item{old}, 1, until)
	if err := l.settling(old); err != nil {
		t.Fatal(err)
	}
	again := &Item{ID: 1, Route: "a"}
	l.hold([]*Item{again}, 2, until)
	l.release(old)
	if l.inRoute["a"] != 1 {
		t.Errorf("%d are counted for the route, want 1", l.inRoute["a"])
	}
	if err := l.settling(again); err != nil {
		t.Errorf("the new lease: %v", err)
	}
	l.release(again)
	if len(l.leased) != 0 || len(l.inRoute) != 0 {
		t.Errorf("left %v, %v", l.leased, l.inRoute)
	}
}
