// Package relay takes mail from a spool and hands it to the servers that it is for.
//
// The one idea: an attempt is a function from an item to what became of each of its recipients, and everything else follows from that. A [Relay]
// leases what is due, makes the attempts, as many at a time as it may, and settles each in one transaction with the reports
// about it: accepted, failed for good, or to be tried again at a time that the [Schedule] gives.
//
//	r := &relay.Relay{Spool: spool, Router: &route.Router{Resolver: dns}, TLS: &tlspolicy.Policies{Resolver: dns}}
//	err := r.Run(ctx)
//
// # Reading on
//
// relay.go has the settings. runner.go leases and starts attempts. attempt.go walks the hops of an item, connect.go makes connections and pool.go
// keeps them, slots.go bounds how many there are, places.go and patience.go keep those that wait out of the way, dead.go remembers hops that are silent, and hops.go tells all that to people. send.go sends over
// connections, http.go posts to programs on the web, and sort.go sorts what the next hop said. settle.go writes down what became of it, schedule.go says when to try again, and
// report.go tells the sender.
package relay

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
	"github.com/caddy-esmtp/esmtp/relay/webhook"
	"github.com/caddy-esmtp/esmtp/smtpclient"
	"github.com/caddy-esmtp/esmtp/spool"
)

// Relay delivers the mail of a spool. Set the fields before Run and leave them alone after it; the functions among them are called on many
// goroutines at a time.
type Relay struct {
	// Spool is where the mail is.
	Spool spool.Spool

	// Hostname is our name: in EHLO, and in the reports.
	Hostname string

	// Router finds the hosts of a domain or hop, Table the hops of domains that don't go by their MX records. Without a Table none does not.
	Router *route.Router
	Table  *route.Table

	// NextHops are for all mail whose item has none, and whose domain has no rule in Table: a smarthost. Empty: the mail exchangers.
	NextHops []route.Hop

	// TLS finds out how connections must be protected, Level is the least for all hosts without a rule of their own in Table. Without TLS only the
	// levels count, not what domains publish.
	TLS   *tlspolicy.Policies
	Level tlspolicy.Level

	// Auth returns how to log in at a hop, nil for not at all; a hop with a user is then not tried, and its mail waits. Its passwords are shown in TLS
	// only, unless it says otherwise; and unless it does, a hop whose level is opportunistic has to prove its name as with verified. Nil: nowhere.
	Auth func(route.Hop) *smtpclient.Auth

	// Forward reports whether a hop is a server of ours that is to be told, by XFORWARD, where a message came from. Nil: none is.
	Forward func(route.Hop) bool

	// Webhook says how to post to a next hop that begins with http:// or https://. If it returns nil nothing is posted, and the mail waits. Nil: without
	// further header fields, and without a signature. Such hops don't mix with others in an item.
	Webhook func(url string) *webhook.Hook

	// Timeouts and Limits are for the next hops. Zero: as RFC 5321 §4.5.3.2 has them.
	Timeouts smtpclient.Timeouts
	Limits   smtpclient.Limits

	// Concurrency is how many attempts are made at a time, PerRoute how many of them, and so how many connections, to one
	// destination. Those that wait, for their turn at a busy hop or for an answer that is slow to come, are not among the former. Zero: 100 and 10.
	Concurrency int
	PerRoute    int

	// Schedule says when to try again.
	Schedule Schedule

	// StopTime is how long attempts may go on once Run is told to end. Zero: 10 minutes. What is cut off is tried again by whoever runs next.
	StopTime time.Duration

	// BeforeAttempt may hold an item back before each attempt. It is asked again if too many others wait for the hop, and there is no attempt. Nil: none is.
	BeforeAttempt func(*spool.Item) Decision

	// OnFailure may overrule what becomes of a recipient that the next hop has not accepted. If it panics the recipient is tried again. Nil:
	// what the reply says.
	OnFailure func(*spool.Item, Failure) Fate

	// Observer is told of each attempt. Nil: nobody is.
	Observer func(Attempt)

	// Logger gets a line for each attempt. Default: [slog.Default].
	Logger *slog.Logger

	// Dial makes connections. Nil: a [net.Dialer]'s DialContext, with Timeouts.Connect.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	begin   sync.Once
	ending  atomic.Bool // Run begins no more attempts
	pool    pool
	dead    deadHops
	slots   slots
	places  places
	freed   chan struct{}
	cut     chan struct{} // closed by CutOff
	cutOnce sync.Once
	log     *slog.Logger
}

