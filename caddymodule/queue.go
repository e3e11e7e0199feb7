package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
	"github.com/caddy-esmtp/esmtp/relay/webhook"
	"github.com/caddy-esmtp/esmtp/smtpclient"
	"github.com/caddy-esmtp/esmtp/spool"
)

// Queue is a spool, and the relay that delivers what is in it. The handlers queue, quarantine and webhook put mail there. In a Caddyfile:
//
//	esmtp {
//		queue [<name>] {
//			spool            <folder>|sqlite:///<folder>|postgres://<...>
//			keep_removed     <duration>
//			keep_quarantined <duration>
//			hostname         <name>
//			next_hop         <hop...>
//			route            <domain> [<hop...>] {
//				tls <level>
//			}
//			login            <hop> <password>
//			xforward         <hop...>
//			tls              opportunistic|required|verified|none
//			dns              <address...>
//			trust_dns
//			no_dane
//			no_mta_sts
//			allow_private
//			concurrency      <n>
//			per_route        <n>
//			retry            <duration...>
//			expire           <duration>
//			expire_reports   <duration>
//			warn             <duration>|off
//		}
//	}
//
// The name is "default" if there is none. A handler that names no queue uses that one, which needs no block: its spool is a folder of Caddy's data
// directory, and it delivers to the mail exchangers of the recipients' domains.
//
// A message that got 250 is in the spool, on disk, until it is delivered, or until its sender has been told that it can't be. Where the spool
// is PostgreSQL any number of Caddys can share it.
//
// A next hop is mx.example.org, mx.example.org:587, [192.0.2.1]:25, user@host:587 to log in, smtps://host, lmtp://host:24, mx://domain for the
// mail exchangers of a domain, or unix//run/lmtp.sock for LMTP over a Unix socket. next_hop is for all mail, route for that of a domain:
// example.org, *.example.org for those below it; a route without hops leads to the mail exchangers of the domain. Several are tried in their order. The
// password of a hop with a user is given by login.
//
// The level of tls is the least protection. opportunistic uses TLS where it is offered, with anybody; what the receiving domain asks for by DANE or
// MTA-STS is honoured in all levels but none. required wants TLS, verified a certificate for the host's name too. The default is
// opportunistic, which is verified where there is a login: a password is for one server, and not for whoever answers.
//
// After a reload the relay goes on with the new settings; attempts that are under way come to their end. What was removed or quarantined before keeps the time
// that keep_removed and keep_quarantined gave it. A reload with another spool leaves what is in the old one there, and a warning in the log says how much.
type Queue struct {
	// Spool is where mail is kept: a folder, or a database as postgres://user@host/name. Placeholders such as {env.DATABASE} are allowed.
	// Default: a folder with the queue's name in Caddy's data directory.
	Spool string `json:"spool,omitempty"`

	// KeepRemoved is how long a message that was removed can be recovered. Default 7 days.
	KeepRemoved caddy.Duration `json:"keep_removed,omitempty"`

	// KeepQuarantined is how long a message stays in quarantine. Default 30 days.
	KeepQuarantined caddy.Duration `json:"keep_quarantined,omitempty"`

	// Hostname is our name in EHLO and in reports. Placeholders are allowed. Default: that of the first server which has one.
	Hostname string `json:"hostname,omitempty"`

	// NextHops are for all mail that has no route: a smarthost. Default: the mail exchangers of the domains.
	NextHops []string `json:"next_hops,omitempty"`

	// Routes are the ways for the mail of some domains.
	Routes []QueueRoute `json:"routes,omitempty"`

	// Logins are the passwords of users that stand in next hops.
	Logins []Login `json:"logins,omitempty"`

	// XFORWARD are next hops of our own, that are told where a message came from.
	XFORWARD []string `json:"xforward,omitempty"`

	// TLS is the least protection: opportunistic, required, verified or none.
	TLS string `json:"tls,omitempty"`

	// DNS are the servers to ask, as addresses with or without a port. Default: those of the system.
	DNS []string `json:"dns,omitempty"`

	// TrustDNS believes what those servers say of DNSSEC. Without it only servers on this machine are believed.
	TrustDNS bool `json:"trust_dns,omitempty"`

	// NoDANE and NoMTASTS leave these policies of receiving domains out of account.
	NoDANE   bool `json:"no_dane,omitempty"`
	NoMTASTS bool `json:"no_mta_sts,omitempty"`

	// AllowPrivate lets mail exchangers have private and loopback addresses. It is for networks with a DNS of their own.
	AllowPrivate bool `json:"allow_private,omitempty"`

	// Concurrency is how many deliveries are made at a time, PerRoute how many of them to one destination. Defaults 100 and 10.
	Concurrency int `json:"concurrency,omitempty"`
	PerRoute    int `json:"per_route,omitempty"`

	// Retry is how long to wait after each failed attempt, the last one again and again. Default: 1m 3m 10m 20m 30m 1h 2h 4h.
	Retry []caddy.Duration `json:"retry,omitempty"`

	// Expire is how long a message is tried at all, default 5 days, ExpireReports the same for reports, default 1 day.
	Expire        caddy.Duration `json:"expire,omitempty"`
	ExpireReports caddy.Duration `json:"expire_reports,omitempty"`

	// Warn is when the sender is told of a delay. Default 4h; negative: never.
	Warn caddy.Duration `json:"warn,omitempty"`

	name      string
	hostnames []string // of all servers: mail to a mail exchanger of such a name comes back to us
	log       *slog.Logger
	storage   certmagic.Storage // Caddy's
	url       string
	used      bool                           // by a handler, or it stands in the config
	hooks     map[string]*webhook.Hook       // how to post to a URL
	logins    map[route.Hop]*smtpclient.Auth // set when the relay is made

	handlerHops []string // next hops of handlers that use it
	live        queueLife
}

