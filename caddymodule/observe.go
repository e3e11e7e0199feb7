package caddymodule

import (
	"log/slog"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/exp/zapslog"

	"github.com/caddy-esmtp/esmtp"
)

// observe makes the observer of a server: whoever looks on from outside is in it.
func observe(ctx caddy.Context, srv *Server) (esmtp.Observer, error) {
	events, err := newEvents(ctx, srv)
	if err != nil {
		return esmtp.Observer{}, err
	}
	return combine(counters.Observer(srv.name), adminObserver(srv), events.observer()), nil // events last: what a handler of theirs does, the others don't suffer from
}

// loggers are those of a server or a route: its own, and the access log.
type loggers struct{ own, access *slog.Logger }

func (l loggers) with(key, value string) loggers {
	return loggers{l.own.With(key, value), l.access.With(key, value)}
}

// accessLog is the logger esmtp.access: Caddy's logs can include or exclude it by that name.
func accessLog(ctx caddy.Context, server string) *slog.Logger {
	handler := zapslog.NewHandler(ctx.Logger().Core(), zapslog.WithName("esmtp.access"), zapslog.AddStacktraceAt(slog.LevelError+1))
	return slog.New(handler).With("server", server)
}

// combine makes one observer of several, which are told in their order. A field that is nil in all of them stays nil.
func combine(observers ...esmtp.Observer) (all esmtp.Observer) {
	for _, o := range observers {
		all = esmtp.Observer{
			Connected:     both1(all.Connected, o.Connected),
			Refused:       both3(all.Refused, o.Refused),
			Dropped:       both1(all.Dropped, o.Dropped),
			Replied:       both4(all.Replied, o.Replied),
			Secured:       both3(all.Secured, o.Secured),
			Authenticated: both4(all.Authenticated, o.Authenticated),
			Message:       both3(all.Message, o.Message),
			Limited:       both2(all.Limited, o.Limited),
			Failed:        both2(all.Failed, o.Failed),
			Ended:         both2(all.Ended, o.Ended),
		}
	}
	return all
}

func both1[A any](f, g func(A)) func(A) {
	if f == nil || g == nil {
		return either(f == nil, g, f)
	}
	return func(a A) { f(a); g(a) }
}

func both2[A, B any](f, g func(A, B)) func(A, B) {
	if f == nil || g == nil {
		return either(f == nil, g, f)
	}
	return func(a A, b B) { f(a, b); g(a, b) }
}

func both3[A, B, C any](f, g func(A, B, C)) func(A, B, C) {
	if f == nil || g == nil {
		return either(f == nil, g, f)
	}
	return func(a A, b B, c C) { f(a, b, c); g(a, b, c) }
}

func both4[A, B, C, D any](f, g func(A, B, C, D)) func(A, B, C, D) {
	if f == nil || g == nil {
		return either(f == nil, g, f)
	}
	return func(a A, b B, c C, d D) { f(a, b, c, d); g(a, b, c, d) }
}

func either[F any](first bool, f, g F) F {
	if first {
		return f
	}
	return g
}
