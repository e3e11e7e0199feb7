// Package logger is a layer that writes each command and its reply to the session's log, for watching what a client does.
//
//	watch := &logger.Logger{Level: slog.LevelDebug}
//	srv := &esmtp.Server{NewHandler: esmtp.Stack(watch.NewLayer, store.NewLayer)}
//
// It logs what the layers below it answer: put it first to see all. Never logged are the content of messages and what stands behind
// a verb that isn't known, which can be a password that a client sends out of place.
package logger

import (
	"context"
	"crypto/tls"
	"log/slog"
	"strings"
	"unicode"

	"github.com/caddy-esmtp/esmtp"
)

// Logger is the configuration. Any number of sessions may use it at the same time.
type Logger struct {
	// Level is the level of the lines. Default: info.
	Level slog.Level
}

// NewLayer makes the layer of a connection; it is an [esmtp.Layer].
func (l *Logger) NewLayer(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return &layer{Handler: next, level: l.Level}
}

type layer struct {
	esmtp.Handler
	level     slog.Level
	connected bool // the session that esmtp.Vet looks at never is
}

// maxText is how much of a text is logged, in octets.
const maxText = 320

// clean makes a text that a client sent safe to look at: what can't be printed becomes '?', and what is too long is cut.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return '?'
	}, s)
}

// replyText is a reply as it is logged.
func replyText(r esmtp.Reply) string {
	switch {
	case r.IsZero():
		return "the usual"
	case r.Code == 0:
		return "hang up"
	case r.Code < 0:
		return "none"
	}
	return clean(r.Error())
}

// log writes a line, and returns the reply.
func (l *layer) log(s *esmtp.Session, verb string, r esmtp.Reply, args ...any) esmtp.Reply {
	log := s.Logger()
	if !log.Enabled(context.Background(), l.level) {
		return r
	}
	args = append([]any{"reply", replyText(r)}, args...)
	if tx := s.Transaction(); tx != nil {
		args = append(args, "transaction", tx.ID())
	}
	log.Log(context.Background(), l.level, verb, args...)
	return r
}

func (l *layer) CONNECT(s *esmtp.Session) esmtp.Reply {
	l.connected = true
	return l.log(s, "CONNECT", l.Handler.CONNECT(s), "local", s.LocalAddr().String())
}

func (l *layer) HELO(s *esmtp.Session, domain string) esmtp.Reply {
	return l.log(s, "HELO", l.Handler.HELO(s, domain), "domain", clean(domain))
}

func (l *layer) EHLO(s *esmtp.Session, domain string) esmtp.Reply {
	return l.log(s, "EHLO", l.Handler.EHLO(s, domain), "domain", clean(domain))
}

func (l *layer) STARTTLS(s *esmtp.Session) esmtp.Reply {
	return l.log(s, "STARTTLS", l.Handler.STARTTLS(s))
}

func (l *layer) Secured(s *esmtp.Session) {
	state := s.TLS()
	l.log(s, "Secured", esmtp.NoReply, "version", tls.VersionName(state.Version), "cipher", tls.CipherSuiteName(state.CipherSuite),
		"server_name", clean(state.ServerName))
	l.Handler.Secured(s)
}

// AUTH logs the mechanism, and nothing of the exchange; the engine logs who it was.
func (l *layer) AUTH(s *esmtp.Session, mechanism string, x *esmtp.Exchange) esmtp.Reply {
	return l.log(s, "AUTH", l.Handler.AUTH(s, mechanism, x), "mechanism", clean(mechanism))
}

func (l *layer) MAIL(s *esmtp.Session, from esmtp.Path) esmtp.Reply {
	return l.log(s, "MAIL", l.Handler.MAIL(s, from), "from", clean(from.String()), "params", clean(from.Params()))
}

func (l *layer) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	return l.log(s, "RCPT", l.Handler.RCPT(s, to), "to", clean(to.String()), "params", clean(to.Params()))
}

func (l *layer) DATA(s *esmtp.Session) esmtp.Reply {
	return l.log(s, "DATA", l.Handler.DATA(s), "recipients", len(s.Transaction().Recipients()))
}

func (l *layer) EOH(s *esmtp.Session, why esmtp.HeaderEnd) esmtp.Reply {
	return l.log(s, "EOH", l.Handler.EOH(s, why), "ended_by", why.String(), "octets", s.Transaction().Octets())
}

// BODY logs only a verdict: the chunks of a message tell nothing.
func (l *layer) BODY(s *esmtp.Session, chunk []byte) esmtp.Reply {
	r := l.Handler.BODY(s, chunk)
	if r.IsZero() {
		return r
	}
	return l.log(s, "BODY", r, "octets", s.Transaction().Octets())
}

func (l *layer) EOM(s *esmtp.Session) esmtp.Reply {
	return l.log(s, "EOM", l.Handler.EOM(s), "octets", s.Transaction().Octets())
}

func (l *layer) RSET(s *esmtp.Session) esmtp.Reply {
	return l.log(s, "RSET", l.Handler.RSET(s))
}

func (l *layer) VRFY(s *esmtp.Session, arg string) esmtp.Reply {
	return l.log(s, "VRFY", l.Handler.VRFY(s, arg), "arg", clean(arg))
}

func (l *layer) EXPN(s *esmtp.Session, arg string) esmtp.Reply {
	return l.log(s, "EXPN", l.Handler.EXPN(s, arg), "arg", clean(arg))
}

func (l *layer) HELP(s *esmtp.Session, arg string) esmtp.Reply {
	return l.log(s, "HELP", l.Handler.HELP(s, arg), "arg", clean(arg))
}

func (l *layer) NOOP(s *esmtp.Session, arg string) esmtp.Reply {
	return l.log(s, "NOOP", l.Handler.NOOP(s, arg), "arg", clean(arg))
}

func (l *layer) QUIT(s *esmtp.Session) esmtp.Reply {
	return l.log(s, "QUIT", l.Handler.QUIT(s))
}

// UNKNOWN logs neither the argument nor the text of the reply, which can repeat it.
func (l *layer) UNKNOWN(s *esmtp.Session, verb, arg string) esmtp.Reply {
	r := l.Handler.UNKNOWN(s, verb, arg)
	l.log(s, "UNKNOWN", esmtp.Reply{Code: r.Code, Enh: r.Enh, Close: r.Close}, "verb", clean(verb[:min(len(verb), 16)]))
	return r
}

func (l *layer) Closed(s *esmtp.Session, err error) {
	why := "QUIT"
	if err != nil {
		why = clean(err.Error())
	}
	if l.connected {
		l.log(s, "Closed", esmtp.NoReply, "why", why, "messages", s.Messages())
	}
	l.Handler.Closed(s, err)
}