// QueueRoute is the way for the mail of a domain.
type QueueRoute struct {
	// Domain is example.org, *.example.org for those below it, or * for every other.
	Domain string `json:"domain"`

	// NextHops are tried in their order. None: the mail exchangers of the domain.
	NextHops []string `json:"next_hops,omitempty"`

	// TLS is the least protection. Default: that of the queue.
	TLS string `json:"tls,omitempty"`
}

// Login is the password of a user at a next hop.
type Login struct {
	// Hop is the next hop with its user, as it stands in next_hops: user@host:587.
	Hop string `json:"hop"`

	// Password is what it is. Placeholders such as {env.PASSWORD} and {file./run/secret} are allowed.
	Password string `json:"password"`
}

// defaultQueue is the queue of handlers that name none.
const defaultQueue = "default"

// tlsLevels are the levels, by the names that a config has for them.
var tlsLevels = map[string]tlspolicy.Level{
	"": tlspolicy.Opportunistic, "opportunistic": tlspolicy.Opportunistic, "required": tlspolicy.Required, "verified": tlspolicy.Verified, "none": tlspolicy.None,
}

// queueSet is the queues of a config. Handlers find it in the context that they are provisioned with.
type queueSet struct {
	queues  map[string]*Queue
	log     *slog.Logger
	storage certmagic.Storage
}

type queueSetKey struct{}

// provisionQueues checks the queues, and gives them to the handlers.
func (a *App) provisionQueues(sessions context.Context, storage certmagic.Storage) (context.Context, error) {
	set := &queueSet{queues: make(map[string]*Queue), log: a.log, storage: storage}
	a.queues = set
	for _, name := range slices.Sorted(maps.Keys(a.Queues)) {
		q := a.Queues[name]
		if q == nil {
			q = new(Queue)
		}
		q.used = true
		if err := set.add(name, q); err != nil {
			return nil, err
		}
	}
	return context.WithValue(sessions, queueSetKey{}, set), nil
}

func (set *queueSet) add(name string, q *Queue) error {
	q.name, q.log, q.storage = name, set.log.With("queue", name), set.storage
	if err := q.provision(); err != nil {
		return fmt.Errorf("queue %s: %w", name, err)
	}
	for other := range set.queues { // an item doesn't know its queue: it would be sent as either of them is set
		if set.queues[other].url == q.url {
			_, shown := shownSpool(q.url)
			return fmt.Errorf("queue %s: queue %s has the spool %s already: give each its own, or have one queue", name, other, shown)
		}
	}
	set.queues[name] = q
	return nil
}

// queueOf returns the queue that a handler uses.
func queueOf(ctx context.Context, name string) (*Queue, error) {
	set, ok := ctx.Value(queueSetKey{}).(*queueSet)
	if !ok {
		return nil, errors.New("a queue is to be had in a server of the esmtp app only")
	}
	if name == "" {
		name = defaultQueue
	}
	q := set.queues[name]
	if q == nil && name == defaultQueue {
		q = new(Queue)
		if err := set.add(name, q); err != nil {
			return nil, err
		}
	}
	if q == nil {
		names := slices.Sorted(maps.Keys(set.queues))
		return nil, fmt.Errorf("there is no queue %q%s; there are %s", name, didYouMean(name, names), strings.Join(append(names, "no others"), ", "))
	}
	q.used = true
	return q, nil
}

// setHostname gives queues without a name that of a server.
func (a *App) setHostname() {
	for _, q := range a.queues.queues {
		for _, name := range slices.Sorted(maps.Keys(a.Servers)) {
			srv := a.Servers[name]
			if srv.engine == nil {
				continue
			}
			q.hostnames = append(q.hostnames, srv.hostnames()...)
			if q.Hostname == "" {
				q.Hostname = srv.engine.Hostname
			}
		}
		if q.Hostname == "" {
			q.Hostname, _ = os.Hostname()
		}
	}
}

// hostnames are the names of a server: its own, and those of its routes.
func (srv *Server) hostnames() []string {
	names := []string{srv.engine.Hostname}
	for _, r := range srv.Routes {
		names = append(names, r.server.engine.Hostname)
	}
	return names
}

// options are those of the spool.
func (q *Queue) options() *spool.Options {
	return &spool.Options{Logger: q.log, KeepRemoved: time.Duration(q.KeepRemoved), KeepQuarantined: time.Duration(q.KeepQuarantined)}
}
