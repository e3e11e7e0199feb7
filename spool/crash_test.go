//go:build unix

package spool

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The crash tests run this test binary again, as a server under load that says on its standard output what it begins, what was acknowledged and
// what it delivered, and kill it. SPOOL_CRASH_ROUNDS sets how often; the default is short.

const (
	crashURL    = "SPOOL_CRASH_URL"
	crashPrefix = "SPOOL_CRASH_PREFIX"
)

// crashText is the body with this tag: it can be told whole from the tag alone.
func crashText(tag string) []byte {
	h := fnv.New64a()
	io.WriteString(h, tag)
	r := rand.New(rand.NewPCG(h.Sum64(), 1))
	size := r.IntN(8 << 10)
	if r.IntN(20) == 0 {
		size = 60<<10 + r.IntN(600<<10)
	}
	b := make([]byte, size)
	for i := range b {
		b[i] = 'a' + byte(r.IntN(26))
	}
	return append([]byte(tag+"\r\n"), b...)
}

// crashChild is the server, if this process is to be one.
func crashChild() bool {
	url := os.Getenv(crashURL)
	if url == "" {
		return false
	}
	s, err := Open(context.Background(), url, &Options{reserve: 1 << 20})
	if err != nil {
		fmt.Println("fatal", err)
		return true
	}
	if crashReleasers(s) {
		return true
	}
	var wg sync.WaitGroup
	for n := range 12 {
		wg.Go(func() { crashSession(s, fmt.Sprintf("%s-%d", os.Getenv(crashPrefix), n)) })
	}
	for range 3 {
		wg.Go(func() { crashDeliver(s) })
	}
	wg.Wait()
	return true
}

func crashSession(s Spool, name string) {
	for i := 0; ; i++ {
		tag := fmt.Sprintf("%s-%d", name, i)
		d := s.Create()
		d.Write(crashText(tag))
		if i%7 == 6 { // a client that goes away before the end of the data
			fmt.Println("never", tag)
			if i%2 == 0 {
				d.Abort()
			}
			continue
		}
		fmt.Println("begin", tag)
		items := []*Item{newItem("example.net", 1)}
		if i%3 == 0 {
			items = append(items, newItem("example.com", 2))
		}
		for _, it := range items {
			it.Origin.Transaction = tag
		}
		ids, err := d.Commit(context.Background(), items...)
		if err != nil {
			fmt.Println("error", tag, err)
			return
		}
		for _, id := range ids {
			fmt.Println("ok", tag, id)
		}
	}
}

func crashDeliver(s Spool) {
	for {
		items, err := s.Lease(context.Background(), LeaseOptions{Max: 8, TTL: 2 * time.Second})
		if err != nil {
			return
		}
		for _, it := range items {
			line, err := crashCheck(s, it)
			if err != nil {
				fmt.Println("fatal", err)
				continue
			}
			fmt.Println(line)
			switch it.State = Delivered; rand.IntN(4) {
			case 0:
				it.State, it.Due = Queued, time.Now().Add(10*time.Millisecond)
			case 1:
				it.State, it.Reason = Frozen, "test"
			}
			s.Settle(context.Background(), it)
		}
		if len(items) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// crashCheck reads an item as a next hop would, and compares it with what it has to be.
func crashCheck(s Spool, it *Item) (string, error) {
	tag := it.Origin.Transaction
	r, err := s.OpenBody(context.Background(), it)
	if err != nil {
		return "", fmt.Errorf("item %s of %s: %w", it.ID, tag, err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, crashText(tag)) {
		return "", fmt.Errorf("item %s of %s is not whole: %d octets, %v", it.ID, tag, len(got), err)
	}
	return fmt.Sprint("took ", tag, " ", it.ID), nil
}

// crashLog is what all the servers have said.
type crashLog struct {
	mu           sync.Mutex
	begun, never map[string]bool
	acked        map[ID]string // to the tag
	taken        map[ID]string
	fatal        []string
}

func (l *crashLog) line(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	word, rest, _ := strings.Cut(line, " ")
	tag, text, _ := strings.Cut(rest, " ")
	id, _ := ParseID(text)
	switch word {
	case "begin":
		l.begun[tag] = true
	case "never":
		l.never[tag] = true
	case "ok":
		if old, twice := l.acked[id]; twice {
			l.fatal = append(l.fatal, fmt.Sprintf("ID %s for %s and %s", id, old, tag))
		}
		l.acked[id] = tag
	case "took":
		l.taken[id] = tag
	case "fatal":
		l.fatal = append(l.fatal, rest)
	}
}

// crashServer starts a server and has its words taken down. kill ends it in the middle of everything.
func crashServer(t *testing.T, url, prefix string, l *crashLog) (kill func()) {
	return crashProcess(t, url, prefix, l.line)
}

// crashProcess hands each of a process's words to said.
func crashProcess(t *testing.T, url, prefix string, said func(string)) (kill func()) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashURL+"="+url, crashPrefix+"="+prefix)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			said(lines.Text())
		}
	}()
	return func() {
		cmd.Process.Signal(syscall.SIGKILL)
		<-done
		cmd.Wait()
	}
}

