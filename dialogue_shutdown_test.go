package esmtp_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// stopping runs a dialogue, then Shutdown, then what is left to say, and returns what Shutdown did.
func stopping(t *testing.T, on hook, before, after string, patience time.Duration) (err error, took time.Duration, reason error) {
	synctest.Test(t, func(t *testing.T) {
		srv, log := newSpy(on)
		s := esmtptest.NewServer(t, srv)
		c := s.Dial()
		c.Patience = 0
		c.Run(before)
		synctest.Wait()
		done := make(chan struct{})
		begin := time.Now()
		go func() {
			defer close(done)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			err = srv.Shutdown(ctx)
			took = time.Since(begin)
		}()
		synctest.Wait()
		if _, err := s.Listener.Dial(nil); err == nil {
			t.Error("got a connection after Shutdown, want none")
		}
		c.Run(after)
		if strings.HasSuffix(after, "close") {
			c.Conn.Close()
		}
		<-done
		reason = log.end(t)
	})
	return err, took, reason
}

const bye = "S: 421 4.3.2 mx.example.org Service shutting down, closing connection\nclose"

// RFC 5321 §3.8: 421 at a command boundary, and never in a message.
func TestShutdown(t *testing.T) {
	for _, test := range []struct{ name, before, after string }{
		{"waiting for a command", opening, bye},
		{"in the middle of a command", opening + "C| NO", bye},
		{"in DATA", opening + "C: DATA\nS: 354 *\nC: half", "C: .\nS: 250 *\n" + bye},
		{"after a message that is refused", opening + "C: DATA\nS: 354 *\n" + `C|\n`, "C: x\nC: .\nS: 554 *\n" + bye},
		{"in BDAT", opening + "C: BDAT 5\nC| ha", "C| lf!\nS: 250 *\nC: BDAT 0 LAST\nS: 250 *\n" + bye},
		{"between BDATs", opening + "C: BDAT 4\nC| half\nS: 250 *", "C: NOOP\nS: 250 *\nC: BDAT 0 LAST\nS: 250 *\n" + bye},
		{"after a BDAT that failed", opening + "C: BDAT 1\nC| \\n\nS: 554 *", bye},
		{"commands that came before it are answered", opening + "C: DATA\nS: 354 *", "C: .\nC: NOOP\nS: 250 *\nS: 250 *\n" + bye},
	} {
		t.Run(test.name, func(t *testing.T) {
			err, took, reason := stopping(t, nil, test.before, test.after, time.Minute)
			if err != nil || took > 2*time.Second {
				t.Errorf("got %v after %v, want nil at once", err, took)
			}
			if reason != esmtp.ErrShutdown {
				t.Errorf("got reason %v, want %v", reason, esmtp.ErrShutdown)
			}
		})
	}
}

func TestShutdownDeadline(t *testing.T) {
	err, took, reason := stopping(t, nil, opening+"C: DATA\nS: 354 *\nC: half", "close", time.Minute)
	if !errors.Is(err, context.DeadlineExceeded) || took != time.Minute {
		t.Errorf("got %v after %v, want DeadlineExceeded after 1m", err, took)
	}
	if reason != esmtp.ErrServerClosed {
		t.Errorf("got reason %v, want %v", reason, esmtp.ErrServerClosed)
	}
}

// A slow client in a message is still one that is too slow.
func TestShutdownKeepsTheTimeouts(t *testing.T) {
	err, took, reason := stopping(t, nil, opening+"C: DATA\nS: 354 *\nC: half", "S: 421 4.4.2 *\nclose", time.Hour)
	if err != nil || took < 5*time.Minute || took > 6*time.Minute {
		t.Errorf("got %v after %v, want nil after 5m", err, took)
	}
	if reason != esmtp.ErrTimeout {
		t.Errorf("got reason %v, want %v", reason, esmtp.ErrTimeout)
	}
}

func TestShutdownOfNothing(t *testing.T) {
	srv := new(esmtp.Server)
	shutdown(t, srv)
	shutdown(t, srv)
	if err := srv.Serve(esmtptest.Listen()); err != esmtp.ErrServerClosed {
		t.Errorf("Serve: got %v, want ErrServerClosed", err)
	}
	_, conn := esmtptest.Pipe()
	if err := srv.ServeConn(conn); err != esmtp.ErrServerClosed {
		t.Errorf("ServeConn: got %v, want ErrServerClosed", err)
	}
	if err := srv.Close(); err != nil {
		t.Errorf("Close: got %v, want nil", err)
	}
}

// lateWake is a connection on which the wake-up of a shutdown comes late: in the middle of a chunk.
type lateWake struct {
	*esmtptest.Conn
	wake  chan struct{} // closed to let it happen
	woken chan struct{} // closed when it went through
	once  atomic.Bool
}

func (c *lateWake) SetReadDeadline(at time.Time) error {
	if at.Year() < 2000 && c.once.CompareAndSwap(false, true) {
		<-c.wake
		defer close(c.woken)
	}
	return c.Conn.SetReadDeadline(at)
}

