package esmtp_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// logLines are those of a log in JSON.
func logLines(t *testing.T, log *bytes.Buffer) (all []map[string]any) {
	t.Helper()
	for decoder := json.NewDecoder(log); ; {
		var line map[string]any
		if err := decoder.Decode(&line); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, line)
	}
}

// judge gives messages from "hold@…" and the like that verdict, and refuses those from "refuse@…".
type judge struct {
	users
	from string
}

func (j *judge) MAIL(s *esmtp.Session, from esmtp.Path) esmtp.Reply {
	j.from = from.Local()
	return j.users.MAIL(s, from)
}

func (j *judge) EOM(s *esmtp.Session) esmtp.Reply {
	tx := s.Transaction()
	switch j.from {
	case "hold":
		tx.Hold("looks odd")
	case "discard":
		tx.Discard("spam")
	case "quarantine":
		tx.Quarantine("virus", esmtp.Deny(550, 5, 7, 1, "no viruses"))
	case "refuse":
		return esmtp.Deny(550, 5, 7, 1, "no")
	case "later":
		return esmtp.Deny(451, 4, 7, 1, "later")
	}
	tx.TakeVerdict()
	return j.users.EOM(s)
}

// A line of the access log tells who, from where, how, what, and what became of it; a field has the same name and type in all lines.
func TestAccessLogHasTheFields(t *testing.T) {
	srv, config := tlsServer(t)
	var access, log bytes.Buffer
	srv.AccessLog = slog.New(slog.NewJSONHandler(&access, nil))
	srv.Logger = slog.New(slog.NewJSONHandler(&log, nil))
	srv.NewHandler = func(*esmtp.Session) esmtp.Handler { return &judge{users: users{mechanisms: allMechanisms}} }
	c := esmtptest.NewServer(t, srv).Dial()
	c.Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...")
	startTLS(t, c, config)
	c.Run("C: EHLO client.example\nS: 250-*\nS: ...")
	if reply := login(t, c, sasl.NewPlainClient("", "ann", "secret"), true); !strings.HasPrefix(reply, "235") {
		t.Fatal(reply)
	}
	for _, from := range []string{"ann", "hold", "discard", "quarantine", "refuse", "later"} {
		c.Run("C: MAIL FROM:<" + from + "@client.example>\nS: 250 *\nC: RCPT TO:<bob@example.org>\nS: 250 *\nC: RCPT TO:<cid@example.org>\nS: 250 *\nC: DATA\nS: 354 *\nC: A: b\nC: .\nS: *")
	}
	c.Run("C: QUIT\nS: 221 *\nclose")
	shutdown(t, srv)

	all := access.String() + log.String()
	got := logLines(t, &access)
	if len(got) != 7 {
		t.Fatalf("got %d lines, want 7: %v", len(got), got)
	}
	client := []string{"helo", "level", "mechanism", "msg", "protocol", "remote", "session", "time", "tls", "user"}
	message := append([]string{"from", "handle", "octets", "receive", "recipients", "refused", "reply", "to", "transaction", "verdict"}, client...)
	for i, want := range []struct{ msg, verdict, reason string }{
		{"message accepted", "accepted", ""}, {"message accepted", "held", "looks odd"}, {"message accepted", "discarded", "spam"},
		{"message refused", "quarantined", "virus"}, {"message refused", "refused_permanently", ""}, {"message refused", "refused_temporarily", ""},
	} {
		fields := message
		if want.reason != "" {
			fields = append(slices.Clone(message), "reason")
		}
		slices.Sort(fields)
		line := got[i]
		if names := slices.Sorted(maps.Keys(line)); !slices.Equal(names, fields) {
			t.Errorf("got fields %q, want %q", names, fields)
		}
		if line["msg"] != want.msg || line["verdict"] != want.verdict || want.reason != "" && line["reason"] != want.reason {
			t.Errorf("got %v, want %v", line, want)
		}
	}
	page, err := os.ReadFile("docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range got {
		for name := range line {
			if name != "time" && name != "level" && name != "msg" && !bytes.Contains(page, []byte("`"+name+"`")) {
				t.Errorf("docs/logs.md doesn't mention %s", name)
			}
		}
	}
	first := got[0]
	if text := fmt.Sprintln(first["from"], first["to"], first["recipients"], first["octets"], first["user"], first["mechanism"], first["protocol"], first["helo"]); text !=
		"ann@client.example [bob@example.org cid@example.org] 2 6 ann PLAIN ESMTPSA client.example\n" {
		t.Errorf("got %s", text)
	}
	if tls := first["tls"].(map[string]any); tls["version"] != "TLS 1.3" || !strings.HasPrefix(tls["cipher"].(string), "TLS_") || tls["server_name"] != tlsHost {
		t.Errorf("got %v", tls)
	}
	end := append([]string{"duration", "errors", "messages", "octets_in", "octets_out", "transactions", "why"}, client...)
	slices.Sort(end)
	if names := slices.Sorted(maps.Keys(got[6])); !slices.Equal(names, end) {
		t.Errorf("got fields %q, want %q", names, end)
	}
	if strings.Contains(all, "secret") || !strings.Contains(log.String(), `"authenticated"`) || strings.Contains(log.String(), "session ended") {
		t.Errorf("got log\n%s", log.String())
	}
}

