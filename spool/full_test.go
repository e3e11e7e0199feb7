//go:build unix

package spool

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestAFullDiskRefusesAndDrains fills a small file system: nothing that was accepted is lost, all of it can be delivered, and then there is
// room again.
func TestAFullDiskRefusesAndDrains(t *testing.T) {
	for name, size := range map[string]int{"small": 4 << 10, "large": 300 << 10} {
		t.Run(name, func(t *testing.T) {
			dir := smallDisk(t, 24<<20)
			s := openTest(t, dir, &Options{reserve: 8 << 20})
			text := strings.Repeat("x", size)
			accepted := fill(t, s, text)
			if len(accepted) == 0 {
				t.Fatal("nothing was accepted")
			}
			if st, err := s.Stats(t.Context(), 0); err != nil || !st.Full || st.Count[Queued] != int64(len(accepted)) {
				t.Errorf("%+v, %v; accepted %d", st, err, len(accepted))
			}
			// It opens when it is full, too.
			s.Close()
			s = openTest(t, dir, &Options{reserve: 8 << 20})
			if st, err := s.Stats(t.Context(), 0); err != nil || st.Count[Queued] != int64(len(accepted)) {
				t.Errorf("%+v, %v", st, err)
			}
			delivered := map[ID]bool{}
			for items := lease(t, s, LeaseOptions{}); len(items) > 0; items = lease(t, s, LeaseOptions{}) {
				for i, it := range items {
					if read(t, s, it) != text {
						t.Error("not whole")
					}
					if it.State = Delivered; i%10 == 0 && it.Attempts == 0 {
						it.State, it.Attempts = Queued, 1
					} else {
						delivered[it.ID] = true
					}
					if err := s.Settle(t.Context(), it); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, id := range accepted {
				if !delivered[id] {
					t.Errorf("%s was lost", id)
				}
			}
			eventually(t, "there is room again", func() bool {
				d := s.Create()
				d.Write([]byte(text))
				_, err := d.Commit(t.Context(), newItem("example.net", 1))
				if err != nil && !errors.Is(err, ErrFull) {
					t.Error(err)
				}
				time.Sleep(100 * time.Millisecond)
				return err == nil
			})
		})
	}
}

// TestRoom asks before anything is written: what is larger than the disk has no room, and once that is full, nothing has. A small message may fit into room
// that the database has inside of it, whatever the disk says.
func TestRoom(t *testing.T) {
	s := openTest(t, smallDisk(t, 24<<20), &Options{reserve: 8 << 20})
	for n, want := range map[int64]error{0: nil, 1 << 10: nil, 1 << 20: nil, 20 << 20: ErrFull, 1 << 62: ErrFull} {
		if err := s.Room(n); !errors.Is(err, want) {
			t.Errorf("%d octets: got %v, want %v", n, err, want)
		}
	}
	fill(t, s, strings.Repeat("x", 300<<10))
	for _, n := range []int64{0, 1 << 20} {
		if err := s.Room(n); !errors.Is(err, ErrFull) {
			t.Errorf("%d octets, when it is full: got %v", n, err)
		}
	}
}

// TestAFullSpoolLooksForRoomByItself: nobody begins a message while there is none.
func TestAFullSpoolLooksForRoomByItself(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		t.Parallel() // each looks every five seconds
		var commits atomic.Int32
		s := openTest(t, url, &Options{beforeCommit: func() error { commits.Add(1); return nil }})
		eventually(t, "it has cleaned up, as it does when it opens", func() bool { return commits.Load() > 0 })
		if err := errors.Join(s.Room(0), s.Room(1<<20)); err != nil {
			t.Error(err)
		}
		s.setFull(errors.New("said by the test"))
		if err := s.Room(0); !errors.Is(err, ErrFull) {
			t.Errorf("got %v", err)
		}
		eventually(t, "there is room again", func() bool { return s.Room(0) == nil })
	})
}

func fill(t *testing.T, s *store, text string) (accepted []ID) {
	t.Helper()
	for {
		d := s.Create()
		_, err := d.Write([]byte(text))
		var ids []ID
		if err == nil {
			ids, err = d.Commit(t.Context(), newItem("example.net", 1))
		}
		d.Abort()
		if err == nil {
			accepted = append(accepted, ids...)
			continue
		}
		if !errors.Is(err, ErrFull) || ids != nil {
			t.Fatalf("got %v, %v, want ErrFull", ids, err)
		}
		return accepted
	}
}

// TestALostSyncIsNoAcknowledgement has the commit fail as it does when fsync does.
func TestALostSyncIsNoAcknowledgement(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		var broken atomic.Bool
		s := openTest(t, url, &Options{beforeCommit: func() error {
			if broken.Load() {
				return failure{failConn, errors.New("fsync: input/output error")}
			}
			return nil
		}})
		before := put(t, s, "before", newItem("example.net", 1))[0]
		broken.Store(true)
		d := s.Create()
		d.Write([]byte("lost"))
		if ids, err := d.Commit(t.Context(), newItem("example.net", 1)); err == nil || ids != nil {
			t.Errorf("got %v, %v", ids, err)
		}
		broken.Store(false)
		after := put(t, s, "after", newItem("example.net", 1))[0]
		items, _, err := s.List(t.Context(), Filter{})
		if err != nil || len(items) != 2 || items[0].ID != before || items[1].ID != after {
			t.Errorf("%v, %v", items, err)
		}
	})
}

// TestALargeBodyCostsNoMemory streams 150 MB in and out.
func TestALargeBodyCostsNoMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("150 MB")
	}
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		var peak atomic.Uint64
		watch := func() {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapInuse))
		}
		runtime.GC()
		watch()
		base := peak.Load()
		chunk := make([]byte, 32<<10)
		d := s.Create()
		for i := range 150 << 20 / len(chunk) {
			chunk[0] = byte(i)
			if _, err := d.Write(chunk); err != nil {
				t.Fatal(err)
			}
			if i%100 == 0 {
				watch()
			}
		}
		if _, err := d.Commit(t.Context(), newItem("example.net", 1)); err != nil {
			t.Fatal(err)
		}
		it := lease(t, s, LeaseOptions{})[0]
		r, err := s.OpenBody(t.Context(), it)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		n := int64(0)
		for i := 0; err == nil; i++ {
			var got int
			got, err = r.Read(chunk)
			if n += int64(got); i%100 == 0 {
				watch()
			}
		}
		if n != 150<<20 || it.Size != n {
			t.Errorf("read %d of %d, %v", n, it.Size, err)
		}
		if used := peak.Load() - base; used > 16<<20 {
			t.Errorf("%d MiB of memory were used", used>>20)
		}
	})
}

// smallDisk mounts a file system of this size, where that is possible.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	unmount, err := mountSmall(dir, size)
	if err != nil {
		t.Skipf("no small file system can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unmount(); err != nil {
			t.Error(err)
		}
	})
	if err := os.Mkdir(dir+"/spool", 0o700); err != nil {
		t.Fatal(err)
	}
	return dir + "/spool"
}
