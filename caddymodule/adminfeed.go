package caddymodule

import (
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/metrics"
)

// sessionEvent is something that happened in a session. Which fields it has depends on its type.
type sessionEvent struct {
	Type        string    `json:"type"`
	Time        time.Time `json:"time"`
	Server      string    `json:"server"`
	Route       string    `json:"route,omitempty"`
	Session     string    `json:"session,omitempty"`
	Remote      string    `json:"remote,omitempty"`
	Local       string    `json:"local,omitempty"`
	Verb        string    `json:"verb,omitempty"`
	Code        int       `json:"code,omitempty"`
	Reply       string    `json:"reply,omitempty"`
	Took        float64   `json:"took,omitempty"` // in seconds, as all times
	TLS         string    `json:"tls,omitempty"`
	Mechanism   string    `json:"mechanism,omitempty"`
	User        string    `json:"user,omitempty"`
	Transaction string    `json:"transaction,omitempty"`
	From        *string   `json:"from,omitempty"` // "" is the null sender
	To          []string  `json:"to,omitempty"`   // the first ones
	Recipients  int       `json:"recipients,omitempty"`
	Octets      int64     `json:"octets,omitempty"`
	Receive     float64   `json:"receive,omitempty"`
	Handle      float64   `json:"handle,omitempty"`
	Limit       string    `json:"limit,omitempty"`
	Class       string    `json:"class,omitempty"`
	Error       string    `json:"error,omitempty"`
	Duration    float64   `json:"duration,omitempty"`
	Messages    int       `json:"messages,omitempty"`
	OctetsIn    int64     `json:"octets_in,omitempty"`
	OctetsOut   int64     `json:"octets_out,omitempty"`

	addr net.Addr // as in Remote; nil: not known
}

// from fills in whose event it is.
func (e *sessionEvent) from(addr net.Addr) {
	if e.addr = addr; addr != nil {
		e.Remote = addr.String()
	}
}

// redacted returns the event without who mails whom. The text of replies can tell it too.
func (e sessionEvent) redacted() sessionEvent {
	e.Reply, e.User, e.To = "", redact(e.User), redactAll(e.To)
	if e.From != nil {
		from := redact(*e.From)
		e.From = &from
	}
	return e
}

// subscriber is somebody who watches the events. What it doesn't take in time is counted, and lost: sessions never wait for it.
type subscriber struct {
	wants func(*sessionEvent) bool

	mu    sync.Mutex
	queue []*sessionEvent
	lost  int
	ready chan struct{} // has room for one
}

// maxQueue is how many events can wait for a subscriber, maxSubscribers how many of those there can be.
const (
	maxQueue       = 1024
	maxSubscribers = 64
)

func (sub *subscriber) put(e *sessionEvent) {
	sub.mu.Lock()
	if len(sub.queue) < maxQueue {
		sub.queue = append(sub.queue, e)
	} else {
		sub.lost++
	}
	sub.mu.Unlock()
	select {
	case sub.ready <- struct{}{}:
	default:
	}
}

// take returns what is there, and how many events were lost after that.
func (sub *subscriber) take() (queue []*sessionEvent, lost int) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	queue, lost = sub.queue, sub.lost
	sub.queue, sub.lost = nil, 0
	return queue, lost
}

// feed hands events to those who watch. While nobody does an event costs one atomic load, and is not even made.
type feed struct {
	mu          sync.Mutex // of those who come and go
	subscribers atomic.Pointer[[]*subscriber]
}

// watched is the feed of all servers.
var watched feed

func (f *feed) list() []*subscriber {
	if p := f.subscribers.Load(); p != nil {
		return *p
	}
	return nil
}

var errTooManyWatch = errors.New("too many watch already")

func (f *feed) subscribe(wants func(*sessionEvent) bool) (*subscriber, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.list()
	if len(list) >= maxSubscribers {
		return nil, errTooManyWatch
	}
	sub := &subscriber{wants: wants, ready: make(chan struct{}, 1)}
	list = append(slices.Clip(list), sub)
	f.subscribers.Store(&list)
	return sub, nil
}

func (f *feed) unsubscribe(sub *subscriber) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(f.list()), func(other *subscriber) bool { return other == sub })
	if len(list) == 0 {
		f.subscribers.Store(nil)
		return
	}
	f.subscribers.Store(&list)
}

// tell makes an event, if somebody is there, and hands it over.
func (f *feed) tell(kind string, fill func(e *sessionEvent)) {
	list := f.subscribers.Load()
	if list == nil {
		return
	}
	e := &sessionEvent{Type: kind, Time: time.Now()}
	fill(e)
	for _, sub := range *list {
		if sub.wants(e) {
			sub.put(e)
		}
	}
}

