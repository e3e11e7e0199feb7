package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/handler/queue"
	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/spool"
)

// serveQueue is this module with a spool: every message is on disk before its 250, and a relay passes it on if it is to. Every setting is as
// it comes, but for the limits and the log, as in the other works.
func serveQueue(l net.Listener, w *work, at place) (err error) {
	ctx := context.Background()
	log := slog.New(slog.DiscardHandler)
	s, err := spool.Open(ctx, at.dir, &spool.Options{Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if at.sink != "" {
		hop, err := route.ParseHop(at.sink)
		if err != nil {
			return err
		}
		r := &relay.Relay{Spool: s, Hostname: "mx.example", NextHops: []route.Hop{hop}, Logger: log}
		go r.Run(ctx)
	}
	q := &queue.Queue{Spool: s}
	srv := oursServer(esmtp.Stack(q.NewLayer))
	return srv.Serve(l)
}

func aboutQueue() string {
	return "this module: esmtp with handler/queue, its spool in SQLite, and its relay; " + runtime.Version()
}
