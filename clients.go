package esmtp

import (
	"maps"
	"net/netip"
	"sync"
)

// Clients counts what clients do, for [Limits].ConnectionsPerAddress and [Rates]. Servers that have the same one count together: so what a client has
// done isn't forgotten when the server of another configuration takes over. The zero value is ready, and its limits are those of each server.
type Clients struct {
	rates rateTable

	mu       sync.Mutex
	sessions map[netip.Prefix]int // those that there are now
}

// join counts a session of a client, and returns how many it has.
func (c *Clients) join(client netip.Prefix) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions == nil {
		c.sessions = make(map[netip.Prefix]int)
	}
	c.sessions[client]++
	return c.sessions[client]
}

// leave takes back what join did.
func (c *Clients) leave(client netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions[client]--; c.sessions[client] == 0 {
		delete(c.sessions, client)
	}
}

// sessionCounts are the sessions of all clients.
func (c *Clients) sessionCounts() map[netip.Prefix]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.sessions)
}
