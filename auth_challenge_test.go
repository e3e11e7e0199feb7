package esmtp_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// A mechanism that the handler's EHLO left out is not there: TLS would not bring it.
func TestAUTHNotOffered(t *testing.T) {
	srv := &esmtp.Server{Hostname: tlsHost, AllowInsecureAuth: true, NewHandler: func(*esmtp.Session) esmtp.Handler { return &silent{} }}
	esmtptest.Run(t, srv, "S: 220 *\nC: EHLO a\nS: 250 hello\nC: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 503 AUTH was not offered")
}

type silent struct{ users }

func (*silent) Mechanisms(*esmtp.Session) []string      { return []string{"PLAIN"} }
func (*silent) EHLO(*esmtp.Session, string) esmtp.Reply { return esmtp.OK("hello") }

// verbose asks a long question, twice.
type verbose struct{ tokenAuth }

func (h *verbose) AUTH(s *esmtp.Session, mechanism string, x *esmtp.Exchange) esmtp.Reply {
	x.Challenge(make([]byte, 3000))
	x.Challenge(make([]byte, 3000))
	return esmtp.Say(535)
}

// RFC 4954 §4: a challenge is one line, of 12288 octets at most; and none is sent to a client that is gone.
func TestAUTHChallengeIsOneLine(t *testing.T) {
	srv := &esmtp.Server{Hostname: tlsHost, Logger: slog.New(slog.DiscardHandler), NewHandler: func(*esmtp.Session) esmtp.Handler { return new(verbose) }}
	conn := esmtptest.NewScriptConn([]byte("EHLO a\r\nAUTH X-TOKEN\r\n"))
	srv.ServeConn(conn)
	if challenge := "\r\n334 " + strings.Repeat("A", 4000) + "\r\n"; strings.Count(string(conn.Output()), "334 A") != 1 || !strings.HasSuffix(string(conn.Output()), challenge) {
		t.Errorf("got %q", conn.Output())
	}
}
