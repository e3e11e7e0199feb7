package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// What the backend says to its client is what our client hears, octet for octet: code, enhanced status code, all lines.
func TestTheNextHopsAnswerIsTheClientsAnswer(t *testing.T) {
	const dialogue = "MAIL FROM:<ann@example.org>\r\nRCPT TO:<a@example.net>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
	for name, answers := range map[string]map[string]esmtp.Reply{
		"plain":         {},
		"multi-line":    {"MAIL": esmtp.OK("one", "two", "three"), "a": esmtp.Deny(251, 2, 1, 5, "will forward", "to <x@example.com>"), "EOM": esmtp.Deny(250, 2, 6, 0, "queued", "as 12345")},
		"refused MAIL":  {"MAIL": esmtp.Deny(550, 5, 7, 1, "not you", "see https://example.net/why")},
		"later MAIL":    {"MAIL": esmtp.Deny(451, 4, 7, 1, "greylisted")},
		"one recipient": {"a": esmtp.Deny(550, 5, 1, 1, "no such user"), "b": esmtp.Deny(250, 2, 1, 5, "fine")},
		"no recipient":  {"a": esmtp.Deny(550, 5, 1, 1, "no such user"), "b": esmtp.Deny(452, 4, 2, 2, "full")},
		"DATA":          {"DATA": esmtp.Deny(554, 5, 7, 0, "no", "never")},
		"354":           {"DATA": esmtp.Say(354, "go", "on")},
		"message":       {"EOM": esmtp.Deny(554, 5, 7, 1, "spam", "score 99")},
		"message later": {"EOM": esmtp.Deny(451, 4, 3, 0, "disk", "is on fire")},
		"header":        {"HEADER": esmtp.Deny(554, 5, 6, 0, "bad header")},
		"421 to RCPT":   {"b": esmtp.Deny(421, 4, 7, 0, "too many errors")},
		"421 to MAIL":   {"MAIL": esmtp.Deny(421, 4, 3, 2, "going down")},
		"421 at end":    {"EOM": esmtp.Deny(421, 4, 3, 2, "going down")},
	} {
		t.Run(name, func(t *testing.T) {
			b := (&box{answers: answers}).serve(t)
			direct, err := net.Dial("tcp", b.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer direct.Close()
			play := func(conn net.Conn) string {
				conn.SetDeadline(time.Now().Add(20 * time.Second))
				c := &talk{t: t, conn: conn}
				c.in = bufio.NewReader(conn)
				c.reply()
				c.cmd("EHLO client.example", "250")
				got := ""
				for line := range strings.SplitAfterSeq(dialogue, "\n") {
					if line == "" {
						break
					}
					c.send(line)
					reply := c.reply()
					if got += reply; strings.HasPrefix(reply, "421") {
						rest, _ := io.ReadAll(c.in)
						return got + string(rest) + "closed"
					}
				}
				if strings.Contains(got, "354") {
					c.send(text + ".\r\n")
					got += c.reply()
				}
				return got
			}
			want := play(direct)
			got := play(dial(t, front(t, to(t, b), nil)))
			if name == "no recipient" { // the engines say it, each on its own
				want, got = want[:strings.Index(want, "452")], got[:strings.Index(got, "452")]
			}
			if got != want {
				t.Errorf("got\n%q, want\n%q", got, want)
			}
		})
	}
}

// However a message comes, and however it is cut, it arrives octet for octet.
func TestOctetForOctet(t *testing.T) {
	dots := strings.NewReplacer("\r\n.", "\r\n..").Replace(text)
	binary := "Subject: b\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\x01\r\n.\r\n\r\r\n\n.\n" + strings.Repeat("\xff\n\r", 50000)
	for name, test := range map[string]struct{ params, wire, want string }{
		"data":        {"", "DATA\r\n" + dots + ".\r\n", text},
		"8bit":        {" BODY=8BITMIME SMTPUTF8", "DATA\r\n" + dots + ".\r\n", text},
		"chunk":       {"", fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text), text},
		"chunks":      {"", fmt.Sprintf("BDAT 10\r\n%sBDAT %d\r\n%sBDAT 0 LAST\r\n", text[:10], len(text)-10, text[10:]), text},
		"binary":      {" BODY=BINARYMIME", fmt.Sprintf("BDAT %d LAST\r\n%s", len(binary), binary), binary},
		"two chunks":  {" BODY=BINARYMIME", fmt.Sprintf("BDAT 99999\r\n%sBDAT %d LAST\r\n%s", binary[:99999], len(binary)-99999, binary[99999:]), binary},
		"no header":   {"", "DATA\r\n\r\nbody\r\n.\r\n", "\r\nbody\r\n"},
		"header only": {"", "DATA\r\nA: b\r\nC: d\r\n e\r\n.\r\n", "A: b\r\nC: d\r\n e\r\n"},
		"empty":       {"", "DATA\r\n.\r\n", ""},
		"no blank":    {"", "DATA\r\nA: b\r\nnot a field\r\n.\r\n", "A: b\r\n\r\nnot a field\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			b := new(box).serve(t)
			srv := front(t, to(t, b), nil)
			one := "MAIL FROM:<ann@example.org>" + test.params + "\r\nRCPT TO:<bob@example.net>\r\n" + test.wire
			out := say(t, srv, "EHLO c.example\r\n"+one+one+"QUIT\r\n")
			got := b.got()
			if len(got) != 2 {
				t.Fatalf("%d messages: %s", len(got), out)
			}
			for _, l := range got {
				if body := cutTrace(t, l.body); body != test.want {
					t.Errorf("got %.300q, want %.300q", body, test.want)
				}
			}
			if b.connections() != 2 { // one that asked what there is, and one for both messages
				t.Errorf("%d connections", b.connections())
			}
		})
	}
}

