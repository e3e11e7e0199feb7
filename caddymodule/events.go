package caddymodule

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/metrics"
)

// The events, with what is in all of them: server, session, remote, local, helo, protocol, and, if they are known, route, user, mechanism and tls_version. What
// each has besides is told where it is emitted. docs/modules/events.md is the list for users.
const (
	eventConnectionRefused    = "esmtp_connection_refused"
	eventAuthenticated        = "esmtp_authenticated"
	eventAuthenticationFailed = "esmtp_authentication_failed"
	eventMessageAccepted      = "esmtp_message_accepted"
	eventMessageRefused       = "esmtp_message_refused"
	eventSessionEnded         = "esmtp_session_ended"
)

// events tells Caddy's app events of what happens on a server. Handlers run on the session's goroutine, with no lock held, as those of other events do: one
// that is slow makes its client wait, and nobody else.
type events struct {
	server  *Server
	ctx     caddy.Context    // of our config, but it doesn't end: sessions outlive the config, and Emit stops at a context that is done
	config  context.Context  // of our config
	own     *caddyevents.App // of our config
	started atomic.Bool      // own takes no more subscriptions
}

func newEvents(ctx caddy.Context, srv *Server) (*events, error) {
	app, err := ctx.App("events")
	if err != nil {
		return nil, err
	}
	e := &events{server: srv, ctx: ctx, config: ctx.Context, own: app.(*caddyevents.App)}
	e.ctx.Context = context.WithoutCancel(ctx.Context)
	return e, e.own.On("started", whenStarted{e})
}

// whenStarted waits for Caddy to have started.
type whenStarted struct{ events *events }

func (w whenStarted) Handle(context.Context, caddy.Event) error {
	w.events.started.Store(true)
	return nil
}

// app is where an event goes: to the config that is active, as the handlers of one that was replaced are gone. When Caddy stops none is active, and the
// handlers of the last one are still there.
func (e *events) app() *caddyevents.App {
	if app, err := caddy.ActiveContext().AppIfConfigured("events"); err == nil {
		return app.(*caddyevents.App)
	}
	if e.started.Load() && e.config.Err() == nil {
		return e.own
	}
	return nil
}

// emit emits an event with what data returns, which is only called if somebody listens.
func (e *events) emit(s *esmtp.Session, name string, data func(map[string]any)) {
	app := e.app()
	if app == nil || !app.ShouldEmit(name) {
		return
	}
	m := map[string]any{"server": e.server.name, "session": s.ID(), "remote": s.RemoteAddr().String(), "local": s.LocalAddr().String(), "helo": s.HELO(), "protocol": s.Protocol()}
	if route := e.server.routeOf(s.Settings()); route != "" {
		m["route"] = route
	}
	if s.AuthMechanism() != "" {
		m["user"], m["mechanism"] = s.User(), s.AuthMechanism()
	}
	if state := s.TLS(); state != nil {
		m["tls_version"] = tls.VersionName(state.Version)
	}
	data(m)
	app.Emit(e.ctx, name, m)
}

func (e *events) observer() esmtp.Observer {
	return esmtp.Observer{Refused: e.refused, Authenticated: e.authenticated, Message: e.message, Ended: e.ended}
}

// refused tells of a connection that gets no session: reason, and reply if a handler gave one.
func (e *events) refused(s *esmtp.Session, r esmtp.Reply, why error) {
	e.emit(s, eventConnectionRefused, func(m map[string]any) {
		m["reason"], m["reply"] = metrics.Reason(why), ""
		if !r.IsZero() {
			m["reply"] = r.Error()
		}
	})
}

// authenticated tells of an AUTH: login is who the client said it is, mechanism by which, reply what it got.
func (e *events) authenticated(s *esmtp.Session, mechanism, login string, r esmtp.Reply) {
	name := eventAuthenticationFailed
	if r.Code == 235 {
		name = eventAuthenticated
	}
	e.emit(s, name, func(m map[string]any) { m["login"], m["mechanism"], m["reply"] = login, mechanism, r.Error() })
}

// message tells of a message that came whole: transaction, from, to, recipients, octets, reply, verdict, and reason if there is one.
func (e *events) message(s *esmtp.Session, r esmtp.Reply, _ esmtp.MessageTimes) {
	name := eventMessageRefused
	if r.Code/100 == 2 {
		name = eventMessageAccepted
	}
	e.emit(s, name, func(m map[string]any) {
		tx := s.Transaction()
		to := make([]string, len(tx.Recipients()))
		for i, recipient := range tx.Recipients() {
			to[i] = recipient.Path.String()
		}
		verdict := tx.Verdict()
		m["transaction"], m["from"], m["to"], m["recipients"], m["octets"] = tx.ID(), tx.From().String(), to, len(to), tx.Octets()
		m["reply"], m["verdict"] = r.Error(), verdict.Outcome(r)
		if verdict.Reason != "" {
			m["reason"] = verdict.Reason
		}
	})
}

// ended tells of a session's end: why, messages, octets_in, octets_out, and duration in seconds.
func (e *events) ended(s *esmtp.Session, err error) {
	e.emit(s, eventSessionEnded, func(m map[string]any) {
		m["why"] = "QUIT"
		if err != nil {
			m["why"] = fmt.Sprint(err)
		}
		info := s.Info()
		m["messages"], m["octets_in"], m["octets_out"] = info.Messages, info.OctetsIn, info.OctetsOut
		m["duration"] = time.Since(s.Started()).Round(time.Microsecond).Seconds()
	})
}
