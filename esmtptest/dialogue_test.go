package esmtptest_test

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// failing is a testing.TB that remembers its failure instead of failing.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	panic(f)
}

// fails runs a dialogue that has to fail, and returns with what message.
func fails(t *testing.T, script string) (message string) {
	t.Helper()
	f := &failing{TB: t}
	defer func() {
		if p := recover(); p != nil && p != any(f) {
			panic(p)
		}
		message = f.message
		if message == "" {
			t.Errorf("dialogue passed, want a failure:\n%s", script)
		}
	}()
	conn, err := esmtptest.NewServer(t, &esmtp.Server{}).Listener.Dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	esmtptest.NewClient(f, conn).Run(script)
	return ""
}

func TestDialogueFailureTellsLineAndTranscript(t *testing.T) {
	for _, test := range []struct{ name, script, want string }{
		{"another reply", "S: 220 *\nC: NOOP\nS: 500 *", "line :3: got \"250 2.0.0 OK\", want \"500 *\""},
		{"no close", "S: 220 *\nC: NOOP\nclose", "line :3: got \"250 2.0.0 OK\""},
		{"closed already", "S: 220 *\nC: QUIT\nS: 221 *\nS: 250 *", "EOF"},
		{"no step", "S: 220 *\nX: NOOP", "line :2: no step"},
		{"bad escape", "S: 220 *\nC| \\q", "line :2: invalid syntax"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := fails(t, test.script)
			if !strings.Contains(got, test.want) {
				t.Errorf("got failure %q, want one that contains %q", got, test.want)
			}
			if !strings.Contains(got, "S: 220 ") {
				t.Errorf("got failure %q, want one with the transcript", got)
			}
		})
	}
}

func TestDialogueSteps(t *testing.T) {
	esmtptest.Run(t, &esmtp.Server{Hostname: "mx.example.org"}, `
		# Lines that stand together are pipelined, and escapes can say anything.
		S: 220 mx.example.org ESMTP Mail Server
		C: EHLO me.example
		S: 250-mx.example.org me.example, pleased to meet you
		S: ...
		C: NOOP
		C| NO
		send
		C| OP\r\nNOOP a\x00b\r\n
		S: 250 *
		S: 250 2.0.0 *
		S: 500 5.5.2 *
		C: HELP
		S: ...
		leave
	`)
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"250 OK", "250 OK", true},
		{"250 OK", "250 OK ", false},
		{"250 *", "250 ", true},
		{"250 *", "250", false},
		{"*b*d", "abcd", true},
		{"*b*d", "abcde", false},
		{"*", "", true},
	} {
		if got := esmtptest.Match(test.pattern, test.text); got != test.want {
			t.Errorf("Match(%q, %q): got %v, want %v", test.pattern, test.text, got, test.want)
		}
	}
}

// A transcript shows lines as lines, and what is no line with its octets.
func TestTranscript(t *testing.T) {
	c := esmtptest.Dial(t, &esmtp.Server{Hostname: "mx.example.org"})
	c.Expect("220 *")
	c.Cmd("NOOP", "250 *")
	c.SendRaw("x\x00")
	const want = "S: 220 mx.example.org ESMTP Mail Server\nC: NOOP\nS: 250 2.0.0 OK\nC| \"x\\x00\"\n"
	if got := c.Transcript(); got != want {
		t.Errorf("got transcript\n%s\nwant\n%s", got, want)
	}
}
