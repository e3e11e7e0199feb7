package relay

import (
	"net"
	"testing"
	"time"
)

// An attempt is patient while it waits for a reply, and not while it sends, nor when it has gone and left its connection.
func TestPatienceIsForReplies(t *testing.T) {
	r := new(Relay)
	r.prepare()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	defer ours.Close()
	c := &patientConn{Conn: ours, r: r}
	waits := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.wait != nil
	}
	for _, step := range []struct {
		what string
		do   func()
		want bool
	}{
		{"a read that nobody waits for", func() { c.change(&c.reading, true) }, false},
		{"of an attempt that sends", func() { c.hold(true) }, false},
		{"that waits for a reply", func() { c.SetReadDeadline(time.Now().Add(time.Hour)) }, true},
		{"that has waited", func() { c.change(&c.reading, false) }, false},
		{"that reads on", func() { c.change(&c.reading, true) }, true},
		{"that has no deadline", func() { c.SetDeadline(time.Time{}) }, false},
		{"that has one again", func() { c.SetDeadline(time.Now().Add(time.Hour)) }, true},
		{"that has left", func() { c.hold(false) }, false},
	} {
		if step.do(); waits() != step.want {
			t.Errorf("%s: got %t, want %t", step.what, !step.want, step.want)
		}
	}
}

// Who stands aside leaves a place, and takes one again however many there are; when no more may stand aside it keeps its own.
func TestAWaitLeavesAPlace(t *testing.T) {
	r := &Relay{Concurrency: 1}
	r.prepare()
	r.places.take()
	check := func(what string, taken, aside int) {
		t.Helper()
		if r.places.taken != taken || r.places.aside != aside {
			t.Errorf("%s: %d are taken, %d aside; want %d, %d", what, r.places.taken, r.places.aside, taken, aside)
		}
	}
	w := r.beginWait()
	w.stepAside()
	check("aside", 0, 1)
	r.places.take()
	w.end()
	check("back", 2, 0)
	w.stepAside() // the timer was late
	check("late", 2, 0)
	r.places.aside = maxAside
	w = r.beginWait()
	w.stepAside()
	w.end()
	check("full", 2, maxAside)
}
