package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// Durable work: 250 says that the message is on disk. In the works Q it stays there, in QT it goes on to a sink at once, and counts when it
// has arrived.

// The goals, of Postfix's: messages per second, and CPU per message, where it stays and where it goes on.
const (
	goalStays  = 8
	goalGoesOn = 4
)

// durableTimes is how many times longer durable work is measured.
const durableTimes = 3

func durableWorks() (list []*work) {
	one := func() []step { return stepwise(1, text(4<<10)) }
	many := func() []step { return stepwise(100, text(4<<10)) }
	for _, n := range []int{1, 16, 32, 128} {
		list = append(list,
			&work{name: fmt.Sprintf("Q1-%d", n), what: "kept: one message a connection, " + sessions(n), sessions: n, steps: one, durable: true},
			&work{name: fmt.Sprintf("Q2-%d", n), what: "kept: 100 a connection, " + sessions(n), sessions: n, steps: many, durable: true})
	}
	return append(list,
		&work{name: "QT1-32", what: "passed on: one a connection, " + sessions(32), sessions: 32, steps: one, durable: true, relayed: true},
		&work{name: "QT2-32", what: "passed on: 100 a connection, " + sessions(32), sessions: 32, steps: many, durable: true, relayed: true})
}

func sessions(n int) string {
	if n == 1 {
		return "one session"
	}
	return fmt.Sprintf("%d sessions", n)
}

// times is how many times Postfix's rate the work is to be done.
func (w *work) times() float64 {
	if w.relayed {
		return goalGoesOn
	}
	return goalStays
}

// sink is a server, in the process of the load, that counts the messages that arrive and drops them.
type sink struct {
	srv      *esmtp.Server
	listener net.Listener
	arrived  atomic.Int64
}

func newSink() (*sink, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	s := &sink{listener: l}
	s.srv = &esmtp.Server{
		Hostname:   "sink.example",
		NewHandler: func(*esmtp.Session) esmtp.Handler { return &arrivals{sink: s} },
		Limits:     esmtp.Limits{Connections: 1 << 20, Messages: 1 << 20},
		Logger:     slog.New(slog.DiscardHandler),
	}
	go s.srv.Serve(l)
	return s, nil
}

// arrivals is a handler that counts.
type arrivals struct {
	esmtp.Default
	sink *sink
}

func (a *arrivals) EOM(*esmtp.Session) esmtp.Reply {
	a.sink.arrived.Add(1)
	return esmtp.Reply{}
}

// address is where the sink listens, "" for none.
func (s *sink) address() string {
	if s == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// count is how many messages have arrived; at no sink none do.
func (s *sink) count() int64 {
	if s == nil {
		return 0
	}
	return s.arrived.Load()
}

// await waits until n messages have arrived. The servers are told neither to hurry nor to wait.
func (s *sink) await(ctx context.Context, n int64) error {
	for end := time.Now().Add(maxSession); s.count() < n; {
		if wait(ctx, time.Millisecond); ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("bench: %d messages have not arrived", n-s.count())
		}
	}
	return nil
}

func (s *sink) close() { s.srv.Close() }