func crashRounds(n int) int {
	if v, err := strconv.Atoi(os.Getenv("SPOOL_CRASH_ROUNDS")); err == nil {
		return v
	}
	return n
}

func newCrashLog() *crashLog {
	return &crashLog{begun: map[string]bool{}, never: map[string]bool{}, acked: map[ID]string{}, taken: map[ID]string{}}
}

func TestAKilledProcessLosesNothing(t *testing.T) {
	url := "sqlite://" + t.TempDir()
	l := newCrashLog()
	for round := range crashRounds(12) {
		kill := crashServer(t, url, fmt.Sprint("r", round), l)
		time.Sleep(time.Duration(20+rand.IntN(300)) * time.Millisecond)
		kill()
	}
	crashVerdict(t, url, l)
	eventually(t, "no file is left", func() bool {
		left, err := filepath.Glob(filepath.Join(strings.TrimPrefix(url, "sqlite://"), "bodies", "*"))
		return err == nil && len(left) == 0
	})
}

func TestAKilledProcessLosesNothingToItsNeighbours(t *testing.T) {
	url := postgresURL(t)
	l := newCrashLog()
	steady := crashServer(t, url, "steady", l)
	for round := range crashRounds(5) {
		kill := crashServer(t, url, fmt.Sprint("r", round), l)
		time.Sleep(time.Duration(200+rand.IntN(400)) * time.Millisecond)
		kill()
	}
	steady()
	crashVerdict(t, url, l)
}

// crashVerdict opens the spool, delivers all that is left, and compares with what was acknowledged.
func crashVerdict(t *testing.T, url string, l *crashLog) {
	s := openTest(t, url, nil)
	eventually(t, "all is delivered", func() bool {
		var frozen []ID
		for after := ID(0); ; {
			items, next, err := s.List(t.Context(), Filter{States: []State{Frozen}, After: after, Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			for _, it := range items {
				frozen = append(frozen, it.ID)
			}
			if after = next; next == 0 {
				break
			}
		}
		if err := s.Thaw(t.Context(), frozen...); err != nil {
			t.Fatal(err)
		}
		for items := lease(t, s, LeaseOptions{}); len(items) > 0; items = lease(t, s, LeaseOptions{}) {
			for _, it := range items {
				line, err := crashCheck(s, it)
				if err != nil {
					t.Error(err)
				}
				l.line(line)
				it.State = Delivered
				if err := s.Settle(t.Context(), it); err != nil && !errors.Is(err, ErrLeaseLost) {
					t.Error(err)
				}
			}
		}
		st, err := s.Stats(t.Context(), 0)
		return err == nil && len(st.Count) == 0
	})
	for _, fatal := range l.fatal {
		t.Error(fatal)
	}
	for id, tag := range l.acked {
		if l.taken[id] != tag {
			t.Errorf("%s of %s was acknowledged and is lost", id, tag)
		}
	}
	inFlight := 0
	for id, tag := range l.taken {
		if l.never[tag] || !l.begun[tag] {
			t.Errorf("%s of %s was never committed", id, tag)
		}
		if l.acked[id] == "" {
			inFlight++ // committed, and killed before it could say so
		}
	}
	t.Logf("%d acknowledged, %d delivered, of these %d killed between the commit and the acknowledgement", len(l.acked), len(l.taken), inFlight)
	if len(l.acked) == 0 {
		t.Error("nothing was acknowledged: the test tested nothing")
	}
}
