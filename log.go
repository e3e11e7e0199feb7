package esmtp

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"
)

// logs reports whether anybody wants to read the lines of messages and sessions.
func (s *Session) logs() bool { return s.cfg.access.Enabled(context.Background(), slog.LevelInfo) }

// maxLogged is how many recipients stand in a line: some logs take no line that is longer than that makes it.
const maxLogged = 100

// logMessage writes the line of a message that came whole.
func (s *Session) logMessage(r Reply, times MessageTimes) {
	if !s.logs() {
		return
	}
	tx := s.tx
	text := "message refused"
	if r.Code/100 == 2 {
		text = "message accepted"
	}
	to := make([]string, min(len(tx.recipients), maxLogged))
	for i := range to {
		to[i] = tx.recipients[i].Path.String()
	}
	attrs := append(s.clientAttrs(), slog.String("transaction", tx.ID()), slog.String("from", tx.from.String()), slog.Any("to", to),
		slog.Int("recipients", len(tx.recipients)), slog.Int("refused", len(tx.refused)), slog.Int64("octets", tx.Octets()),
		slog.Duration("receive", times.Receive.Round(time.Microsecond)), slog.Duration("handle", times.Handle.Round(time.Microsecond)),
		slog.String("reply", r.Error()), slog.String("verdict", tx.verdict.Outcome(r)))
	if reason := tx.verdict.Reason; reason != "" {
		attrs = append(attrs, slog.String("reason", reason))
	}
	if level, ok := tx.from.Priority(); ok { // RFC 6710 §4.1 (3)
		attrs = append(attrs, slog.Int("priority", level))
	}
	if s.forwarded != nil {
		attrs = append(attrs, slog.Any("forwarded", *s.forwarded))
	}
	s.cfg.access.LogAttrs(context.Background(), slog.LevelInfo, text, attrs...)
}

// logEnd writes the line of a session that came to its end.
func (s *Session) logEnd() {
	if !s.logs() {
		return
	}
	why := "QUIT"
	if s.reason != nil {
		why = s.reason.Error()
	}
	attrs := append(s.clientAttrs(), slog.String("why", why), slog.Int("messages", s.Messages()), slog.Int("transactions", s.mails),
		slog.Int("errors", s.errors), slog.Int64("octets_in", s.in.total.Load()), slog.Int64("octets_out", s.octetsOut.Load()),
		slog.Duration("duration", s.elapsed().Round(time.Microsecond)))
	s.cfg.access.LogAttrs(context.Background(), slog.LevelInfo, "session ended", attrs...)
}

// clientAttrs are the fields that the lines of a session and of its messages have in common.
func (s *Session) clientAttrs() []slog.Attr {
	attrs := append(make([]slog.Attr, 0, 24), slog.String("session", s.ID()), slog.String("remote", s.remote.String()))
	if s.claim != nil {
		attrs = append(attrs, slog.String("peer", s.claim.peer.String()))
	}
	attrs = append(attrs, slog.String("helo", s.helo), slog.String("protocol", s.Protocol()))
	if s.secure {
		state := s.TLS()
		attrs = append(attrs, slog.Group("tls", "version", tls.VersionName(state.Version), "cipher", tls.CipherSuiteName(state.CipherSuite),
			"server_name", state.ServerName))
	}
	if s.authMechanism != "" {
		attrs = append(attrs, slog.String("user", s.user), slog.String("mechanism", s.authMechanism))
	}
	return attrs
}
