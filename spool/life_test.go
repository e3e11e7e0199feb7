//go:build unix

package spool

import (
	"strings"
	"testing"
	"time"
)

func TestAMessageComesAndGoes(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		for _, size := range []int{0, 1, 4 << 10, 64 << 10, 64<<10 + 1, 256 << 10, 256<<10 + 1, 1 << 20} {
			s := openTest(t, url, nil)
			text := strings.Repeat("abcdefghi\r\n", size/11+1)[:size]
			ids := put(t, s, text, newItem("example.net", 2), newItem("example.com", 1))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openTest(t, url, nil)
			var items []*Item
			eventually(t, "two items", func() bool {
				items = append(items, lease(t, s, LeaseOptions{})...)
				return len(items) == 2
			})
			for _, it := range items {
				if it.ID != ids[0] && it.ID != ids[1] || it.Message != ids[0] || it.Size != int64(size) {
					t.Errorf("%+v of %v", it, ids)
				}
				if got := read(t, s, it); got != text {
					t.Errorf("%d octets: got %d others", size, len(got))
				}
				it.State = Delivered
				if err := s.Settle(t.Context(), it); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "empty", func() bool {
				st, err := s.Stats(t.Context(), 0)
				return err == nil && len(st.Count) == 0
			})
			r, err := s.Check(t.Context())
			if err != nil || r.Items != 0 || r.Orphans != 0 {
				t.Errorf("%+v, %v", r, err)
			}
			var bodies int
			if err := s.db.QueryRow("SELECT count(*) FROM spool_body").Scan(&bodies); err != nil || bodies != 0 {
				t.Errorf("%d rows of bodies are left, %v", bodies, err)
			}
			if got := lease(t, s, LeaseOptions{}); len(got) > 0 {
				t.Errorf("leased %v", got)
			}
			s.Close()
		}
	})
}

func TestARetryIsLeasedWhenItIsDue(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		put(t, s, "x", newItem("example.net", 1))
		it := lease(t, s, LeaseOptions{})[0]
		if got := lease(t, s, LeaseOptions{}); len(got) > 0 {
			t.Fatal("leased twice")
		}
		it.State, it.Due, it.Attempts, it.LastError = Queued, time.Now().Add(300*time.Millisecond), 1, "451 \x00later\r\n"
		if err := s.Settle(t.Context(), it); err != nil {
			t.Fatal(err)
		}
		if got := lease(t, s, LeaseOptions{}); len(got) > 0 {
			t.Fatal("leased before it was due")
		}
		var again []*Item
		eventually(t, "due", func() bool { again = lease(t, s, LeaseOptions{}); return len(again) == 1 })
		if time.Now().Before(again[0].Due) && again[0].lease == 0 || again[0].Attempts != 1 || again[0].LastError != "451  later  " {
			t.Errorf("%+v", again[0])
		}
	})
}