func TestShutdownThatComesLateLeavesAMessageAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, log := newSpy(nil)
		srv.Logger = esmtptest.NewLogger(t)
		client, server := esmtptest.Pipe()
		late := &lateWake{Conn: server, wake: make(chan struct{}), woken: make(chan struct{})}
		go srv.ServeConn(late)
		c := esmtptest.NewClient(t, client)
		c.Run(opening + "C: BDAT 4\nC| half\nS: 250 *")
		synctest.Wait()
		go srv.Shutdown(context.Background())
		synctest.Wait()
		c.Run("C: BDAT 5\nC| ha") // the session's wait is not over before the deadline is set
		close(late.wake)
		<-late.woken
		c.Run("C| lf!\nS: 250 *\nC: BDAT 0 LAST\nS: 250 *\n" + bye)
		c.Conn.Close()
		wantReason(t, log, esmtp.ErrShutdown)
	})
}

// brittle is a connection with a read that fails once, as no socket's does, and then works again.
type brittle struct {
	*esmtptest.Conn
	fail atomic.Bool
	err  error
}

func (c *brittle) Read(p []byte) (int, error) {
	if c.fail.CompareAndSwap(true, false) {
		return 0, c.err
	}
	return c.Conn.Read(p)
}

// After a read in a message failed, nothing is read any more: it would be the rest of the message.
func TestAReadErrorInAMessageIsTheEnd(t *testing.T) {
	for _, err := range []error{nil, os.ErrDeadlineExceeded, io.ErrUnexpectedEOF, syscall.EAGAIN, &net.OpError{Err: syscall.ECONNRESET}} {
		for _, start := range []string{"C: DATA\nS: 354 *\n", "C: BDAT 100\n"} {
			srv, log := newSpy(nil)
			srv.Logger = esmtptest.NewLogger(t)
			client, server := esmtptest.Pipe()
			conn := &brittle{Conn: server, err: err}
			ended := make(chan error, 1)
			c := esmtptest.NewClient(t, client)
			srv.NewHandler = failingAfter(log, conn)
			go func() { ended <- srv.ServeConn(conn) }()
			c.Run(opening + start)
			c.Send("A: b", "", "NOOP", "NOOP")
			c.Conn.Write([]byte("NOOP\r\n")) // it may be closed already
			if got := <-ended; got == nil {
				t.Errorf("%v: got nil, want a reason", err)
			}
			if strings.Contains(log.String(), "\nNOOP") {
				t.Errorf("%v: got calls\n%s, want none of what is in the message", err, log)
			}
			client.Close()
		}
	}
}

// failingAfter makes spies that break the connection once the message's body comes.
func failingAfter(log *calls, conn *brittle) func(*esmtp.Session) esmtp.Handler {
	return func(*esmtp.Session) esmtp.Handler {
		return &spy{log: log, on: do("BODY", func(*esmtp.Session) { conn.fail.Store(true) })}
	}
}

// shaking is a connection whose TLS handshake comes to nothing as long as the client is silent.
type shaking struct{ net.Conn }

func (c shaking) HandshakeContext(context.Context) error {
	_, err := c.Read(make([]byte, 1))
	return err
}

// hiding is a connection whose addresses are known once the client has said them, as by the PROXY protocol.
type hiding struct{ net.Conn }

func (c hiding) RemoteAddr() net.Addr {
	c.Read(make([]byte, 1))
	return c.Conn.RemoteAddr()
}

// Who has said nothing yet doesn't hold a shutdown up, nor is it a client whose handshake failed.
func TestShutdownDoesNotWaitForTheSilent(t *testing.T) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"in the handshake":      func(c net.Conn) net.Conn { return shaking{c} },
		"in front of the proxy": func(c net.Conn) net.Conn { return hiding{c} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, log := newSpy(nil)
				srv.Observer.Failed = func(_ *esmtp.Session, e esmtp.SessionError) { t.Errorf("got failure %v", e) }
				client, server := net.Pipe()
				defer client.Close()
				done := make(chan error)
				go func() { done <- srv.ServeConn(wrap(server)) }()
				synctest.Wait()
				if list := srv.Sessions(); len(list) != 1 || list[0].State != esmtp.StateOpening {
					t.Errorf("got %+v", list)
				}
				begin := time.Now()
				if err := srv.Shutdown(context.Background()); err != nil || time.Since(begin) > 0 {
					t.Errorf("got %v after %v, want nil at once", err, time.Since(begin))
				}
				if reason := <-done; reason != esmtp.ErrServerClosed {
					t.Errorf("got reason %v, want %v", reason, esmtp.ErrServerClosed)
				}
				if text := log.String(); text != "" {
					t.Errorf("the handler was called: %s", text)
				}
			})
		})
	}
}

// A reply that is held back is said at once.
func TestShutdownDoesNotWaitForATarpit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, _ := newSpy(nil)
		srv.Limits.Errors, srv.Timeouts.ErrorDelay = 3, time.Minute
		c := esmtptest.NewServer(t, srv).Dial()
		c.Patience = 0
		c.Run(greeting + "C: BAD\nS: 500 *\nC: BAD\nS: 500 *\nC: BAD\nsend")
		synctest.Wait()
		begin := time.Now()
		done := make(chan error)
		go func() { done <- srv.Shutdown(context.Background()) }()
		c.Run("S: 500 *\n" + bye)
		if err := <-done; err != nil || time.Since(begin) > 2*time.Second {
			t.Errorf("got %v after %v, want nil at once", err, time.Since(begin))
		}
	})
}
