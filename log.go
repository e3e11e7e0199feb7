package esmtp

import (
	"context"
	"log/slog"
	"time"
)

// logs reports whether anybody wants to read lines at info level.
func (s *Session) logs() bool { return s.cfg.log.Enabled(context.Background(), slog.LevelInfo) }

// logMessage writes the line of a transaction that came to its end.
func (s *Session) logMessage(r Reply) {
	if !s.logs() {
		return
	}
	tx := s.tx
	text := "message refused"
	if r.Code/100 == 2 {
		text = "message accepted"
	}
	to := make([]string, len(tx.recipients))
	for i := range to {
		to[i] = tx.recipients[i].Path.String()
	}
	log := s.Logger()
	if v := tx.verdict; v.Disposition != Keep {
		log = log.With("verdict", v.Disposition.String(), "reason", v.Reason)
	}
	if level, ok := tx.from.Priority(); ok { // RFC 6710 §4.1 (3)
		log = log.With("priority", level)
	}
	if s.forwarded != nil {
		log = log.With("forwarded", *s.forwarded)
	}
	log.Info(text, "transaction", tx.ID(), "from", tx.from.String(), "to", to, "refused", len(tx.refused),
		"octets", tx.Octets(), "reply", r.Error())
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
	s.Logger().Info("session ended", "why", why, "helo", s.helo, "protocol", s.Protocol(), "messages", s.Messages(),
		"transactions", s.mails, "errors", s.errors, "duration", s.elapsed().Round(time.Microsecond))
}
