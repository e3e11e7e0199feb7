//go:build unix

package spool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestDamageIsSetAside damages rows and bodies in every way, and looks that the item is set aside, told about, and in nobody's way.
func TestDamageIsSetAside(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		small, large := "small", strings.Repeat("large ", 100_000)
		for name, c := range map[string]struct{ body, query string }{
			"row is no JSON":    {small, "UPDATE spool_item SET data = '{\"sender' WHERE id = ?"},
			"row lacks all":     {small, "UPDATE spool_item SET data = '{}' WHERE id = ?"},
			"body is missing":   {small, "DELETE FROM spool_body WHERE message = ?"},
			"body is short":     {small, "UPDATE spool_body SET bytes = '' WHERE message = ?"},
			"body is other":     {small, "UPDATE spool_body SET bytes = 'smell' WHERE message = ?"},
			"chunk is missing":  {large, "DELETE FROM spool_body WHERE n = 1 AND message = ?"},
			"chunk is short":    {large, "UPDATE spool_body SET bytes = 'x' WHERE n = 1 AND message = ?"},
			"file is missing":   {large, ""},
			"file is short":     {large, "short"},
			"file is different": {large, "different"},
		} {
			isFile := strings.HasPrefix(name, "file")
			if strings.HasPrefix(name, "chunk") && url[0] == 's' || isFile && url[0] == 'p' {
				continue
			}
			t.Run(name, func(t *testing.T) {
				s := openTest(t, url, nil)
				defer s.Close()
				events := s.Subscribe(100)
				id := put(t, s, c.body, newItem("example.net", 1))[0]
				if isFile {
					damageFile(t, filepath.Join(strings.TrimPrefix(url, "sqlite://"), "bodies", id.String()), c.query)
				} else if strings.Contains(c.query, "bytes") && url[0] == 's' {
					c.query = strings.ReplaceAll(c.query, "bytes = '", "bytes = x'")
					c.query = strings.ReplaceAll(c.query, "smell", "736d656c6c")
					execSQL(t, s, c.query, id)
				} else {
					execSQL(t, s, c.query, id)
				}
				good := put(t, s, small, newItem("example.net", 1))[0]
				var delivered ID
				eventually(t, "the good one", func() bool {
					for _, it := range lease(t, s, LeaseOptions{}) {
						if tryRead(s, it) == nil {
							delivered = it.ID
							it.State = Delivered
							if err := s.Settle(context.Background(), it); err != nil {
								t.Error(err)
							}
						}
					}
					return delivered != 0
				})
				if delivered != good {
					t.Errorf("%s was delivered, want %s", delivered, good)
				}
				eventually(t, "it is set aside", func() bool {
					it, err := s.Get(t.Context(), id)
					return err == nil && it.State == Damaged && it.Reason != ""
				})
				eventually(t, "the event", func() bool {
					select {
					case e := <-events.C:
						return e.Kind == EventDamaged && e.ID == id && e.Reason != ""
					default:
						return false
					}
				})
				if got := lease(t, s, LeaseOptions{}); len(got) > 0 {
					t.Errorf("leased %+v", got[0])
				}
				if r, err := s.Check(t.Context()); err != nil || len(r.Damaged) != 1 || r.Damaged[0] != id {
					t.Errorf("%+v, %v", r, err)
				}
				if err := s.Remove(t.Context(), id); err != nil {
					t.Error(err)
				}
				if err := s.expire(t.Context(), time.Now().Add(365*24*time.Hour)); err != nil {
					t.Error(err)
				}
				if _, err := s.Get(t.Context(), id); !errors.Is(err, ErrNotFound) {
					t.Errorf("got %v", err)
				}
			})
		}
	})
}

func execSQL(t *testing.T, s *store, query string, id ID) {
	t.Helper()
	if _, err := s.db.Exec(s.dialect.bind(query), int64(id)); err != nil {
		t.Fatal(err)
	}
}