// Decision is what BeforeAttempt says.
type Decision struct {
	// Action is what to do; the zero value is to make the attempt.
	Action Action

	// At is for Delay: when to ask again.
	At time.Time

	// Reason is for Freeze, and for people.
	Reason string
}

// Action is what to do with an item instead of an attempt.
type Action uint8

// The actions.
const (
	Send   Action = iota // make the attempt
	Delay                // at another time: it doesn't count as an attempt
	Freeze               // not before somebody thaws it
	Remove               // as if it had been delivered, without a report
)

// Failure is a recipient that was not accepted.
type Failure struct {
	Recipient esmtp.Path
	Reply     esmtp.Reply // the next hop's, or, if it gave none, ours
	Host      string      // that gave it; "" if it is ours
	Err       error       // what went wrong besides, for logs; can be nil
}

// Fate is what becomes of a recipient that was not accepted.
type Fate uint8

// The fates.
const (
	AsReplied Fate = iota // 5xx is for good, anything else is tried again
	Permanent             // it failed for good
	Later                 // it is tried again
	Done                  // whoever says so has taken care of it: no more attempts, and no report
)

// Attempt is what Observer is told.
type Attempt struct {
	Item     *spool.Item   // as it was settled; don't change it
	Hop      string        // the last that was tried, "" if none could be
	Host     string        // that answered last
	TLS      string        // "", or the version: "TLS 1.3"
	Policy   string        // what asked for TLS: "configured", "dane", "mta-sts"
	Reused   bool          // the connection was there already
	Accepted int           // recipients that the next hop took over
	Failed   int           // that failed for good
	Later    int           // that will be tried again
	Reports  int           // made for the sender about it
	Reply    string        // the last of a recipient: of one that failed, else of one that will be tried again, else of one that was accepted
	Took     time.Duration // all of it
}

// Defaults.
const (
	defaultConcurrency = 100
	defaultPerRoute    = 10
	defaultStopTime    = 10 * time.Minute
)

// prepare fills in the defaults.
func (r *Relay) prepare() {
	r.begin.Do(func() {
		r.log = r.Logger
		if r.log == nil {
			r.log = slog.Default()
		}
		if r.Router == nil {
			r.Router = new(route.Router)
		}
		if r.Concurrency <= 0 {
			r.Concurrency = defaultConcurrency
		}
		if r.PerRoute <= 0 {
			r.PerRoute = defaultPerRoute
		}
		if r.StopTime <= 0 {
			r.StopTime = defaultStopTime
		}
		r.places.set(r.Concurrency)
		r.slots.wake = r.wake
		r.freed = make(chan struct{}, 1)
		r.cut = make(chan struct{})
		r.Schedule = r.Schedule.resolve()
		if r.Dial == nil {
			dialer := &net.Dialer{Timeout: r.Timeouts.Connect}
			if dialer.Timeout <= 0 {
				dialer.Timeout = 30 * time.Second
			}
			r.Dial = dialer.DialContext
		}
	})
}

// SetConcurrency changes how many attempts are made at a time, at least 1. Any goroutine may call it, once the fields are set.
func (r *Relay) SetConcurrency(n int) {
	r.prepare()
	r.places.set(max(n, 1))
	r.wake()
}

// Limit returns how many attempts are made at a time at most. Any goroutine may call it.
func (r *Relay) Limit() int {
	r.prepare()
	_, limit := r.places.inUse()
	return limit
}

// CutOff ends the attempts that are being made, once Run has been told to end: the process has no time to wait for them. Any goroutine may call it.
func (r *Relay) CutOff() {
	r.prepare()
	r.cutOnce.Do(func() { close(r.cut) })
}

// Active returns how many attempts are being made; those that wait, for their turn at a busy hop or for an answer that is slow to come, are not among them. Any
// goroutine may call it.
func (r *Relay) Active() int {
	taken, _ := r.places.inUse()
	return taken
}
