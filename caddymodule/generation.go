package caddymodule

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// generation is the servers of one config, from their start to the end of their last session. It can outlive the App that made it.
type generation struct {
	log     *slog.Logger
	grace   time.Duration
	limit   time.Duration
	release func() // gives the modules back

	mu        sync.Mutex
	left      bool // nothing more to be done for Cleanup: leave or abandon was called
	servers   []*esmtp.Server
	listeners []listener
}

// listener is a socket, and the server that it is for.
type listener struct {
	net.Listener
	server  *Server
	address string
	tls     bool // from the start
}

// draining are the generations whose config is gone and whose sessions are not.
var draining struct {
	sync.Mutex
	set map[*generation]struct{}
	all sync.WaitGroup
}

// listen opens the sockets of a server.
func (g *generation) listen(srv *Server) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, addr := range srv.addresses {
		l, err := listen(addr)
		if err != nil {
			return err
		}
		g.listeners = append(g.listeners, listener{srv.wrap(l), srv, addr.String(), addr.tls && srv.tls != nil})
	}
	if srv.wrapped != nil {
		g.listeners = append(g.listeners, listener{srv.wrapped, srv, srv.wrapped.Addr().String(), false})
	}
	return nil
}

// serve begins to serve on all sockets.
func (g *generation) serve() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.listeners {
		if !slices.Contains(g.servers, l.server.engine) {
			g.servers = append(g.servers, l.server.engine)
		}
		g.log.Info("serving", "server", l.server.name, "address", l.address, "tls", l.tls, "hostname", l.server.engine.Hostname)
		go func() {
			serve := l.server.engine.Serve
			if l.tls {
				serve = l.server.engine.ServeTLS
			}
			if err := serve(l); !errors.Is(err, esmtp.ErrServerClosed) {
				g.log.Error("serving ended", "server", l.server.name, "address", l.address, "error", err)
			}
		}()
	}
}

// each does something with all servers at once, and waits.
func (g *generation) each(do func(srv *esmtp.Server)) {
	var all sync.WaitGroup
	for _, srv := range g.servers {
		all.Go(func() { do(srv) })
	}
	all.Wait()
}

// leave stops to accept, and lets the sessions come to their end in the background.
func (g *generation) leave() {
	if !g.close() {
		return
	}
	draining.Lock()
	if draining.set == nil {
		draining.set = make(map[*generation]struct{})
	}
	draining.set[g] = struct{}{}
	draining.Unlock()
	draining.all.Go(g.drain)
}

// close closes the listeners. It reports false if that was done before.
func (g *generation) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left {
		return false
	}
	g.left = true
	now, cancel := context.WithCancel(context.Background())
	cancel()
	for _, srv := range g.servers {
		srv.Drain(now)
	}
	for _, l := range g.listeners {
		l.Close() // one that isn't served yet
	}
	return true
}

// drain waits for the sessions: for the grace period in peace, then until the limit with a 421 at the next command, then for those
// whose connection was closed under them. As long as a session is there, so are the modules that it uses.
func (g *generation) drain() {
	grace, cancelGrace := timeout(g.grace)
	defer cancelGrace()
	g.each(func(srv *esmtp.Server) { srv.Drain(grace) })
	limit, cancelLimit := timeout(g.limit)
	defer cancelLimit()
	g.each(func(srv *esmtp.Server) {
		if err := srv.Shutdown(limit); err != nil {
			g.log.Warn("sessions were cut off", "hostname", srv.Hostname, "after", g.grace+g.limit)
			srv.Shutdown(context.Background())
		}
	})
	g.release()
	draining.Lock()
	delete(draining.set, g)
	draining.Unlock()
}

// timeout returns a context that ends after d, never if d is negative.
func timeout(d time.Duration) (context.Context, context.CancelFunc) {
	if d < 0 {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), d)
}

// abandon closes everything at once, if the generation has not left in order.
func (g *generation) abandon() {
	if !g.close() {
		return
	}
	for _, srv := range g.servers {
		srv.Close()
	}
	if len(g.servers) == 0 {
		g.release()
		return
	}
	draining.all.Go(func() {
		g.each(func(srv *esmtp.Server) { srv.Shutdown(context.Background()) })
		g.release()
	})
}

// finishAll ends the sessions of all generations that were left, and waits for that, but not longer than d.
func finishAll(d time.Duration) {
	ctx, cancel := timeout(d)
	defer cancel()
	draining.Lock()
	var all sync.WaitGroup
	for g := range draining.set {
		all.Go(func() { g.each(func(srv *esmtp.Server) { srv.Shutdown(ctx) }) })
	}
	draining.Unlock()
	all.Wait()
}