func damageFile(t *testing.T, path, how string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	switch how {
	case "":
		err = os.Remove(path)
	case "short":
		err = os.WriteFile(path, b[:len(b)-1], 0o600)
	case "different":
		b[100_000] ^= 1
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func tryRead(s Spool, it *Item) error {
	r, err := s.OpenBody(context.Background(), it)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// Who looks at an item that is delivered meanwhile finds no body, and raises no alarm.
func TestWhatIsDeliveredIsNotDamaged(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		for _, body := range []string{"small", strings.Repeat("large ", 100_000)} {
			var log bytes.Buffer // written to by this goroutine, if at all
			s := openTest(t, url, &Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			events := s.Subscribe(100)
			id := put(t, s, body, newItem("example.net", 1))[0]
			looked, err := s.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			it := leasedInTime(t, s, 1)[0]
			it.State, it.Recipients[0].State = Delivered, Accepted
			if err := s.Settle(t.Context(), it); err != nil {
				t.Fatal(err)
			}
			for e := range events.C { // the body is gone before it is told
				if e.Kind == EventDelivered {
					break
				}
			}
			if err := tryRead(s, looked); !errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
				t.Errorf("got %v, want ErrNotFound", err)
			}
			if damaged, err := s.checkItem(t.Context(), looked, new(ID)); damaged || err != nil {
				t.Errorf("the check says %v, %v", damaged, err)
			}
			if err := s.Close(); err != nil || log.Len() > 0 || len(events.C) > 0 {
				t.Errorf("%v, %d events, log:\n%s", err, len(events.C), &log)
			}
		}
	})
}

// What is damaged, and can't be set aside while the database is away, is found again when that is back.
func TestDamageThatCanNotBeSetAsideIsFoundAgain(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		for name, query := range map[string]string{
			"row":  "UPDATE spool_item SET data = 'x' WHERE id = ?",
			"body": "DELETE FROM spool_body WHERE message = ?",
		} {
			t.Run(name, func(t *testing.T) {
				var away atomic.Bool
				s := openTest(t, url, &Options{beforeCommit: func() error {
					if away.Load() {
						return failure{failConn, errors.New("fsync: input/output error")}
					}
					return nil
				}})
				events := s.Subscribe(100)
				id := put(t, s, "x", newItem("example.net", 1))[0]
				execSQL(t, s, query, id)
				away.Store(true)
				look := func() {
					for _, it := range lease(t, s, LeaseOptions{TTL: 50 * time.Millisecond}) {
						if err := tryRead(s, it); !errors.Is(err, ErrDamaged) {
							t.Errorf("got %v", err)
						}
					}
				}
				look()
				eventually(t, "the lease goes on", func() bool { return s.lanes.expire(time.Now().Add(2*settleAgain)) == 1 })
				away.Store(false)
				eventually(t, "it is set aside", func() bool {
					look()
					select {
					case e := <-events.C:
						return e.Kind == EventDamaged && e.ID == id
					default:
						return false
					}
				})
			})
		}
	})
}

// TestCheckFindsDamageBeforeItIsNeeded has an item that is not due yet.
func TestCheckFindsDamageBeforeItIsNeeded(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		var ids []ID
		for range 3 {
			it := newItem("example.net", 1)
			it.Due = time.Now().Add(time.Hour)
			ids = append(ids, put(t, s, "x", it)...)
		}
		execSQL(t, s, "DELETE FROM spool_body WHERE message = ?", ids[0])
		execSQL(t, s, "UPDATE spool_item SET data = 'x' WHERE id = ?", ids[2])
		r, err := s.Check(t.Context())
		if err != nil || r.Items != 3 || len(r.Damaged) != 2 || r.Damaged[0] != ids[0] || r.Damaged[1] != ids[2] {
			t.Errorf("%+v, %v", r, err)
		}
		if st, err := s.Stats(t.Context(), 0); err != nil || st.Count[Damaged] != 2 || st.Count[Queued] != 1 {
			t.Errorf("%+v, %v", st, err)
		}
	})
}

func TestOrphansAreSwept(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		large := strings.Repeat("x", 600<<10)
		kept := put(t, s, large, newItem("example.net", 1))[0]
		open := s.Create()
		io.WriteString(open, large)
		aborted := s.Create()
		io.WriteString(aborted, large)
		aborted.Abort()
		if dir, ok := strings.CutPrefix(url, "sqlite://"); ok {
			old := filepath.Join(dir, "bodies", s.ids.next().String())
			if err := errors.Join(os.WriteFile(old, nil, 0o600), os.Chtimes(old, time.Time{}, time.Now().Add(-2*time.Hour))); err != nil {
				t.Fatal(err)
			}
		} else {
			execSQL(t, s, "INSERT INTO spool_body (message, n, bytes) VALUES (?, 0, 'x')", 77)
		}
		if r, err := s.Check(t.Context()); err != nil || r.Orphans != 1 || r.Items != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		if ids, err := open.Commit(t.Context(), newItem("example.net", 1)); err != nil || len(ids) != 1 {
			t.Errorf("the sweep took a draft: %v", err)
		}
		if it, err := s.Get(t.Context(), kept); err != nil || read(t, s, it) != large {
			t.Errorf("%v", err)
		}
	})
}

func TestOneProcessHasTheFolder(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, nil)
	if _, err := Open(t.Context(), dir, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
	s.Close()
	openTest(t, dir, nil)
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	notADatabase := t.TempDir()
	os.WriteFile(filepath.Join(notADatabase, "spool.db"), []byte(strings.Repeat("no database ", 1000)), 0o600)
	for url, want := range map[string]string{
		"":                                     "want sqlite:///",
		"mysql://a:secret@host":                "want sqlite:///",
		"sqlite://relative":                    "want sqlite:///",
		file:                                   "not a directory",
		notADatabase:                           "spool.db",
		"postgres://user:secret@127.0.0.1:1/x": "refused",
		"postgres://user:secret@host:port/x":   "postgres",
	} {
		s, err := Open(t.Context(), url, nil)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %v, want %q", url, err, want)
		}
	}
}

func TestNothingWorksAfterClose(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		events := s.Subscribe(1)
		d := s.Create()
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Commit(t.Context(), newItem("example.net", 1)); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		if _, err := s.Lease(t.Context(), LeaseOptions{}); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		if _, open := <-events.C; open {
			t.Error("the subscription is still open")
		}
	})
}
