package relay

import (
	"net"
	"sync"
	"time"
)

// patience is how long an attempt waits for a server, or for the DNS, before it stands aside and leaves its place to others: ten hosts that say nothing would
// have all places there are for as long as their timeouts last.
var patience = 3 * time.Second

// patiently does something that can take long.
func (r *Relay) patiently(do func()) {
	w := r.beginWait()
	defer w.end()
	do()
}

// wait is a wait of an attempt that has a place.
type wait struct {
	r     *Relay
	timer *time.Timer
	mu    sync.Mutex
	aside bool
	over  bool
}

func (r *Relay) beginWait() *wait {
	w := &wait{r: r}
	w.timer = time.AfterFunc(patience, w.stepAside)
	return w
}

func (w *wait) stepAside() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || w.r.places.full() {
		return
	}
	w.aside = true
	w.r.places.stepAside()
	w.r.wake() // there is a place
}

// end ends the wait. There may be an attempt too many for a while: nobody is to wait for us in turn.
func (w *wait) end() {
	w.timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over = true; w.aside {
		w.r.places.comeBackAtOnce()
	}
}

// patientConn is a connection whose attempt stands aside while the server is silent: while a read waits for a reply, and so has a deadline. As long as a message
// is being sent it has none. An attempt that is busy sending keeps its place, since more of them would make a slow line slower.
type patientConn struct {
	net.Conn
	r *Relay

	mu      sync.Mutex
	held    bool // by an attempt
	bounded bool // reads have a deadline
	reading bool
	wait    *wait // nil: none
}

// hold says whether an attempt has the connection.
func (c *patientConn) hold(held bool) { c.change(&c.held, held) }

// Read implements [net.Conn].
func (c *patientConn) Read(p []byte) (int, error) {
	c.change(&c.reading, true)
	defer c.change(&c.reading, false)
	return c.Conn.Read(p)
}

// SetReadDeadline implements [net.Conn].
func (c *patientConn) SetReadDeadline(t time.Time) error {
	c.change(&c.bounded, !t.IsZero())
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline implements [net.Conn].
func (c *patientConn) SetDeadline(t time.Time) error {
	c.change(&c.bounded, !t.IsZero())
	return c.Conn.SetDeadline(t)
}

// change changes one of the things that say whether there is a wait. What there was of one is over.
func (c *patientConn) change(what *bool, to bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*what = to
	if c.wait != nil {
		c.wait.end()
		c.wait = nil
	}
	if c.held && c.bounded && c.reading {
		c.wait = c.r.beginWait()
	}
}
