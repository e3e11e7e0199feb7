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
	s.tx.logged = true
	if !s.logs() {
		return
	}
	text := "message refused"
	if r.Code/100 == 2 {
		text = "message accepted"
	}
	v := s.tx.verdict
	attrs := append(s.transactionAttrs(s.tx), slog.Duration("receive", times.Receive.Round(time.Microsecond)), slog.Duration("handle", times.Handle.Round(time.Microsecond)),
		slog.String("reply", r.Error()), slog.String("verdict", v.Outcome(r)))
	if v.Reason != "" {
		attrs = append(attrs, slog.String("reason", v.Reason))
	}
	s.cfg.access.LogAttrs(context.Background(), slog.LevelInfo, text, attrs...)
}

// logDropped writes the line of a transaction without a message: nobody was accepted, the client thought better of it, or it is gone.
func (s *Session) logDropped(tx *Transaction) {
	if tx.logged || !s.logs() {
		return
	}
	why := verbNames[s.verb]
	if s.state.Load() == uint32(StateClosed) {
		why = s.endedBy()
	}
	attrs := append(s.transactionAttrs(tx), slog.String("why", why))
	if tx.cut != nil {
		attrs = append(attrs, slog.String("reply", tx.cut.Error()))
	}
	s.cfg.access.LogAttrs(context.Background(), slog.LevelInfo, "transaction ended", attrs...)
}

// transactionAttrs are the fields that the lines of transactions have in common.
func (s *Session) transactionAttrs(tx *Transaction) []slog.Attr {
	to := make([]string, min(len(tx.recipients), maxLogged))
	for i := range to {
		to[i] = tx.recipients[i].Path.String()
	}
	attrs := append(s.clientAttrs(), slog.String("transaction", tx.ID()), slog.String("from", tx.from.String()), slog.Any("to", to),
		slog.Int("recipients", len(tx.recipients)), slog.Int("refused", len(tx.refused)), slog.Int64("octets", tx.Octets()))
	if n := min(len(tx.refused), maxLogged); n > 0 {
		refusals := make([]string, n)
		for i, rcpt := range tx.refused[:n] {
			refusals[i] = rcpt.Path.String() + ": " + rcpt.Reply.Error()
		}
		attrs = append(attrs, slog.Any("refusals", refusals))
	}
	if level, ok := tx.from.Priority(); ok { // RFC 6710 §4.1 (3)
		attrs = append(attrs, slog.Int("priority", level))
	}
	if s.forwarded != nil {
		attrs = append(attrs, slog.Any("forwarded", *s.forwarded))
	}
	return attrs
}

// endedBy says what ended the session.
func (s *Session) endedBy() string {
	if s.reason == nil {
		return "QUIT"
	}
	return s.reason.Error()
}

// logEnd writes the line of a session that came to its end.
func (s *Session) logEnd() {
	if !s.logs() {
		return
	}
	attrs := append(s.clientAttrs(), slog.String("why", s.endedBy()), slog.Int("messages", s.Messages()), slog.Int("transactions", s.mails),
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
