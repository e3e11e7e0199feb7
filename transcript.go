package esmtp

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// The transcript: at debug level every command and every reply is a line in the log, but for what may be a secret. That is all of an AUTH but
// its mechanism, and of a verb that is not known here, which can be a password that came out of step. The content of messages is not in it.

// hidden stands for what is not shown.
const hidden = "***"

// watchTranscript finds out, once, whether anybody reads it.
func (s *Session) watchTranscript() {
	s.transcript = s.cfg.log.Enabled(context.Background(), slog.LevelDebug)
}

// noteCommand writes a command line.
func (s *Session) noteCommand(v verb, line []byte) {
	if !s.transcript {
		return
	}
	text := string(line)
	switch v {
	case verbUnknown:
		text = fmt.Sprintf("%s (%d octets)", hidden, len(line))
	case verbAUTH:
		text = s.maskAUTH(line)
	}
	s.Logger().Debug("command", "line", text)
}

// maskAUTH leaves of an AUTH the mechanism, if that is one that was offered: else it may be a response that came out of step.
func (s *Session) maskAUTH(line []byte) string {
	words := bytes.Fields(line)
	switch offered, _ := s.Offers("AUTH"); {
	case len(words) == 1:
		return string(line)
	case !slices.ContainsFunc(strings.Fields(offered), func(m string) bool { return equalFold(words[1], m) }):
		return "AUTH " + hidden
	case len(words) == 2:
		return string(line)
	}
	return fmt.Sprintf("%s %s %s", words[0], words[1], hidden)
}

// noteReply writes a reply.
func (s *Session) noteReply(r Reply) {
	if !s.transcript {
		return
	}
	if s.verb == verbUnknown && !s.atBoundary && r.Code >= 500 && s.in.total.Load() > 0 {
		r.Lines = []string{hidden} // it repeats the command
	}
	s.Logger().Debug("reply", "line", r.Error())
}

// noteExchange writes that a challenge and its response were exchanged.
func (s *Session) noteExchange(what string) {
	if s.transcript {
		s.Logger().Debug(what, "line", hidden)
	}
}

// noteData writes how much of a message came.
func (s *Session) noteData(octets int64) {
	if s.transcript {
		s.Logger().Debug("message content", "octets", octets)
	}
}
