package esmtp

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Usage is how much of its limits a server uses now.
type Usage struct {
	Sessions int           // of Limits.Connections
	Clients  []ClientUsage // the busiest first; of all servers that have the same Clients
}

// ClientUsage is what one client uses: an IPv4 address or an IPv6 /64, unless [Limits] say otherwise. Loopback addresses and Unix sockets
// are not counted.
type ClientUsage struct {
	Client   netip.Prefix
	Sessions int // of Limits.ConnectionsPerAddress

	// What it did in the last 60 seconds, about. Counted is only what [Rates] limits.
	Connections, Messages, Recipients, AuthFailures, Handshakes int
}

func (c ClientUsage) rates() int {
	return c.Connections + c.Messages + c.Recipients + c.AuthFailures + c.Handshakes
}

// InForce returns the limits, timeouts and rates with their defaults filled in: 0 means no limit. Any goroutine may call it.
func (srv *Server) InForce() (Limits, Timeouts, Rates) {
	return srv.Limits.resolve(), srv.Timeouts.resolve(), srv.Rates.resolve()
}

// Usage returns how much of its limits the server uses, with the busiest clients, not more than most. Any goroutine may call it.
func (srv *Server) Usage(most int) Usage {
	srv.mu.Lock()
	u := Usage{Sessions: len(srv.sessions)}
	clients := srv.clients
	srv.mu.Unlock()
	if clients == nil {
		return u // it has not started
	}
	by := clients.rates.usage(time.Now())
	for client, n := range clients.sessionCounts() {
		c := by[client]
		c.Sessions = n
		by[client] = c
	}
	for client, c := range by {
		c.Client = client
		if c.Sessions+c.rates() > 0 {
			u.Clients = append(u.Clients, c)
		}
	}
	slices.SortFunc(u.Clients, func(a, b ClientUsage) int {
		return cmp.Or(cmp.Compare(b.Sessions, a.Sessions), cmp.Compare(b.rates(), a.rates()), a.Client.Addr().Compare(b.Client.Addr()))
	})
	u.Clients = u.Clients[:min(len(u.Clients), max(most, 0))]
	return u
}

// usage returns the counts of all clients.
func (t *rateTable) usage(at time.Time) map[netip.Prefix]ClientUsage {
	t.mu.Lock()
	defer t.mu.Unlock()
	by := make(map[netip.Prefix]ClientUsage)
	minute, second := at.Unix()/60, int(at.Unix()%60)
	add := func(counts map[netip.Prefix]*[events]int, share int) {
		for client, n := range counts {
			c := by[client]
			c.Connections += n[eventConnection] * share / 60
			c.Messages += n[eventMessage] * share / 60
			c.Recipients += n[eventRecipient] * share / 60
			c.AuthFailures += n[eventAuthFailure] * share / 60
			c.Handshakes += n[eventHandshake] * share / 60
			by[client] = c
		}
	}
	switch t.minute {
	case minute:
		add(t.now, 60)
		add(t.before, 60-second)
	case minute - 1:
		add(t.now, 60-second)
	}
	return by
}
