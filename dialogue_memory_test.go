package esmtp_test

import (
	"bufio"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// taker takes the fields of a header, which the engine leaves out if nobody does.
type taker struct{ esmtp.Default }

func (taker) HEADER(*esmtp.Session, string, string) esmtp.Reply { return esmtp.Reply{} }

// quiet is a server that logs nothing.
func quiet(limits esmtp.Limits) *esmtp.Server {
	return &esmtp.Server{Hostname: "mx.example.org", Limits: limits, Logger: slog.New(slog.DiscardHandler),
		Timeouts:   esmtp.Timeouts{ErrorDelay: -1},
		NewHandler: func(*esmtp.Session) esmtp.Handler { return new(taker) }}
}

// flood sends octets so many times, drops the replies, and returns how much of the heap the session holds on to when all is
// done, and whether the server was there to the end.
func flood(t *testing.T, srv *esmtp.Server, script, octets string, times int) (grown int64, open bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := esmtptest.Dial(t, srv)
		c.Patience = 0
		c.Run(script)
		synctest.Wait()
		before := heap()
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			io.Copy(io.Discard, bufio.NewReaderSize(c.Conn, 1<<16))
		}()
		open = true
		for range times {
			if _, err := io.WriteString(c.Conn, octets); err != nil {
				open = false
				break
			}
		}
		synctest.Wait() // what is thrown away while the heap is measured would count
		grown = int64(heap()) - int64(before)
		c.Conn.(*esmtptest.Conn).CloseWrite()
		<-drained
	})
	return grown, open
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first one left in pools
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Nothing that a client does makes memory grow, not even with the limits that would end it early taken away.
func TestMemoryStaysFlat(t *testing.T) {
	off := esmtp.Limits{HeaderBytes: -1, HeaderFields: -1, MessageBytes: -1, Messages: -1, Recipients: -1, Errors: -1, Junk: -1,
		MinDataRate: -1}
	data := opening + "C: DATA\nS: 354 *\n"
	block := func(s string) string { return strings.Repeat(s, max(1, 32<<10/len(s))) }
	for _, test := range []struct {
		name, script, octets string
		kib                  int
	}{
		{"body", data + `C|\r\n` + "\n", block(strings.Repeat("x", 76) + "\r\n"), 4096},
		{"body of one line", data + `C|\r\n` + "\n", block("x"), 4096},
		{"fields", data, block("A:\r\n"), 2048},
		{"fields with odd names", data, block("__proto__: x\r\n!: y\r\n" + strings.Repeat("n", 1000) + ": z\r\n"), 2048},
		{"refused body", opening + "C: DATA\nS: 354 *\n" + `C|\n`, block("x\n\r"), 2048},
		{"chunks", opening, block("BDAT 1\r\nx"), 1536},
		{"commands", greeting, block("NOOP\r\nRSET\r\nVRFY x\r\n"), 1536},
		{"unknown verbs", greeting, block("FOO bar\r\nGOT\r\n\r\n\x00\r\n"), 1536},
		{"greetings", greeting, block("EHLO me.example\r\nHELO me.example\r\n"), 1536},
		{"transactions", greeting + ehlo, block("MAIL FROM:<a@me.example>\r\nRCPT TO:<b@me.example>\r\nRSET\r\n"), 1536},
		{"messages", greeting + ehlo, block("MAIL FROM:<a@me.example>\r\nRCPT TO:<b@me.example>\r\nDATA\r\nA: b\r\n\r\nc\r\n.\r\n"), 1536},
	} {
		t.Run(test.name, func(t *testing.T) {
			grown, open := flood(t, quiet(off), test.script, test.octets, test.kib<<10/len(test.octets))
			if grown > 512<<10 || !open {
				t.Errorf("got %d KiB more after %d KiB, open: %v; want less than 512 KiB and open", grown>>10, test.kib, open)
			}
		})
	}
}

// Refused recipients are kept for the handler, but not without end.
func TestRefusedRecipientsAreBounded(t *testing.T) {
	got := 0
	srv, _ := newSpy(func(s *esmtp.Session, verb, _ string) esmtp.Reply {
		switch verb {
		case "RCPT":
			return esmtp.Deny(550, 5, 1, 1, "nobody here")
		case "NOOP":
			got = len(s.Transaction().Refused())
		}
		return esmtp.Reply{}
	})
	srv.Limits.Errors = -1
	c := esmtptest.Dial(t, srv)
	c.Run(greeting + ehlo + "C: MAIL FROM:<>\nS: 250 *")
	for range 15 {
		c.SendRaw(strings.Repeat("RCPT TO:<b@me.example>\r\n", 100))
		for range 100 {
			c.Expect("550 5.1.1 *")
		}
	}
	c.Cmd("NOOP", "250 *")
	if got != 1000 {
		t.Errorf("got %d refused recipients, want the first 1000", got)
	}
}

// What is out of all bounds is not even read to its end.
func TestFloodsAreCut(t *testing.T) {
	data := opening + "C: DATA\nS: 354 *\n"
	for _, test := range []struct{ name, script, octets string }{
		{"a command line without end", greeting, strings.Repeat("x", 1<<14)},
		{"a command line of spaces", greeting, strings.Repeat(" ", 1<<14)},
		{"a million chunks", opening, strings.Repeat("BDAT 1\r\nx", 1000)},
		{"a million commands", greeting, strings.Repeat("NOOP\r\n", 1000)},
		{"a million errors", greeting, strings.Repeat("FOO\r\n", 1000)},
		{"a million empty lines", greeting, strings.Repeat("\r\n", 1000)},
		{"a million fields", data, strings.Repeat("A: b\r\n", 1000)},
		{"a field of a million folds", data + "C: A: b\n", strings.Repeat(" b\r\n", 1000)},
		{"a field without end", data + "C| A: \n", strings.Repeat("b", 1<<14)},
		{"a message without end", data, strings.Repeat("b\r\n", 10000)},
		{"a chunk without end", opening + "C: BDAT 9000000000000000000\n", strings.Repeat("b", 1<<14)},
	} {
		t.Run(test.name, func(t *testing.T) {
			const most = 3 << 20
			srv := quiet(esmtp.Limits{MessageBytes: 1 << 20})
			if _, open := flood(t, srv, test.script, test.octets, most/len(test.octets)); open {
				t.Errorf("got %d octets read, want the connection closed before", most)
			}
		})
	}
}