// A line stays short, however many recipients there are.
func TestAccessLogNamesAHundredRecipients(t *testing.T) {
	var access bytes.Buffer
	srv := &esmtp.Server{AccessLog: slog.New(slog.NewJSONHandler(&access, nil)), Logger: slog.New(slog.DiscardHandler)}
	script := "S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: MAIL FROM:<a@b>\nS: 250 *\n" + strings.Repeat("C: RCPT TO:<c@d>\nS: 250 *\n", 150)
	esmtptest.NewServer(t, srv).Dial().Run(script + "C: DATA\nS: 354 *\nC: .\nS: 250 *\nC: QUIT\nS: 221 *\nclose\nleave")
	shutdown(t, srv)
	if line := logLines(t, &access)[0]; line["recipients"] != 150.0 || len(line["to"].([]any)) != 100 {
		t.Errorf("got %v", line)
	}
}

// An observer that is told of a handshake can see what came of it, after STARTTLS as from the start.
func TestObserverSeesTheTLSState(t *testing.T) {
	srv, config := tlsServer(t)
	seen := make(chan string, 1)
	srv.Observer.Secured = func(s *esmtp.Session, _ time.Duration, err error) {
		seen <- fmt.Sprint(s.TLS() != nil && s.TLS().HandshakeComplete, err)
	}
	c := esmtptest.Dial(t, srv)
	c.Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...")
	startTLS(t, c, config)
	if got := <-seen; got != "true <nil>" {
		t.Errorf("got %s", got)
	}
	c.Run("C: QUIT\nS: 221 *\nclose")
}

// A transaction in which no message came whole has its line too: who was refused and why, and what ended it.
func TestAccessLogHasTransactionsWithoutAMessage(t *testing.T) {
	const mail, bob, nobody = "C: MAIL FROM:<ann@client.example>\nS: 250 *\n", "C: RCPT TO:<bob@example.org>\nS: 250 *\n", "C: RCPT TO:<nobody@example.org>\nS: 550 *\n"
	for _, test := range []struct{ name, script, to, refusals, why, reply string }{
		{"nobody was accepted", mail + nobody + "C: DATA\nS: 554 *\nC: QUIT\nS: 221 *\nclose", "[]", "[nobody@example.org: 550 5.1.1 who?]", "QUIT", "<nil>"},
		{"the client thought better of it", mail + bob + nobody + "C: RSET\nS: 250 *\nC: QUIT\nS: 221 *\nclose", "[bob@example.org]", "[nobody@example.org: 550 5.1.1 who?]", "RSET", "<nil>"},
		{"it said EHLO", mail + bob + "C: EHLO again\nS: 250-*\nS: ...\nC: QUIT\nS: 221 *\nclose", "[bob@example.org]", "<nil>", "EHLO", "<nil>"},
		{"it left in DATA", mail + bob + "C: DATA\nS: 354 *\nC: A: b\nclose", "[bob@example.org]", "<nil>", "EOF", "<nil>"},
		{"far over the limit", mail + bob + "C: DATA\nS: 354 *\nC: " + strings.Repeat("x", 900) + strings.Repeat("\nC: "+strings.Repeat("x", 900), 150) + "\nS: 421 *\nclose",
			"[bob@example.org]", "<nil>", esmtp.ErrProtocol.Error(), "552 5.3.4 Message too big for this system"},
		{"in BDAT", mail + bob + "C: BDAT 3\nC| abc\nS: 250 *\nC: QUIT\nS: 221 *\nclose", "[bob@example.org]", "<nil>", "QUIT", "<nil>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			srv, _ := newSpy(func(s *esmtp.Session, verb, arg string) esmtp.Reply {
				if verb == "RCPT" && strings.HasPrefix(arg, "nobody@") {
					return esmtp.Deny(550, 5, 1, 1, "who?")
				}
				return esmtp.Reply{}
			})
			var access bytes.Buffer
			srv.AccessLog = slog.New(slog.NewJSONHandler(&access, nil))
			srv.Limits.MessageBytes = 1000
			c := esmtptest.NewServer(t, srv).Dial()
			c.Run(greeting + "C: EHLO client.example\nS: 250-*\nS: ...\n" + strings.TrimSuffix(test.script, "\nclose"))
			c.Conn.Close()
			shutdown(t, srv)
			lines := logLines(t, &access)
			if len(lines) != 2 || lines[0]["msg"] != "transaction ended" || lines[1]["msg"] != "session ended" {
				t.Fatalf("got %v", lines)
			}
			l := lines[0]
			if got := fmt.Sprintln(l["from"], l["to"], l["refusals"], l["why"], l["reply"]); got != fmt.Sprintln("ann@client.example", test.to, test.refusals, test.why, test.reply) {
				t.Errorf("got %s", got)
			}
		})
	}
}
