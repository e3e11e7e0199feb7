//go:build unix

package spool

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func quarantined(t testing.TB, s Spool, body string) ID {
	t.Helper()
	it := newItem("example.net", 1)
	it.State, it.Reason = Quarantined, "virus"
	return put(t, s, body, it)[0]
}

// instead is a message to be sent in place of another.
func instead(t testing.TB, s Spool, body string) Report {
	t.Helper()
	d := s.Create()
	if _, err := io.WriteString(d, body); err != nil {
		t.Fatal(err)
	}
	return Report{Draft: d, Items: []*Item{newItem("example.net", 1)}}
}

// oneOf returns the only item in a state; nil: there is none.
func oneOf(t testing.TB, s Spool, state State) *Item {
	t.Helper()
	items, _, err := s.List(context.Background(), Filter{States: []State{state}})
	if err != nil || len(items) > 1 {
		t.Fatalf("%d items are %s, %v", len(items), state, err)
	}
	if len(items) == 0 {
		return nil
	}
	return items[0]
}

func TestReleaseAsSendsTheOtherAndKeepsTheOneForAWhile(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		events := s.Subscribe(10)
		large := strings.Repeat("wrapped ", 100_000)
		id := quarantined(t, s, "bad")
		if err := s.ReleaseAs(t.Context(), id, instead(t, s, large)); err != nil {
			t.Fatal(err)
		}
		it, err := s.Get(t.Context(), id)
		if err != nil || it.State != Removed || it.Reason != "virus" || time.Until(it.Due) < 6*24*time.Hour || read(t, s, it) != "bad" {
			t.Errorf("%+v, %v", it, err)
		}
		got := lease(t, s, LeaseOptions{})
		if len(got) != 1 || got[0].Parent != id || got[0].ID == id || read(t, s, got[0]) != large {
			t.Fatalf("%+v", got)
		}
		for _, want := range []Event{{Kind: EventQuarantined, ID: id}, {Kind: EventReleased, ID: id}, {Kind: EventSpooled, ID: got[0].ID}} {
			if e := <-events.C; e.Kind != want.Kind || e.ID != want.ID {
				t.Errorf("got %+v, want %+v", e, want)
			}
		}
		if err := s.Recover(t.Context(), id); err != nil {
			t.Error(err)
		}
	})
}

// What can't be released is not replaced: nothing of the message is left.
func TestReleaseAsIsForWhatIsInQuarantine(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		frozen := newItem("example.net", 1)
		frozen.State = Frozen
		gone := quarantined(t, s, "x")
		if err := s.ReleaseAs(t.Context(), gone, instead(t, s, "y")); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[ID]error{put(t, s, "x", frozen)[0]: ErrMove, gone: ErrMove, 12345: ErrNotFound} {
			err := s.ReleaseAs(t.Context(), id, instead(t, s, strings.Repeat("x", 600<<10)))
			if one, ok := errors.AsType[*ItemError](err); !ok || one.ID != id || !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
		bad := instead(t, s, strings.Repeat("x", 600<<10))
		bad.Items[0].Recipients = nil
		id := quarantined(t, s, "x")
		if err := s.ReleaseAs(t.Context(), id, bad); !errors.Is(err, ErrItem) {
			t.Errorf("got %v", err)
		}
		if it, err := s.Get(t.Context(), id); err != nil || it.State != Quarantined {
			t.Errorf("%+v, %v", it, err)
		}
		if got := lease(t, s, LeaseOptions{}); len(got) != 1 || got[0].Parent != gone {
			t.Errorf("%+v", got)
		}
		nobodys(t, s, url)
	})
}

// nobodys looks that no large body is left.
func nobodys(t *testing.T, s *store, url string) {
	t.Helper()
	if dir, ok := strings.CutPrefix(url, "sqlite://"); ok {
		if left, err := filepath.Glob(filepath.Join(dir, "bodies", "*")); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
		return
	}
	var n int
	if err := s.db.QueryRowContext(t.Context(), "SELECT count(*) FROM spool_body WHERE n > 0").Scan(&n); err != nil || n > 0 {
		t.Errorf("%d rows are left, %v", n, err)
	}
}

func TestReleaseAsHappensOnce(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		id := quarantined(t, s, "x")
		var done atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			r := instead(t, s, "y")
			wg.Go(func() {
				switch err := s.ReleaseAs(context.Background(), id, r); {
				case err == nil:
					done.Add(1)
				case !errors.Is(err, ErrMove):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := lease(t, s, LeaseOptions{}); done.Load() != 1 || len(got) != 1 {
			t.Errorf("%d times, %+v", done.Load(), got)
		}
	})
}

// TestReleaseAsIsBothOrNeither has the commit fail, as it does when the disk or the database does.
func TestReleaseAsIsBothOrNeither(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		for kind := range failConn + 1 {
			var broken atomic.Bool
			s := openTest(t, url, &Options{beforeCommit: func() error {
				if broken.Load() {
					return failure{kind, errors.New("broken")}
				}
				return nil
			}})
			id := quarantined(t, s, "x")
			r := instead(t, s, strings.Repeat("y", 600<<10))
			broken.Store(true)
			if err := s.ReleaseAs(t.Context(), id, r); err == nil || errors.As(err, new(*ItemError)) {
				t.Errorf("%d: got %v", kind, err)
			}
			broken.Store(false)
			it, err := s.Get(t.Context(), id)
			if got := oneOf(t, s, Queued); err != nil || it.State != Quarantined || got != nil {
				t.Errorf("%d: %+v, %+v, %v", kind, it, got, err)
			}
			s.Close()
		}
	})
}
