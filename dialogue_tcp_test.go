package esmtp_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// Sockets are read in a way of their own (input_unix.go), so what is tested in memory is tested on them too.

// onSocket serves srv on a socket until the test is over, and returns how to connect to it.
func onSocket(t *testing.T, srv *esmtp.Server, network string) (dial func() net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	srv.Logger = esmtptest.NewLogger(t)
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		shutdown(t, srv)
		<-ended
	})
	return func() net.Conn {
		conn, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
}

func TestDialoguesOnSockets(t *testing.T) {
	files, err := filepath.Glob("esmtptest/testdata/*.smtp")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %v, %v, want dialogues", files, err)
	}
	for _, network := range []string{"tcp", "unix"} {
		dial := onSocket(t, &esmtp.Server{Hostname: "mx.example.org"}, network)
		for _, file := range files {
			t.Run(network+" "+filepath.Base(file), func(t *testing.T) {
				script, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				esmtptest.NewClient(t, dial()).Run(string(script))
			})
		}
	}
}

// A large message through the client of the standard library comes out octet for octet.
func TestNetSMTPDelivers(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		var got bytes.Buffer
		dial := onSocket(t, &esmtp.Server{NewHandler: func(*esmtp.Session) esmtp.Handler { return &keeper{got: &got} }}, network)
		text := "Subject: large\r\n\r\n" + strings.Repeat(".dot\r\n"+strings.Repeat("x", 70)+"\r\n", 20000)
		c, err := smtp.NewClient(dial(), "mx.example.org")
		if err != nil {
			t.Fatal(err)
		}
		w, err := begin(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := c.Quit(); err != nil {
			t.Fatal(err)
		}
		if got.String() != text {
			t.Errorf("%s: got %d octets, want the %d that were sent", network, got.Len(), len(text))
		}
	}
}

func begin(c *smtp.Client) (io.WriteCloser, error) {
	if err := c.Mail("a@me.example"); err != nil {
		return nil, err
	}
	if err := c.Rcpt("b@example.org"); err != nil {
		return nil, err
	}
	return c.Data()
}

// Octet by octet, as a slow client's packets come.
func TestOctetByOctetOnASocket(t *testing.T) {
	srv, log := newSpy(nil)
	c := esmtptest.NewClient(t, onSocket(t, srv, "tcp")())
	c.Expect("220 *")
	for _, octet := range []byte("EHLO me.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nBDAT 6\r\nA: b\r\nBDAT 0 LAST\r\nQUIT\r\n") {
		c.SendRaw(string(octet))
	}
	c.Run("S: ...\nS: 250 *\nS: 250 *\nS: 250 *\nS: 250 *\nS: 221 *\nclose")
	log.end(t)
	if want := lines("EHLO me.example\nMAIL\nRCPT b@example.org\nDATA\nHEADER A: b\nEOH end of message\nEOM\nQUIT"); log.String() != want {
		t.Errorf("got calls\n%swant\n%s", log, want)
	}
}

func TestContextEndsWithThePeerOnASocket(t *testing.T) {
	at, cause := make(chan struct{}), make(chan error, 1)
	srv, log := newSpy(func(s *esmtp.Session, verb, arg string) esmtp.Reply {
		if verb == "NOOP" {
			ctx := s.Context()
			if arg == "wait" {
				close(at)
				<-ctx.Done()
				cause <- context.Cause(ctx)
			}
		}
		return esmtp.Reply{}
	})
	c := esmtptest.NewClient(t, onSocket(t, srv, "tcp")())
	c.Run(greeting + "C: NOOP\nS: 250 *\nC: NOOP\nS: 250 *\nC: NOOP wait\nsend") // a watch that ended leaves no trace
	<-at
	c.Conn.Close()
	if got := <-cause; got != io.EOF {
		t.Errorf("got cause %v, want EOF", got)
	}
	log.end(t)
}

func TestShutdownOnASocket(t *testing.T) {
	srv, _ := newSpy(nil)
	dial := onSocket(t, srv, "tcp")
	idle, busy := esmtptest.NewClient(t, dial()), esmtptest.NewClient(t, dial())
	idle.Run(opening)
	busy.Run(opening + "C: DATA\nS: 354 *\nC: half")
	done := make(chan error)
	go func() { done <- srv.Shutdown(context.Background()) }()
	idle.Run(bye)
	busy.Run("C: .\nS: 250 *\n" + bye)
	if err := <-done; err != nil {
		t.Errorf("Shutdown: got %v, want nil", err)
	}
}

// A client that pipelines as the server shuts down gets every reply: to close at once would reset the connection, and what it has not read yet would be lost,
// the 250 of a message among it.
func TestShutdownLosesNoReplyOfATalker(t *testing.T) {
	srv, _ := newSpy(nil)
	srv.Limits.Junk = -1
	conn := onSocket(t, srv, "tcp")()
	defer conn.Close()
	c := esmtptest.NewClient(t, conn)
	c.Run(greeting)
	talker := make(chan struct{})
	go func() {
		defer close(talker)
		for range 100 {
			io.WriteString(conn, strings.Repeat("NOOP\r\n", 100))
		}
	}()
	go srv.Shutdown(context.Background())
	defer func() { <-talker }()
	text, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(text), "421 4.3.2") {
		t.Errorf("got %v, after %q", err, text[max(0, len(text)-200):])
	}
}
