package relay

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// Bounds of what the pool keeps.
const (
	maxIdle      = 5 * time.Second // next hops don't like to wait for nothing
	maxAge       = 5 * time.Minute // then the DNS is asked again, and the policy
	maxMessages  = 100             // on a connection
	maxIdleConns = 200             // in all
)

// conn is a connection to a next hop.
type conn struct {
	*smtpclient.Conn
	patient *patientConn
	host    string
	policy  string
	made    time.Time
	idle    *time.Timer
}

// spent reports whether the connection has had as many messages as it is good for (RFC 9422 §4.1).
func (c *conn) spent() bool {
	most := maxMessages
	if limit := c.Limit("MAILMAX"); limit > 0 {
		most = min(most, limit)
	}
	return c.Messages() >= most
}

// poolKey is what connections must have in common to stand in for each other.
type poolKey struct {
	hop        route.Hop
	level      tlspolicy.Level
	requireTLS bool
	waivesTLS  bool
}

// pool keeps connections between messages. How many are in use is bounded by the leases of a route, and only what was in use comes here.
type pool struct {
	mu     sync.Mutex
	idle   map[poolKey][]*conn
	count  int
	closed bool
	quits  sync.WaitGroup // begun with the lock held, before closed
}

// take returns a connection that is idle, nil if there is none. It may be dead: the server can have left.
func (p *pool) take(key poolKey) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[key]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	p.remove(key, c)
	c.idle.Stop()
	return c
}

// give keeps a connection for the next message, or ends it if it has done enough.
func (p *pool) give(key poolKey, c *conn) {
	if c.spent() || time.Since(c.made) > maxAge || !p.put(key, c) {
		p.quit(c)
	}
}

func (p *pool) put(key poolKey, c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.count >= maxIdleConns {
		return false
	}
	if p.idle == nil {
		p.idle = make(map[poolKey][]*conn)
	}
	p.idle[key] = append(p.idle[key], c)
	p.count++
	c.idle = time.AfterFunc(maxIdle, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.remove(key, c) {
			p.quitLocked(c)
		}
	})
	return true
}

// remove is called with the lock held. It reports whether c was there.
func (p *pool) remove(key poolKey, c *conn) bool {
	list := p.idle[key]
	for i := range list {
		if list[i] == c {
			list[i] = list[len(list)-1]
			if list = list[:len(list)-1]; len(list) == 0 {
				delete(p.idle, key)
			} else {
				p.idle[key] = list
			}
			p.count--
			return true
		}
	}
	return false
}

// quit says goodbye. Nobody has to wait for it, except for those who come after close.
func (p *pool) quit(c *conn) {
	p.mu.Lock()
	if !p.closed {
		p.quitLocked(c)
		c = nil
	}
	p.mu.Unlock()
	if c != nil {
		c.Quit(context.Background())
	}
}

func (p *pool) quitLocked(c *conn) {
	p.quits.Go(func() { c.Quit(context.Background()) })
}

// close ends all connections that are idle, and those that come after.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, list := range p.idle {
		for _, c := range list {
			c.idle.Stop()
			p.quitLocked(c)
		}
	}
	p.idle, p.count = nil, 0
	p.mu.Unlock()
	p.quits.Wait()
}

// note writes down how many connections to each hop are idle.
func (p *pool) note(table hopTable) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, list := range p.idle {
		table.at(key.hop).Idle += len(list)
	}
}

// reader keeps the error of a body: whether it was the disk or the next hop that failed.
type reader struct {
	io.ReadSeekCloser
	err error
}

func (r *reader) Read(p []byte) (n int, err error) {
	n, err = r.ReadSeekCloser.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}
