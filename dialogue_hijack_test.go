package esmtp_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// A44: a method can take the connection over, with what was read ahead.
func TestA44Hijack(t *testing.T) {
	var conn net.Conn
	var read []byte
	var session *esmtp.Session
	took := make(chan struct{})
	srv, log := newSpy(do("UNKNOWN", func(s *esmtp.Session) {
		session = s
		conn, read, _ = s.Hijack()
		if _, _, err := s.Hijack(); err != esmtp.ErrHijacked {
			t.Errorf("got %v from a second Hijack, want ErrHijacked", err)
		}
		s.Context() // must not read from it
		close(took)
	}))
	c := esmtptest.Dial(t, srv)
	c.Run(greeting + "C: NOOP\nC: TURN\nC: mine\nS: 250 *")
	<-took
	wantReason(t, log, esmtp.ErrHijacked)
	c.Send("more")
	defer conn.Close()
	session.Abort() // the session is over: it is not its connection any more
	r := bufio.NewReader(io.MultiReader(strings.NewReader(string(read)), conn))
	for _, want := range []string{"mine\r\n", "more\r\n"} {
		if got, err := r.ReadString('\n'); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	io.WriteString(conn, "200 hello\r\n")
	c.Expect("200 hello")
}

// Wherever it is called, the engine reads nothing more from a connection that was taken.
func TestHijackInEveryMessageHook(t *testing.T) {
	for _, verb := range []string{"DATA", "HEADER", "EOH", "BODY", "EOM"} {
		for _, start := range []string{"C: DATA\n", "C: BDAT 100\n"} {
			var conn net.Conn
			srv, log := newSpy(do(verb, func(s *esmtp.Session) { conn, _, _ = s.Hijack() }))
			c := esmtptest.Dial(t, srv)
			script := opening + start
			if start == "C: DATA\n" && verb != "DATA" {
				script += "S: 354 *\n"
			}
			c.Run(script)
			if verb != "DATA" {
				text := "A: b\r\n\r\nbody\r\n"
				if verb == "EOM" && start != "C: DATA\n" {
					text += strings.Repeat("x", 86) + "BDAT 0 LAST\r\n"
				} else if verb == "EOM" {
					text += ".\r\n"
				}
				c.SendRaw(text)
			}
			if verb == "EOM" && start != "C: DATA\n" {
				c.Expect("250 *")
			}
			wantReason(t, log, esmtp.ErrHijacked)
			c.Send("left alone")
			got := make([]byte, 200)
			n, err := conn.Read(got)
			if string(got[:n]) != "left alone\r\n" || err != nil {
				t.Errorf("%s %s: got %q, %v from the connection, want what came after", verb, start, got[:n], err)
			}
			conn.Close()
		}
	}
}
