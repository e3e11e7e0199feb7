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
			var due <-chan time.Time
			if next := s.NextDue(); !next.IsZero() {
				due = time.After(time.Until(next))
			}
			select {
			case <-ready:
			case <-due:
			case <-giveUp:
				t.Fatalf("%d of %d are done", done, senders*each)
			}
		}
	})
}
