package caddymodule

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// traffic is clients that connect, say what there is to say and leave, again and again.
type traffic struct {
	network, address string
	first            string // sent before all else
	hostname         string // in the greeting

	sessions, messages atomic.Int64
	lost               sync.Map // errors
	done               chan struct{}
	clients            sync.WaitGroup
}

// start starts clients, of which every other one delivers messages.
func (tr *traffic) start(clients int) {
	tr.done = make(chan struct{})
	for i := range clients {
		tr.clients.Go(func() {
			for {
				select {
				case <-tr.done:
					return
				default:
				}
				if err := tr.session(i%2 == 1); err != nil {
					tr.lost.Store(err.Error(), true)
				}
			}
		})
	}
}

// goOn waits until some more sessions have come to their end.
func (tr *traffic) goOn(t *testing.T) {
	t.Helper()
	before := tr.sessions.Load()
	eventually(t, func() string {
		if tr.sessions.Load() < before+8 {
			return "clients don't get through"
		}
		return ""
	})
}

// end ends the clients, and fails the test if one of them has lost a connection.
func (tr *traffic) end(t *testing.T) {
	t.Helper()
	close(tr.done)
	tr.clients.Wait()
	tr.lost.Range(func(err, _ any) bool {
		t.Errorf("lost: %s", err)
		return true
	})
	t.Logf("%d sessions, %d messages", tr.sessions.Load(), tr.messages.Load())
	if tr.sessions.Load() == 0 {
		t.Error("no client has got through")
	}
}

// session is one session, with a message or without.
func (tr *traffic) session(deliver bool) error {
	conn, err := net.Dial(tr.network, tr.address)
	if err != nil {
		return err
	}
	return tr.talk(conn, deliver)
}

// talk is a session on a connection, which it closes.
func (tr *traffic) talk(conn net.Conn, deliver bool) error {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	if tr.first != "" {
		fmt.Fprint(conn, tr.first)
	}
	c := textproto.NewConn(conn)
	_, greeting, err := c.ReadResponse(220)
	if err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	if !strings.HasPrefix(greeting, tr.hostname) {
		return fmt.Errorf("greeting: %q", greeting)
	}
	type step struct {
		line string
		code int
	}
	steps := []step{{"EHLO client.example", 250}, {"QUIT", 221}}
	if deliver {
		steps = []step{{"EHLO client.example", 250}, {"MAIL FROM:<>", 250}, {"RCPT TO:<a@b.example>", 250}, {"DATA", 354},
			{"Subject: x\r\n\r\nhello\r\n.", 250}, {"QUIT", 221}}
	}
	for _, s := range steps {
		if err := c.PrintfLine("%s", s.line); err != nil {
			return fmt.Errorf("%q: %w", s.line, err)
		}
		if _, _, err := c.ReadResponse(s.code); err != nil {
			return fmt.Errorf("%q: %w", s.line, err)
		}
	}
	tr.sessions.Add(1)
	if deliver {
		tr.messages.Add(1)
	}
	return nil
}

// openFiles counts the process's file descriptors, where the system tells.
func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return len(files)
}

// eventually waits until there is nothing wrong.
func eventually(t *testing.T, wrong func() string) {
	t.Helper()
	var what string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if what = wrong(); what == "" {
			return
		}
	}
	t.Error(what)
}
