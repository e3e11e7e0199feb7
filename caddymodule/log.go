package caddymodule

import (
	"fmt"
	"log/slog"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/handler/logger"
)

func init() {
	caddy.RegisterModule(new(Log))
}

// Log writes each command and its reply to Caddy's log, as the logger esmtp. It logs what the handlers after it answer: put it first to
// see all. The content of messages is never logged, nor what stands behind an unknown verb. Without it there is a line for each
// message and each session.
//
//	log [debug|info]
type Log struct {
	// Level is the level of the lines: debug or info. Default info.
	Level string `json:"level,omitempty"`

	logger logger.Logger
}

var logLevels = map[string]slog.Level{"": slog.LevelInfo, "info": slog.LevelInfo, "debug": slog.LevelDebug}

// CaddyModule returns the Caddy module information.
func (*Log) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.handlers.log", New: func() caddy.Module { return new(Log) }}
}

// Provision reads the level.
func (l *Log) Provision(caddy.Context) error {
	level, ok := logLevels[l.Level]
	if !ok {
		return fmt.Errorf("log: level %q is none of %s", l.Level, choices(logLevels))
	}
	l.logger.Level = level
	return nil
}

// NewLayer makes the layer of a connection.
func (l *Log) NewLayer(s *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return l.logger.NewLayer(s, next)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	log [debug|info]
func (l *Log) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	if d.NextArg() {
		l.Level = d.Val()
		if _, ok := logLevels[l.Level]; !ok {
			return d.Errf("log: level is one of %s, not %q", choices(logLevels), l.Level)
		}
	}
	if d.NextArg() || d.NextBlock(0) {
		return d.Err("log takes a level, and nothing else")
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Log)(nil)
	_ caddyfile.Unmarshaler = (*Log)(nil)
	_ Layer                 = (*Log)(nil)
)
