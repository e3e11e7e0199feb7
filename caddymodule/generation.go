package caddymodule

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
)

// generation is the servers of one config, from their start to the end of their last session. It can outlive the App that made it. Caddy
// calls the methods of an App, and so listen, serve and leave, one after the other.
type generation struct {
	log     *slog.Logger
	grace   time.Duration // sessions go on in peace
	limit   time.Duration // then they have this long to end
	exit    time.Duration // and this long when the process exits
	release func()        // gives the modules back
	queues  *queueSet
	over    chan struct{} // closed when all is given back

	left      bool // leave was called
	served    bool // serve was
	servers   []*esmtp.Server
	listeners []*listener
	serving   sync.WaitGroup // accept loops
	finishing sync.Once
}

// listener is a share of a socket, or what listener wrappers hand over, and the server that it is for.
type listener struct {
	net.Listener
	server *Server
	tls    bool         // from the start
	outer  net.Listener // with the wrappers around it
}

// draining are the generations whose config is gone and whose sessions are not.
var draining struct {
	sync.Mutex
	set map[*generation]struct{}
	all sync.WaitGroup
}

func init() {
	// The config that Caddy exits with may have no servers, and those of configs before it still sessions.
	caddy.OnExit(func(context.Context) { finishAll() })
}

// listen opens the sockets of a server, or takes a share in those that are open.
func (g *generation) listen(srv *Server) error {
	own := make(map[string]int)
	for _, addr := range srv.addresses {
		key := socketKey{address: addressKey(addr)}
		if key.address == "" {
			text := addr.String()
			key = socketKey{text, srv.name, own[text]}
			own[text]++
		}
		sh, err := newShare(key, addr)
		if err != nil {
			return err
		}
		g.listeners = append(g.listeners, &listener{Listener: sh, server: srv, tls: addr.tls && srv.tls != nil})
	}
	if srv.wrapped != nil {
		g.listeners = append(g.listeners, &listener{Listener: srv.wrapped, server: srv})
	}
	return nil
}

// serve begins to serve on all sockets. From now on connections come to this generation.
func (g *generation) serve() {
	if g.left {
		return
	}
	g.served, g.over = true, make(chan struct{})
	if err := g.queues.deliver(); err != nil {
		g.log.Error("nothing is delivered", "error", err)
	}
	for _, l := range g.listeners {
		if !slices.Contains(g.servers, l.server.engine) {
			g.servers = append(g.servers, l.server.engine)
		}
		sh, isShare := l.Listener.(*share)
		if l.outer = l.Listener; isShare {
			l.outer = l.server.wrap(sh)
		}
		g.serving.Go(func() { g.accept(l) })
		if isShare {
			if err := sh.join(); err != nil {
				g.log.Error("socket has permissions of another config", "server", l.server.name, "error", err)
			}
		}
		g.log.Info("serving", "server", l.server.name, "address", l.Addr(), "tls", l.tls, "hostname", l.server.engine.Hostname)
	}
}

// accept serves what comes to a listener, until that is closed.
func (g *generation) accept(l *listener) {
	serve := l.server.engine.Serve
	if l.tls {
		serve = l.server.engine.ServeTLS
	}
	if err := serve(l.outer); !errors.Is(err, net.ErrClosed) && !errors.Is(err, esmtp.ErrServerClosed) {
		g.log.Error("serving ended", "server", l.server.name, "address", l.Addr(), "error", err)
	}
}

// leave gives the sockets back, and lets the sessions come to their end in the background. Only the first call counts.
func (g *generation) leave() {
	if g.left {
		return
	}
	g.left = true
	for _, l := range g.listeners {
		l.Close()
	}
	g.queues.leave()
	if !g.served { // there are no sessions
		g.queues.close()
		g.release()
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

// drain waits for the sessions: for the grace period in peace, then until the limit with a 421 at the next command, then for those
// whose connection was closed under them. As long as a session is there, so are the modules that it uses.
func (g *generation) drain() {
	g.settle(context.Background())
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
	g.queues.close()
	g.release()
	close(g.over)
	draining.Lock()
	delete(draining.set, g)
	draining.Unlock()
}

// settleTime is far more than it takes to begin a session, and to wait out an accept error.
const settleTime = 2 * time.Second

// settle waits until the accept loops have ended. What a loop has got from a socket by then has become a session; a server that
// is told to drain before that would drop it. A listener wrapper that doesn't end when the socket is closed is not waited for.
func (g *generation) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	settled := make(chan struct{})
	go func() {
		g.serving.Wait()
		close(settled)
	}()
	select {
	case <-settled:
	case <-ctx.Done():
	}
}

// finish ends the sessions because the process exits, and waits for that as long as it may. Calls after the first one wait
// for that one.
func (g *generation) finish() {
	g.finishing.Do(func() {
		ctx, cancel := timeout(g.exit)
		defer cancel()
		g.settle(ctx)
		cut, cancelCut := timeout(g.exit * 3 / 4)
		defer cancelCut()
		g.each(func(srv *esmtp.Server) { srv.Shutdown(ctx) })
		g.queues.cutOff(cut)
		select {
		case <-g.over: // nothing of what was delivered is forgotten
		case <-ctx.Done():
		}
	})
}

// finishAll ends the sessions of all generations that were left.
func finishAll() {
	draining.Lock()
	var all sync.WaitGroup
	for g := range draining.set {
		all.Go(g.finish)
	}
	draining.Unlock()
	all.Wait()
}

// each does something with all servers at once, and waits.
func (g *generation) each(do func(srv *esmtp.Server)) {
	var all sync.WaitGroup
	for _, srv := range g.servers {
		all.Go(func() { do(srv) })
	}
	all.Wait()
}

// timeout returns a context that ends after d, never if d is negative.
func timeout(d time.Duration) (context.Context, context.CancelFunc) {
	if d < 0 {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), d)
}
