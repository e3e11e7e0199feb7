package caddymodule

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
)

// talkative is a handler that has a line say all that it can.
type talkative struct{ esmtp.Handler }

func (h *talkative) EHLO(s *esmtp.Session, name string) esmtp.Reply {
	r := h.Handler.EHLO(s, name)
	r.Lines = append(slices.Clone(r.Lines), "MT-PRIORITY")
	return r
}

func (h *talkative) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	if to.Local() == "no" {
		return esmtp.Deny(550, 5, 1, 1, "no")
	}
	return h.Handler.RCPT(s, to)
}

func (*talkative) EOM(s *esmtp.Session) esmtp.Reply {
	s.Transaction().Discard("spam")
	return esmtp.OK()
}

func init() { Register[talkative]("test_talkative") }

var (
	fieldTable = regexp.MustCompile(`(?m)^\| field \|.*\n.*\n((?:\|.*\n)+)`)
	fieldRow   = regexp.MustCompile("(?m)^\\| ((?:`\\w+`(?:, )?)+) \\|")
	fieldName  = regexp.MustCompile("`(\\w+)`")
)

// documentedFields are those of the lines of the access log, as the page has them: of transactions, and of sessions. Its first table has what
// both have, the next two what each has besides.
func documentedFields(t *testing.T) (transaction, session map[string]bool) {
	t.Helper()
	page, err := os.ReadFile("../docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	transaction, session = make(map[string]bool), make(map[string]bool)
	for i, table := range fieldTable.FindAllStringSubmatch(string(page), 3) {
		for _, row := range fieldRow.FindAllStringSubmatch(table[1], -1) {
			for _, name := range fieldName.FindAllStringSubmatch(row[1], -1) {
				if i != 2 {
					transaction[name[1]] = true
				}
				if i != 1 {
					session[name[1]] = true
				}
			}
		}
	}
	return transaction, session
}

// The page has all fields of the lines, and no others.
func TestEveryFieldOfTheAccessLogIsDocumented(t *testing.T) {
	addr, file := freeAddress(t), filepath.Join(tempDir(t), "log")
	trust := tlsCaddy(t, addr+` {
		hostname mx.example.internal
		tls
		xclient 127.0.0.1
		xforward 127.0.0.1
		@near remote_ip 127.0.0.1
		test_certified
		handle @near {
			test_talkative
		}
	}
	}
	log fields {
		include esmtp.access
		format json
		output file `+file+" {\nroll_disabled\n}\n", "mx.example.internal") // what comes behind it closes the log
	c := dialFrom(t, "127.0.0.1", addr)
	c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: STARTTLS\nS: 220 *")
	if err := c.StartTLS(trust); err != nil {
		t.Fatal(err)
	}
	c.Run("C: EHLO a\nS: 250-*\nS: ...\nC: XCLIENT NAME=a.example LOGIN=ann\nS: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: XFORWARD ADDR=192.0.2.1\nS: 250 *\n" +
		"C: MAIL FROM:<a@b> MT-PRIORITY=4\nS: 250 *\nC: RCPT TO:<c@d>\nS: 250 *\nC: RCPT TO:<no@d>\nS: 550 *\nC: DATA\nS: 354 *\nC: .\nS: 250 *\n" +
		"C: MAIL FROM:<a@b>\nS: 250 *\nC: RSET\nS: 250 *\n" + goodbye)
	settle(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	transaction, session := make(map[string]bool), make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		of := transaction
		if fields["msg"] == "session ended" {
			of = session
		}
		for name := range fields {
			of[name] = true
		}
	}
	wantTransaction, wantSession := documentedFields(t)
	for _, test := range []struct{ got, want map[string]bool }{{transaction, wantTransaction}, {session, wantSession}} {
		maps.DeleteFunc(test.got, func(name string, _ bool) bool { return slices.Contains([]string{"level", "ts", "logger", "msg"}, name) }) // Caddy's own
		if !maps.Equal(test.got, test.want) {
			t.Errorf("the lines have\n%q\ndocs/logs.md\n%q", slices.Sorted(maps.Keys(test.got)), slices.Sorted(maps.Keys(test.want)))
		}
	}
}
