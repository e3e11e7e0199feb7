package esmtp

import (
	"net/netip"
	"sync"
	"time"
)

// Rates bounds what one client can do in a minute. A zero field means the default, a negative one no limit. A client is a network: see
// [Limits].IPv4Prefix. Loopback addresses and Unix sockets are not counted.
type Rates struct {
	// Connections is how many connections are served; more get 421 4.7.0. Default: no limit.
	Connections int

	// Messages is how many MAIL are accepted, Recipients how many RCPT; more get 450 4.7.1. Default: no limit.
	Messages   int
	Recipients int

	// AuthFailures is how many AUTH may fail; after that AUTH gets 454 4.7.0. Default 30.
	AuthFailures int

	// Handshakes is how many TLS handshakes are done; more STARTTLS get 454 4.7.0, and connections that are in TLS from the start
	// are closed. Default: no limit.
	Handshakes int
}

const defaultAuthFailureRate = 30

func (r Rates) resolve() Rates {
	setDefault(&r.AuthFailures, defaultAuthFailureRate)
	r.Connections = max(r.Connections, 0)
	r.Messages = max(r.Messages, 0)
	r.Recipients = max(r.Recipients, 0)
	r.Handshakes = max(r.Handshakes, 0)
	return r
}

// event is what is counted.
type event uint8

const (
	eventConnection event = iota
	eventMessage
	eventRecipient
	eventAuthFailure
	eventHandshake
	events
)

// maxTracked bounds the memory for counts: in a minute in which more clients come than that, the last ones are not limited.
const maxTracked = 1 << 16

// rateTable counts events by client: those of this minute and of the one before.
type rateTable struct {
	mu     sync.Mutex
	minute int64
	now    map[netip.Prefix]*[events]int
	before map[netip.Prefix]*[events]int
}

// add counts n events of a client, and returns how many there were in the last 60 seconds, about: of the minute before it takes the share
// that is left of it.
func (t *rateTable) add(client netip.Prefix, e event, n int, at time.Time) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if minute := at.Unix() / 60; minute != t.minute {
		t.before = t.now
		if minute != t.minute+1 {
			t.before = nil
		}
		t.minute, t.now = minute, make(map[netip.Prefix]*[events]int)
	}
	counts := t.now[client]
	if counts == nil {
		if len(t.now) >= maxTracked {
			return 0
		}
		counts = new([events]int)
		t.now[client] = counts
	}
	counts[e] += n
	total := counts[e]
	if old := t.before[client]; old != nil {
		total += old[e] * int(60-at.Unix()%60) / 60
	}
	return total
}

// overRate counts an event of this session's client, and reports whether there were too many. With limit 0 nothing is counted.
func (s *Session) overRate(e event, limit int) bool {
	if s.countRate(e, limit, 1) <= limit {
		return false
	}
	s.limited(rateLimits[e])
	return true
}

// countRate counts n events, 0 to look only, and returns how many there were.
func (s *Session) countRate(e event, limit, n int) int {
	if limit <= 0 || !s.prefix.IsValid() {
		return limit
	}
	return s.srv.clients.rates.add(s.prefix, e, n, time.Now())
}