// A large message costs no more memory than a small one.
func TestALargeMessageStreams(t *testing.T) {
	const size = 20 << 20
	b := (&box{discard: true, size: 50 << 20}).serve(t)
	srv := front(t, to(t, b), func(s *esmtp.Server) { s.Limits.MessageBytes = 50 << 20 })
	c := begin(t, srv)
	c.cmd("MAIL FROM:<ann@example.org>", "250")
	c.cmd("RCPT TO:<bob@example.net>", "250")
	c.cmd("DATA", "354")
	c.send("Subject: large\r\n\r\n")
	block := strings.Repeat(strings.Repeat("x", 76)+"\r\n", 1000)
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for sent := 0; sent < size; sent += len(block) {
		c.send(block)
		b.set(func() {
			if behind := int64(sent) - b.octets; behind > 8<<20 { // the sockets between hold some
				t.Fatalf("%d octets are kept on the way", behind)
			}
		})
	}
	runtime.GC()
	runtime.ReadMemStats(&now) // the message isn't over yet
	if grown := int64(now.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("the heap has grown by %d octets", grown)
	}
	c.cmd(".", "250")
	b.set(func() {
		if len(b.letters) != 1 || b.octets < size {
			t.Errorf("%d octets arrived", b.octets)
		}
	})
}

// Wherever the next hop breaks off, the client hears 451, the session goes on, and nothing is delivered. A message that is sent again goes over a new
// connection.
func TestTheNextHopDies(t *testing.T) {
	for _, verb := range []string{"MAIL", "RCPT", "DATA", "HEADER", "BODY", "EOM"} {
		t.Run(verb, func(t *testing.T) {
			var died atomic.Bool
			b := &box{}
			b.hook = func(v string, s *esmtp.Session) esmtp.Reply {
				if v != verb || died.Swap(true) {
					return esmtp.Reply{}
				}
				return esmtp.Drop
			}
			b.serve(t)
			p := to(t, b)
			c := begin(t, front(t, p, nil))
			codes := ""
			note := func(line string) string {
				c.send(line + "\r\n")
				r := c.reply()
				codes += r[:3] + " "
				return r[:3]
			}
			note("MAIL FROM:<ann@example.org>")
			note("RCPT TO:<bob@example.net>")
			if note("DATA") == "354" {
				note(text + ".")
			}
			if !strings.Contains(codes, "451") || len(b.got()) != 0 {
				t.Errorf("got %s, %d messages", codes, len(b.got()))
			}
			c.cmd("RSET", "250")
			for begun := time.Now(); ; { // a host that has failed is left alone for a second
				c.send("MAIL FROM:<ann@example.org>\r\n")
				if r := c.reply(); r[:3] == "250" {
					break
				} else if time.Since(begun) > 10*time.Second {
					t.Fatal(r)
				}
				time.Sleep(300 * time.Millisecond)
			}
			c.cmd("RCPT TO:<bob@example.net>", "250")
			c.cmd("DATA", "354")
			c.cmd(text+".", "250")
			if len(b.got()) != 1 {
				t.Errorf("%d messages", len(b.got()))
			}
		})
	}
}

