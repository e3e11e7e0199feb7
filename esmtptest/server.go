package esmtptest

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// endTime is how long the sessions of a test may take to end when it is over.
const endTime = 10 * time.Second

// Server is an [esmtp.Server] at work on an in-memory [Listener].
type Server struct {
	*esmtp.Server
	Listener *Listener

	t     testing.TB
	ended chan struct{} // closed when Serve has returned
	err   error         // what it returned
}

// NewServer serves srv until the test is over. Then it closes it, and waits for all of its sessions: one that stays, because a method
// of the handler hangs, fails the test. Without a Logger of its own srv logs to the test; without an ErrorDelay of its own it
// answers errors at once.
func NewServer(t testing.TB, srv *esmtp.Server) *Server {
	t.Helper()
	s := &Server{Server: srv, Listener: Listen(), t: t, ended: make(chan struct{})}
	if srv.Timeouts.ErrorDelay == 0 {
		srv.Timeouts.ErrorDelay = -1
	}
	if srv.Logger == nil {
		srv.Logger = NewLogger(t)
	}
	if srv.LMTP {
		s.Listener.addr = LMTPAddr
	}
	go func() {
		defer close(s.ended)
		s.err = srv.Serve(s.Listener)
	}()
	t.Cleanup(s.close)
	return s
}

func (s *Server) close() {
	s.t.Helper()
	s.Listener.Close()
	s.Server.Close()
	<-s.ended
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	if err := s.Server.Shutdown(ctx); ctx.Err() != nil {
		s.t.Errorf("esmtptest: %d sessions did not end: %v", s.Server.SessionCount(), err)
	}
}

// Dial connects a client from [ClientAddr]. It is closed when the test is over.
func (s *Server) Dial() *Client {
	s.t.Helper()
	return s.DialFrom(nil)
}

// DialFrom connects a client from the given address.
func (s *Server) DialFrom(from net.Addr) *Client {
	s.t.Helper()
	conn, err := s.Listener.Dial(from)
	if err != nil {
		<-s.ended
		s.t.Fatalf("esmtptest: the server doesn't serve: %v", s.err)
	}
	return NewClient(s.t, conn)
}

// Dial serves srv for this test, and connects a client to it: [NewServer] and [Server.Dial] in one.
func Dial(t testing.TB, srv *esmtp.Server) *Client {
	t.Helper()
	return NewServer(t, srv).Dial()
}

// NewLogger returns a logger that writes to the log of a test, until that is over.
func NewLogger(t testing.TB) *slog.Logger {
	out := &output{w: t.Output()}
	t.Cleanup(out.close)
	return slog.New(slog.NewTextHandler(out, nil))
}

// output is the log of a test. Writing to that when the test is over is a panic, and a session may end later.
type output struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.w == nil {
		return len(p), nil
	}
	return o.w.Write(p)
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.w = nil
}
