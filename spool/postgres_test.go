//go:build unix

package spool

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestARestartOfPostgresLosesNothing stops the server in order and by force while messages come in: those that were acknowledged are there.
func TestARestartOfPostgresLosesNothing(t *testing.T) {
	url := postgresURL(t)
	s := openTest(t, url, nil)
	var mu sync.Mutex
	acked := map[ID]bool{}
	var failed atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for !stop.Load() {
				d := s.Create()
				d.Write([]byte("text"))
				ids, err := d.Commit(t.Context(), newItem("example.net", 1))
				if err != nil {
					failed.Add(1)
					time.Sleep(5 * time.Millisecond)
					continue
				}
				mu.Lock()
				acked[ids[0]] = true
				mu.Unlock()
			}
		})
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		time.Sleep(300 * time.Millisecond)
		testServer.stop(sig)
		time.Sleep(100 * time.Millisecond)
		if err := testServer.start(); err != nil {
			t.Fatal(err)
		}
	}
	before := func() int { mu.Lock(); defer mu.Unlock(); return len(acked) }()
	eventually(t, "it goes on", func() bool { mu.Lock(); defer mu.Unlock(); return len(acked) > before+10 })
	stop.Store(true)
	wg.Wait()
	there := map[ID]bool{}
	for after := ID(0); ; {
		items, next, err := s.List(t.Context(), Filter{After: after, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range items {
			there[it.ID] = true
		}
		if after = next; next == 0 {
			break
		}
	}
	for id := range acked {
		if !there[id] {
			t.Errorf("%s was acknowledged and is lost", id)
		}
	}
	t.Logf("%d acknowledged, %d refused, %d there", len(acked), failed.Load(), len(there))
	if failed.Load() == 0 {
		t.Error("no commit failed: the test tested nothing")
	}
}

func TestProcessesShareTheWork(t *testing.T) {
	url := postgresURL(t)
	a, b := openTest(t, url, nil), openTest(t, url, nil)
	if a.ids.node == b.ids.node {
		t.Errorf("both make IDs as %d", a.ids.node)
	}
	ready := b.Ready()
	for range 20 {
		put(t, a, "x", newItem("example.net", 1))
	}
	select {
	case <-ready:
	case <-time.After(20 * time.Second):
		t.Fatal("the other process was not told")
	}
	seen := map[ID]string{}
	eventually(t, "all are leased", func() bool {
		for name, s := range map[string]*store{"a": a, "b": b} {
			for _, it := range lease(t, s, LeaseOptions{Max: 3}) {
				if seen[it.ID] != "" {
					t.Errorf("%s is leased twice", it.ID)
				}
				seen[it.ID] = name
			}
		}
		return len(seen) == 20
	})
	by := map[string]int{}
	for _, name := range seen {
		by[name]++
	}
	if by["a"] == 0 || by["b"] == 0 {
		t.Errorf("got %v", by)
	}
	var id ID
	for other, name := range seen {
		if name == "a" {
			id = other
		}
	}
	if err := b.Freeze(t.Context(), "", id); err == nil {
		t.Error("b froze what a has on lease")
	}
	if it, err := b.Get(t.Context(), id); err != nil || it.State != Sending {
		t.Errorf("%v, %v", it, err)
	}
	a.Close()
	eventually(t, "what a had comes back", func() bool {
		for _, it := range lease(t, b, LeaseOptions{}) {
			if seen[it.ID] != "a" {
				t.Errorf("%s is leased twice", it.ID)
			}
			by["back"]++
		}
		return by["back"] == by["a"]
	})
}

// TestADestinationIsReadFromTheIndex holds the query plans: with many rows none reads them all.
func TestADestinationIsReadFromTheIndex(t *testing.T) {
	url := postgresURL(t)
	s := openTest(t, url, nil)
	if _, err := s.db.Exec(`INSERT INTO spool_item (id, message, state, priority, due, route, data)
		SELECT n, n, 0, 0, n, 'r' || (n % 100), '{}' FROM generate_series(1, 50000) AS n; ANALYZE spool_item`); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for range 20 {
		if err := s.dialect.(*postgresDialect).refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	each := time.Since(start) / 20
	t.Log(fmt.Sprint("a look at 100 lanes of 50,000 items takes ", each))
	if each > 50*time.Millisecond {
		t.Errorf("%v", each)
	}
}
