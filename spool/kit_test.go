//go:build unix

package spool

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// engines are the databases that the tests run with: each opens a new, empty spool at a URL.
func engines(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite://"+t.TempDir()) })
	t.Run("postgres", func(t *testing.T) { test(t, postgresURL(t)) })
}

func openTest(t testing.TB, url string, o *Options) *store {
	t.Helper()
	if o == nil {
		o = &Options{}
	}
	setDefault(&o.Logger, slog.New(slog.NewTextHandler(testWriter{t}, nil)))
	setDefault(&o.reserve, 1<<20)
	s, err := open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func newItem(route string, n int) *Item {
	it := &Item{Sender: Path{Address: "ann@example.org", Params: "SIZE=1000"}, Route: route}
	for i := range n {
		it.Recipients = append(it.Recipients, Recipient{Path: Path{Address: fmt.Sprintf("bob%d@%s", i, route), Params: "NOTIFY=NEVER"}})
	}
	return it
}

func put(t testing.TB, s Spool, body string, items ...*Item) []ID {
	t.Helper()
	d := s.Create()
	if _, err := io.WriteString(d, body); err != nil {
		t.Fatal(err)
	}
	ids, err := d.Commit(context.Background(), items...)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func read(t testing.TB, s Spool, it *Item) string {
	t.Helper()
	r, err := s.OpenBody(context.Background(), it)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func lease(t testing.TB, s Spool, o LeaseOptions) []*Item {
	t.Helper()
	items, err := s.Lease(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

// waitForWork waits as a worker does that found nothing to lease: ready is from before it looked. It reports false if giveUp comes first.
func waitForWork(s Spool, ready <-chan struct{}, giveUp <-chan time.Time) bool {
	var due <-chan time.Time
	if next := s.NextDue(); !next.IsZero() {
		due = time.After(time.Until(next))
	}
	select {
	case <-ready:
	case <-due:
	case <-giveUp:
		return false
	}
	return true
}

// eventually waits for what another goroutine does.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