// watch tells what happens on a server.
type watch struct{ server *Server }

// tell tells of a session.
func (w watch) tell(s *esmtp.Session, kind string, fill func(e *sessionEvent)) {
	watched.tell(kind, func(e *sessionEvent) {
		e.Server, e.Route, e.Session = w.server.name, w.server.routeOf(s.Settings()), s.ID()
		e.from(s.RemoteAddr())
		fill(e)
	})
}

// dropped tells of a connection that never becomes a session, by the limit that it hit.
func (w watch) dropped(remote net.Addr) {
	watched.tell("limited", func(e *sessionEvent) {
		e.Server, e.Limit = w.server.name, string(esmtp.LimitConnections)
		e.from(remote)
	})
}

// adminObserver counts and tells what happens on a server. Sessions may go on after its config has gone: it needs no module of that.
func adminObserver(srv *Server) esmtp.Observer {
	t, w := tallyOf(srv.name), watch{srv}
	return esmtp.Observer{
		Connected: func(s *esmtp.Session) {
			t.connections.Add(1)
			w.tell(s, "connected", func(e *sessionEvent) { e.Local = s.LocalAddr().String() })
		},
		Refused: func(*esmtp.Session, esmtp.Reply, error) { t.refused.Add(1) },
		Dropped: func(remote net.Addr) {
			t.dropped()
			w.dropped(remote)
		},
		Replied: func(s *esmtp.Session, verb string, r esmtp.Reply, took time.Duration) {
			t.replied(verb, r)
			w.tell(s, "replied", func(e *sessionEvent) { e.replied(verb, r, took) })
		},
		Secured: func(s *esmtp.Session, took time.Duration, err error) {
			split(err == nil, &t.handshakes, &t.handshakesFailed)
			w.tell(s, "secured", func(e *sessionEvent) { e.secured(s, took, err) })
		},
		Authenticated: func(s *esmtp.Session, mechanism, login string, r esmtp.Reply) {
			split(r.Code == 235, &t.logins, &t.loginsFailed)
			w.tell(s, "authenticated", func(e *sessionEvent) {
				e.Mechanism, e.User, e.Code, e.Reply = mechanism, login, r.Code, r.Error()
			})
		},
		Message: func(s *esmtp.Session, r esmtp.Reply, times esmtp.MessageTimes) {
			t.message(s, r)
			w.tell(s, "message", func(e *sessionEvent) { e.message(s, r, times) })
		},
		Limited: func(s *esmtp.Session, limit esmtp.Limit) {
			t.limits.add(string(limit))
			w.tell(s, "limited", func(e *sessionEvent) { e.Limit = string(limit) })
		},
		Failed: func(s *esmtp.Session, failure esmtp.SessionError) {
			class := metrics.Class(failure)
			t.errors.add(class)
			w.tell(s, "failed", func(e *sessionEvent) {
				e.Class, e.Verb, e.Error = class, failure.Verb, errorText(failure.Err)
			})
		},
		Ended: func(s *esmtp.Session, err error) {
			t.ended(s)
			w.tell(s, "ended", func(e *sessionEvent) { e.ended(s, err) })
		},
	}
}

// replied fills an event in. What stands behind a verb that is not known can be a password that came out of step, and the reply repeats it.
func (e *sessionEvent) replied(verb string, r esmtp.Reply, took time.Duration) {
	e.Verb, e.Code, e.Took = verb, r.Code, took.Seconds()
	if e.Reply = r.Error(); verb == "" {
		e.Verb, e.Reply = "***", ""
	}
}

func (e *sessionEvent) secured(s *esmtp.Session, took time.Duration, err error) {
	e.Took, e.Error = took.Seconds(), errorText(err)
	if state := s.TLS(); err == nil && state != nil {
		e.TLS = tls.VersionName(state.Version)
	}
}

func (e *sessionEvent) message(s *esmtp.Session, r esmtp.Reply, times esmtp.MessageTimes) {
	tx := s.Transaction()
	from := tx.From().String()
	e.Transaction, e.From, e.Recipients, e.Octets = tx.ID(), &from, len(tx.Recipients()), tx.Octets()
	for _, rcpt := range tx.Recipients()[:min(e.Recipients, maxRecipients)] {
		e.To = append(e.To, rcpt.Path.String())
	}
	e.Code, e.Reply = r.Code, r.Error()
	e.Receive, e.Handle = times.Receive.Seconds(), times.Handle.Seconds()
}

func (e *sessionEvent) ended(s *esmtp.Session, err error) {
	info := s.Info()
	e.Error, e.Duration, e.Messages = errorText(err), time.Since(info.Started).Seconds(), info.Messages
	e.OctetsIn, e.OctetsOut = info.OctetsIn, info.OctetsOut
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
