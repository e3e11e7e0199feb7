//go:build unix

package spool

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

const crashRelease = "SPOOL_CRASH_RELEASE"

// crashReleaser puts messages into quarantine and releases others in their place, for as long as it lives.
func crashReleaser(s Spool, name string) error {
	for i := 0; ; i++ {
		tag := fmt.Sprintf("%s-%d", name, i)
		d := s.Create()
		d.Write(crashText(tag))
		held := newItem("example.net", 1)
		held.State, held.Origin.Transaction = Quarantined, tag
		ids, err := d.Commit(context.Background(), held)
		if err != nil {
			return err
		}
		fmt.Println("held", tag, ids[0])
		r := Report{Draft: s.Create(), Items: []*Item{newItem("example.net", 1)}}
		r.Items[0].Origin.Transaction = "wrapped-" + tag
		r.Draft.Write(crashText("wrapped-" + tag))
		if err := s.ReleaseAs(context.Background(), ids[0], r); err != nil {
			return err
		}
		fmt.Println("released", tag, ids[0])
	}
}

// TestAKilledProcessReleasesBothOrNeither kills a process that releases messages wrapped: each is in quarantine, or its other is in the queue, and never both;
// once it was said that it is released it is.
func TestAKilledProcessReleasesBothOrNeither(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		t.Setenv(crashRelease, "1")
		l := &releaseLog{states: map[ID]string{}}
		for round := range crashRounds(5) {
			l.enough = make(chan struct{})
			l.more = 20 + rand.IntN(200)
			kill := crashProcess(t, url, fmt.Sprint("r", round), l.line)
			select {
			case <-l.enough:
			case <-time.After(time.Minute):
				t.Error("it did nothing for a minute")
			}
			kill()
		}
		l.verdict(t, openTest(t, url, nil))
	})
}

// releaseLog is what the processes have said: of each ID, held or released.
type releaseLog struct {
	states map[ID]string
	more   int // lines to come before the process is killed
	enough chan struct{}
}

func (l *releaseLog) line(line string) {
	word, rest, _ := strings.Cut(line, " ")
	_, text, _ := strings.Cut(rest, " ")
	if id, err := ParseID(text); err == nil {
		l.states[id] = word
	}
	if l.more--; l.more == 0 {
		close(l.enough)
	}
}

func (l *releaseLog) verdict(t *testing.T, s *store) {
	others := map[ID]int{} // of each ID, how many are there in its place
	found := map[ID]State{}
	for after := ID(0); ; {
		items, next, err := s.List(t.Context(), Filter{After: after, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range items {
			if it.Parent != 0 {
				others[it.Parent]++
			} else {
				found[it.ID] = it.State
			}
			if b := read(t, s, it); !bytes.Equal([]byte(b), crashText(it.Origin.Transaction)) {
				t.Errorf("%s of %s is not whole", it.ID, it.Origin.Transaction)
			}
		}
		if after = next; next == 0 {
			break
		}
	}
	inFlight := 0
	for id, state := range found {
		want := map[State]int{Quarantined: 0, Removed: 1}
		if n, ok := want[state]; !ok || others[id] != n {
			t.Errorf("%s is %s, and there are %d in its place", id, state, others[id])
		}
		if state == Removed && l.states[id] != "released" {
			inFlight++ // committed, and killed before it could say so
		}
	}
	for id, state := range l.states {
		if _, ok := found[id]; !ok || state == "released" && found[id] != Removed {
			t.Errorf("%s was said to be %s, and is %s", id, state, found[id])
		}
	}
	t.Logf("%d held, %d released, of these %d killed between the commit and its answer", len(found), len(others), inFlight)
	if len(others) == 0 {
		t.Error("nothing was released: the test tested nothing")
	}
}

// crashReleasers is the process, if it is to release.
func crashReleasers(s Spool) bool {
	if os.Getenv(crashRelease) == "" {
		return false
	}
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			if err := crashReleaser(s, fmt.Sprintf("%s-%d", os.Getenv(crashPrefix), n)); err != nil {
				fmt.Println("fatal", err)
			}
		})
	}
	wg.Wait()
	return true
}
