package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-esmtp/esmtp"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App is an ESMTP server for Caddy. In a Caddyfile it is the global option esmtp:
//
//	{
//		esmtp {
//			queue [<name>] {
//				...
//			}
//			grace_period  <duration>
//			drain_timeout <duration>
//			exit_timeout  <duration>
//			<address...> {
//				<setting or handler>
//				...
//			}
//			server <name> [<address...>] {
//				...
//			}
//		}
//	}
//
// What a server block can have is told by [Server], what a queue block can have by [Queue]. The option can be given several times: what is in all of them counts.
//
// When Caddy gets a new config, new connections get that as soon as all of it has started, and none is lost: an address that is in both configs
// keeps its socket. Open sessions go on with the old config. After the grace period those that are left get 421 at their next command, but
// never inside a message; after the drain timeout they are cut off. When Caddy exits, sessions get 421 at their next command at once, and
// are cut off after the exit timeout.
type App struct {
	// Servers are the servers, by a name that stands in the log.
	Servers map[string]*Server `json:"servers,omitempty"`

	// Queues are where mail is kept to be delivered, by a name that handlers use. A handler that names none uses default, which is there
	// even if it isn't here.
	Queues map[string]*Queue `json:"queues,omitempty"`

	// GracePeriod is how long open sessions go on untroubled after a new config was loaded. Default 30s; negative means without end.
	GracePeriod caddy.Duration `json:"grace_period,omitempty"`

	// DrainTimeout is how long sessions may take after the grace period to come to the end of their command or message. Default 10m;
	// negative means without end.
	DrainTimeout caddy.Duration `json:"drain_timeout,omitempty"`

	// ExitTimeout is how long sessions may take for it when Caddy exits. Default 4s: systemd's unit for Caddy kills after 5s.
	ExitTimeout caddy.Duration `json:"exit_timeout,omitempty"`

	log      *slog.Logger
	gen      *generation
	queues   *queueSet
	wrappers map[*caddyhttp.Server]int // how many listener wrappers are provisioned
}

// Layer is what a module of esmtp.handlers is.
type Layer interface {
	// NewLayer makes the layer of a connection: a Handler that embeds next. It is called on the connection's goroutine, for many
	// connections at a time. When the config is provisioned it is called with a session that has no connection, so that
	// esmtp.Vet can look at the layer; of that one only Closed is called.
	NewLayer(s *esmtp.Session, next esmtp.Handler) esmtp.Handler
}

// Defaults of the app's times.
const (
	defaultGracePeriod  = 30 * time.Second
	defaultDrainTimeout = 10 * time.Minute
	defaultExitTimeout  = 4 * time.Second
)

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp", New: func() caddy.Module { return new(App) }}
}

// Provision loads the modules of all servers, and checks what can be checked. It opens nothing: the config before this one is still at
// work, and this one may only be looked at.
func (a *App) Provision(ctx caddy.Context) error {
	a.log = ctx.Slogger()
	setDefault(&a.GracePeriod, defaultGracePeriod)
	setDefault(&a.DrainTimeout, defaultDrainTimeout)
	setDefault(&a.ExitTimeout, defaultExitTimeout)

	// Sessions outlive the config, and their modules must live as long: they get a context that Caddy doesn't cancel.
	base := ctx
	base.Context = context.WithoutCancel(ctx.Context)
	var err error
	if base.Context, err = a.provisionQueues(base.Context, ctx.Storage()); err != nil {
		return fmt.Errorf("esmtp: %w", err)
	}
	if err := registerMetrics(ctx); err != nil {
		return fmt.Errorf("esmtp: %w", err)
	}
	guests, release := caddy.NewContext(base)
	a.gen = &generation{log: a.log, release: release, queues: a.queues,
		grace: time.Duration(a.GracePeriod), limit: time.Duration(a.DrainTimeout), exit: time.Duration(a.ExitTimeout)}
	if err := a.watch(ctx); err != nil {
		return fmt.Errorf("esmtp: %w", err)
	}

	places := make(places)
	for _, name := range slices.Sorted(maps.Keys(a.Servers)) {
		srv := a.Servers[name]
		if srv == nil {
			return fmt.Errorf("esmtp: server %s: there is nothing in it", name)
		}
		if err := srv.provision(ctx, guests, name, a.log); err != nil {
			return fmt.Errorf("esmtp: server %s: %w", name, err)
		}
		for _, addr := range srv.addresses {
			if other := places.take(addr, name); other != "" {
				return fmt.Errorf("esmtp: server %s: address %s is that of server %s too", name, addr, other)
			}
		}
	}
	a.setHostname()
	return nil
}

func setDefault(d *caddy.Duration, value time.Duration) {
	if *d == 0 {
		*d = caddy.Duration(value)
	}
}

// Validate checks what must hold of the whole config.
func (a *App) Validate() error {
	if a.ExitTimeout < 0 {
		return errors.New("esmtp: exit_timeout is negative: Caddy could never exit")
	}
	return nil
}

// watch has Caddy tell us when the whole config has started, and when it is going to be stopped.
func (a *App) watch(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return err
	}
	events := app.(*caddyevents.App)
	return errors.Join(events.On("started", lifecycle{a}), events.On("stopping", lifecycle{a}))
}

// Start opens the sockets of all servers, and the spools. It doesn't serve yet: another app may fail to start, and a config that can't be started never
// answers anybody.
func (a *App) Start() error {
	for _, name := range slices.Sorted(maps.Keys(a.Servers)) {
		if err := a.gen.listen(a.Servers[name]); err != nil {
			return fmt.Errorf("esmtp: server %s: %w", name, err)
		}
	}
	return a.queues.open()
}

// lifecycle listens to Caddy's events for an App. It is not the App itself, as Caddy writes those who listen into its debug log.
type lifecycle struct{ app *App }

// Handle begins to serve when all apps have started. When Caddy exits it begins to end the sessions: the app that is
// stopped before ours may take all the time that there is.
func (l lifecycle) Handle(_ context.Context, e caddy.Event) error {
	switch {
	case e.Name() == "started":
		l.app.gen.serve()
		l.app.warnUnreachable()
	case caddy.Exiting():
		l.app.leave()
		go finishAll()
	}
	return nil
}

// Stop gives the sockets back. It leaves open sessions to themselves and returns at once; but when Caddy exits it waits for them.
func (a *App) Stop() error {
	a.leave()
	if caddy.Exiting() {
		finishAll()
	}
	return nil
}

// leave ends the time of this config.
func (a *App) leave() {
	for _, srv := range a.Servers {
		srv.tls.outlive()
		for _, r := range srv.Routes {
			r.server.tls.outlive()
		}
	}
	a.gen.leave()
}

// Cleanup closes what a Start that failed has opened. After Stop it does nothing: sessions may still be there.
func (a *App) Cleanup() error {
	if a.gen != nil {
		a.gen.leave()
	}
	return nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)

	_ caddyevents.Handler = lifecycle{}
)
