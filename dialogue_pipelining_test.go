package esmtp_test

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// writes is a connection that counts its writes.
type writes struct {
	*esmtptest.Conn
	n atomic.Int32
}

func (w *writes) Write(p []byte) (int, error) {
	w.n.Add(1)
	return w.Conn.Write(p)
}

// RFC 2920 §3.2: replies to a group go out as one, and some must not wait.
func TestPipelinedRepliesAreGrouped(t *testing.T) {
	for _, test := range []struct {
		name, before, group string
		replies             int
		want                int32
	}{
		{"one command", opening, "RSET\r\n", 1, 1},
		{"an envelope", greeting + ehlo, "MAIL FROM:<>\r\nRCPT TO:<a@me.example>\r\nRCPT TO:<b@me.example>\r\n", 3, 1},
		{"(2.3) and DATA", greeting + ehlo, "MAIL FROM:<>\r\nRCPT TO:<a@me.example>\r\nDATA\r\n", 3, 1},
		{"RSET MAIL RCPT", opening, "RSET\r\nMAIL FROM:<>\r\nRCPT TO:<a@me.example>\r\n", 3, 1},
		{"(5) NOOP doesn't wait", opening, "RSET\r\nNOOP\r\nRSET\r\n", 3, 2},
		{"(5) VRFY and EXPN don't", opening, "VRFY a\r\nEXPN a\r\nRSET\r\n", 3, 3},
		{"(6) an unknown verb doesn't", opening, "RSET\r\nFOO\r\nRSET\r\n", 3, 2},
		{"(5) DATA doesn't wait for a message that came with it", opening, "DATA\r\n.\r\nRSET\r\n", 3, 2},
		{"messages by BDAT", opening, "BDAT 2 LAST\r\n\r\nMAIL FROM:<>\r\nRCPT TO:<a@me.example>\r\nBDAT 2 LAST\r\n\r\n", 4, 1},
		{"the end of a message and the next envelope", opening + "C: DATA\nS: 354 *", ".\r\nMAIL FROM:<>\r\nRCPT TO:<a@me.example>\r\n", 3, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := esmtptest.Pipe()
				conn := &writes{Conn: server}
				srv, _ := newSpy(nil)
				srv.Logger = esmtptest.NewLogger(t)
				go srv.ServeConn(conn)
				c := esmtptest.NewClient(t, client)
				c.Run(test.before)
				synctest.Wait()
				conn.n.Store(0)
				// The first octet comes alone: an idle session waits without a buffer, and takes one for the rest.
				c.SendRaw(test.group)
				synctest.Wait()
				if got := conn.n.Load(); got != test.want {
					t.Errorf("got %d writes, want %d", got, test.want)
				}
				for range test.replies {
					if _, err := c.ReadReply(); err != nil {
						c.Fatalf("got %v, want %d replies", err, test.replies)
					}
				}
				c.Conn.Close()
			})
		})
	}
}

// RFC 2920 §3.2 (7): what was answered is sent before the server waits, in a message too.
func TestRepliesDoNotWaitForMoreInput(t *testing.T) {
	c := esmtptest.Dial(t, new(esmtp.Server))
	c.Run(greeting + ehlo + "C: MAIL FROM:<>\nC| RC\nS: 250 *\nC| PT TO:<a@me.example>\\r\\nDATA\\r\\nhalf\nS: 250 *\nS: 354 *")
	c.Run(`C|\r\n.\r\nRSET\r\nRS` + "\nS: 250 *\nS: 250 *\n" + `C|ET\r\n` + "\nS: 250 *")
}

// steady is the mean of allocations for what a client sends in a session that goes on.
func steady(t *testing.T, script, octets, reply string) float64 {
	t.Helper()
	srv := &esmtp.Server{Hostname: "mx.example.org", Logger: slog.New(slog.DiscardHandler),
		Limits: esmtp.Limits{Junk: -1, Messages: -1, Recipients: -1, MessageBytes: -1}}
	c := esmtptest.Dial(t, srv)
	c.Run(script)
	out, in, want := []byte(octets), make([]byte, 64), []byte(reply)
	return testing.AllocsPerRun(1000, func() {
		c.Conn.Write(out)
		if reply == "" {
			return
		}
		n, err := io.ReadAtLeast(c.Conn, in, len(want))
		if err != nil || !bytes.HasPrefix(in[:n], want) {
			t.Errorf("got %q, %v, want %q", in[:n], err, reply)
		}
	})
}

// In a session that goes on commands cost no memory of their own.
func TestNothingIsAllocatedPerCommand(t *testing.T) {
	for _, test := range []struct {
		name, script, octets, reply string
		most                        float64
	}{
		{"NOOP", greeting, "NOOP\r\n", "250 2.0.0 OK", 0},
		{"RSET", greeting, "RSET\r\n", "250 2.0.0 OK", 0},
		{"RCPT", greeting + ehlo + "C: MAIL FROM:<>\nS: 250 *", "RCPT TO:<b@example.org>\r\n", "250 2.1.5 b@example.org", 0},
		{"MAIL", greeting + ehlo, "MAIL FROM:<a@me.example>\r\nRSET\r\n", "250 2.1.0 a@me.example, sender ok\r\n250 2.0.0 OK", 1},
		{"VRFY", greeting, "VRFY x\r\n", "252 2.0.0 ", 1},
		{"64 KiB of body", opening + "C: DATA\nS: 354 *\nC:", strings.Repeat(strings.Repeat("x", 62)+"\r\n", 1024), "", 0},
	} {
		if got := steady(t, test.script, test.octets, test.reply); got > test.most {
			t.Errorf("%s: got %v allocations, want %v", test.name, got, test.most)
		}
	}
}