// A message that its client doesn't finish is never finished on the other side.
func TestTheClientDies(t *testing.T) {
	for _, wire := range []string{"DATA\r\nSubject: x\r\n", "DATA\r\nSubject: x\r\n\r\nbody\r\n", "BDAT 20\r\nSubject: x\r\n\r\nabcdef", "BDAT 100 LAST\r\nSubject: x\r\n\r\nabcdef"} {
		for _, body := range []string{"", " BODY=BINARYMIME"} {
			if body != "" && wire[0] == 'D' {
				continue
			}
			b := new(box).serve(t)
			srv := front(t, to(t, b), nil)
			conn := dial(t, srv)
			c := &talk{t: t, conn: conn, in: bufio.NewReader(conn)}
			c.expect("220")
			c.cmd("EHLO client.example", "250")
			c.cmd("MAIL FROM:<ann@example.org>"+body, "250")
			c.cmd("RCPT TO:<bob@example.net>", "250")
			c.send(wire)
			conn.Close()
			b.waitClosed(t, 2)
			if len(b.got()) != 0 {
				t.Errorf("%q was delivered", wire)
			}
		}
	}
}

// waitClosed waits for the end of n sessions of the backend.
func (b *box) waitClosed(t testing.TB, n int) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < 10*time.Second; time.Sleep(5 * time.Millisecond) {
		done := false
		b.set(func() { done = b.closed >= n })
		if done {
			return
		}
	}
	t.Errorf("fewer than %d sessions of the backend have ended", n)
}

// RSET, EHLO and what else ends a transaction ends it there too, and the connection is used again; QUIT ends it.
func TestTheConnectionIsUsedAgain(t *testing.T) {
	b := new(box).serve(t)
	c := begin(t, front(t, to(t, b), nil))
	for _, end := range []string{"RSET", "EHLO client.example", "DATA"} {
		c.cmd("MAIL FROM:<ann@example.org>", "250")
		c.cmd("RCPT TO:<bob@example.net>", "250")
		if end == "DATA" {
			c.cmd("DATA", "354")
			c.cmd(text+".", "250")
			continue
		}
		c.cmd(end, "250")
	}
	c.cmd("QUIT", "221")
	b.waitClosed(t, 2)
	if got := b.got(); len(got) != 1 || b.connections() != 2 || b.resets != 2 || fmt.Sprint(got[0].to) != "[bob@example.net]" {
		t.Errorf("%d connections, %d RSET, got %+v", b.connections(), b.resets, got)
	}
}

// Who only knocks costs the backend nothing.
func TestNoMAILNoConnection(t *testing.T) {
	b := new(box).serve(t)
	srv := front(t, to(t, b), nil)
	for range 20 {
		begin(t, srv).cmd("QUIT", "221")
		say(t, srv, "HELO x\r\nRCPT TO:<a@b.example>\r\nQUIT\r\n")
	}
	if b.connections() != 1 {
		t.Errorf("%d connections, want one to ask what there is", b.connections())
	}
}

// A connection that the backend has closed in the meantime is made anew, and the client doesn't notice.
func TestAnIdleConnectionThatWasClosedIsReplaced(t *testing.T) {
	for _, how := range []esmtp.Reply{esmtp.Drop, esmtp.Deny(421, 4, 4, 2, "idle for too long")} {
		b := &box{hook: func(verb string, s *esmtp.Session) esmtp.Reply {
			if verb == "MAIL" && s.Messages() > 0 {
				return how
			}
			return esmtp.Reply{}
		}}
		c := begin(t, front(t, to(t, b.serve(t)), nil))
		for range 3 {
			c.cmd("MAIL FROM:<ann@example.org>", "250")
			c.cmd("RCPT TO:<bob@example.net>", "250")
			c.cmd("DATA", "354")
			c.cmd(text+".", "250")
		}
		if len(b.got()) != 3 || b.connections() != 4 {
			t.Errorf("%d messages, %d connections", len(b.got()), b.connections())
		}
	}
}
