package caddymodule

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// processBegan is since when there are counters.
var processBegan = time.Now()

// tally counts what happens on the servers of one name, whatever their config. It costs an atomic addition each.
type tally struct {
	clients esmtp.Clients // what each of them does goes on in a new config, and so its limits do

	connections, refused         atomic.Uint64
	commands, commandsRefused    atomic.Uint64
	accepted, deferred, rejected atomic.Uint64 // messages
	octets, recipients           atomic.Uint64 // of those accepted
	handshakes, handshakesFailed atomic.Uint64
	logins, loginsFailed         atomic.Uint64
	octetsIn, octetsOut          atomic.Uint64 // of sessions that have ended
	errors, limits               counts
}

// tallies are those of all names that a config of this process had.
var tallies struct {
	sync.Mutex
	byName map[string]*tally
}

func tallyOf(name string) *tally {
	tallies.Lock()
	defer tallies.Unlock()
	if tallies.byName == nil {
		tallies.byName = make(map[string]*tally)
	}
	if tallies.byName[name] == nil {
		tallies.byName[name] = new(tally)
	}
	return tallies.byName[name]
}

func (t *tally) replied(verb string, r esmtp.Reply) {
	switch {
	case verb == "CONNECT" || verb == "EOM":
		return
	case r.Code >= 400:
		t.commandsRefused.Add(1)
	}
	t.commands.Add(1)
}

func (t *tally) message(s *esmtp.Session, r esmtp.Reply) {
	switch r.Code / 100 {
	case 2:
		t.accepted.Add(1)
		t.octets.Add(uint64(s.Transaction().Octets()))
		t.recipients.Add(uint64(len(s.Transaction().Recipients())))
	case 4:
		t.deferred.Add(1)
	default:
		t.rejected.Add(1)
	}
}

// split counts a success or a failure.
func split(ok bool, successes, failures *atomic.Uint64) {
	if ok {
		successes.Add(1)
	} else {
		failures.Add(1)
	}
}

// dropped counts a connection that never becomes a session.
func (t *tally) dropped() {
	t.connections.Add(1)
	t.refused.Add(1)
	t.limits.add(string(esmtp.LimitConnections))
}

func (t *tally) ended(s *esmtp.Session) {
	info := s.Info()
	t.octetsIn.Add(uint64(info.OctetsIn))
	t.octetsOut.Add(uint64(info.OctetsOut))
}

// counts are counters by name.
type counts struct{ byName sync.Map }

func (c *counts) add(name string) {
	n, ok := c.byName.Load(name)
	if !ok {
		n, _ = c.byName.LoadOrStore(name, new(atomic.Uint64))
	}
	n.(*atomic.Uint64).Add(1)
}

func (c *counts) view() map[string]uint64 {
	view := make(map[string]uint64)
	c.byName.Range(func(name, n any) bool {
		view[name.(string)] = n.(*atomic.Uint64).Load()
		return true
	})
	return view
}

// tallyView is a tally in JSON.
type tallyView struct {
	Server      string            `json:"server"`
	Connections countView         `json:"connections"`
	Commands    countView         `json:"commands"`
	Messages    messagesView      `json:"messages"`
	TLS         resultView        `json:"tls_handshakes"`
	Auth        resultView        `json:"auth"`
	OctetsIn    uint64            `json:"octets_in"`
	OctetsOut   uint64            `json:"octets_out"`
	Errors      map[string]uint64 `json:"errors"`
	Limits      map[string]uint64 `json:"limits"`
}

type countView struct {
	All     uint64 `json:"all"`
	Refused uint64 `json:"refused"`
}

type messagesView struct {
	Accepted   uint64 `json:"accepted"`
	Deferred   uint64 `json:"deferred"`
	Refused    uint64 `json:"refused"`
	Recipients uint64 `json:"recipients"`
	Octets     uint64 `json:"octets"`
}

type resultView struct {
	Succeeded uint64 `json:"succeeded"`
	Failed    uint64 `json:"failed"`
}

func (t *tally) view(name string) tallyView {
	return tallyView{
		Server:      name,
		Connections: countView{t.connections.Load(), t.refused.Load()},
		Commands:    countView{t.commands.Load(), t.commandsRefused.Load()},
		Messages:    messagesView{t.accepted.Load(), t.deferred.Load(), t.rejected.Load(), t.recipients.Load(), t.octets.Load()},
		TLS:         resultView{t.handshakes.Load(), t.handshakesFailed.Load()},
		Auth:        resultView{t.logins.Load(), t.loginsFailed.Load()},
		OctetsIn:    t.octetsIn.Load(),
		OctetsOut:   t.octetsOut.Load(),
		Errors:      t.errors.view(),
		Limits:      t.limits.view(),
	}
}

// showCounters is GET /esmtp/counters. A name that only a config had that was never served isn't shown.
func showCounters(w http.ResponseWriter, _ *http.Request, _ url.Values) error {
	live := make(map[string]bool)
	for _, srv := range liveServers() {
		live[srv.name] = true
	}
	tallies.Lock()
	byName := maps.Clone(tallies.byName)
	tallies.Unlock()
	views := []tallyView{}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if t := byName[name]; live[name] || t.connections.Load() > 0 {
			views = append(views, t.view(name))
		}
	}
	return writeJSON(w, http.StatusOK, map[string]any{"since": processBegan, "servers": views})
}
