package logger_test

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/handler/logger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run runs a dialogue, and returns what was logged, without what is different every time.
func run(t *testing.T, log *logger.Logger, level slog.Level, script string) []string {
	var out bytes.Buffer
	drop := func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.TimeKey, slog.LevelKey, "session", "remote", "transaction":
			return slog.Attr{}
		}
		return a
	}
	srv := esmtptest.NewServer(t, &esmtp.Server{
		Hostname:   "mx.example.org",
		NewHandler: esmtp.Stack(log.NewLayer),
		Logger:     slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level, ReplaceAttr: drop})),
	})
	srv.Dial().Run(script)
	srv.Shutdown(context.Background())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return slices.DeleteFunc(lines, transcript.MatchString)
}

// transcript are the lines that the engine itself writes at debug level.
var transcript = regexp.MustCompile(`^msg=(command|reply|challenge|"message content") `)

const script = `
	S: 220 *
	C: EHLO client.example
	S: ...
	C: MAIL FROM:<ann@client.example> SIZE=10
	S: 250 *
	C: RCPT TO:<"a b"@example.org>
	S: 250 *
	C: DATA
	S: 354 *
	C: Subject: secret
	C:
	C: secret
	C: .
	S: 250 *
	C: VRFY x
	S: 252 *
	C: AUTH PLAIN AHNlY3JldA==
	S: 503 *
	C: LOGIN AHNlY3JldA==
	S: 500 *
	C: RSET
	S: 250 *
	C: QUIT
	S: 221 *
	close
`

func TestEveryVerbIsLoggedWithItsReply(t *testing.T) {
	got := run(t, new(logger.Logger), slog.LevelInfo, script)
	for i, want := range []string{
		`msg=CONNECT reply="220 2.0.0 mx.example.org ESMTP Mail Server" local=192.0.2.25:25`,
		`msg=EHLO reply="250 2.0.0 mx.example.org client.example, pleased to meet you / PIPELINING / `,
		`msg=MAIL reply="250 2.1.0 ann@client.example, sender ok" from=ann@client.example params="SIZE=10"`,
		`msg=RCPT reply="250 2.1.5 \"a b\"@example.org, recipient ok" to="\"a b\"@example.org" params=""`,
		`msg=DATA reply="354 Enter mail, end with \".\" on a line by itself" recipients=1`,
		`msg=EOH reply="the usual" ended_by="blank line" octets=`,
		`msg=EOM reply="250 2.0.0 Message accepted for delivery" octets=27`,
		`msg="message accepted"`,
		`msg=VRFY reply="252 2.0.0 Cannot VRFY user; try RCPT to attempt delivery" arg=x`,
		`msg=UNKNOWN reply="500 5.5.1" verb=LOGIN`,
		`msg=RSET reply="250 2.0.0 OK"`,
		`msg=QUIT reply="221 2.0.0 Closing connection"`,
		`msg=Closed reply=none why=QUIT messages=1`,
		`msg="session ended"`,
	} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Fatalf("line %d of\n%s\nwant %s", i+1, strings.Join(got, "\n"), want)
		}
	}
}

func TestNoSecretIsLogged(t *testing.T) {
	got := strings.Join(run(t, new(logger.Logger), slog.LevelDebug, script), "\n")
	for _, secret := range []string{"AHNl", "secret", "Subject"} {
		if strings.Contains(got, secret) {
			t.Errorf("%s is in the log:\n%s", secret, got)
		}
	}
}

func TestLevel(t *testing.T) {
	debug := &logger.Logger{Level: slog.LevelDebug}
	if got := run(t, debug, slog.LevelInfo, script); len(got) != 2 {
		t.Errorf("got %q at info level, want the engine's two lines", got)
	}
	if got := run(t, debug, slog.LevelDebug, script); len(got) != 14 {
		t.Errorf("got %d lines at debug level, want 14:\n%s", len(got), strings.Join(got, "\n"))
	}
}

func TestTextIsMadeSafe(t *testing.T) {
	got := run(t, new(logger.Logger), slog.LevelInfo, "S: 220 *\nC: EHLO x.example\nS: ...\nC| MAIL FROM:<a\u202eb@example.org> SMTPUTF8\\r\\n\nS: 250 *\n")
	if all := strings.Join(got, "\n"); strings.Contains(all, "\u202e") || !strings.Contains(all, `from=a?b@example.org`) {
		t.Errorf("got\n%s", all)
	}
}
