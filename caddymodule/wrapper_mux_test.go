package caddymodule

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// Reloads leave nothing behind: no goroutine, no socket, no cmux.
func TestReloadsOfASharedPortLeaveNothingBehind(t *testing.T) {
	s, _ := newSharedPort(t, "10ms", true)
	reload := func() {
		s.load(t)
		c := dialTCP(t, s.addr, "")
		c.Expect("220 *")
		c.Cmd("QUIT", "221 *")
		c.ExpectClose()
		c.Conn.Close()
	}
	reload()
	settle := func(count func() int) (n int) {
		n = count()
		for range 200 {
			if now := count(); now < n {
				n = now
			}
			time.Sleep(time.Millisecond)
		}
		return n
	}
	goroutines, files := settle(runtime.NumGoroutine), settle(func() int { return openFiles(t) })
	for range 60 {
		reload()
	}
	if n := settle(runtime.NumGoroutine); n > goroutines+3 {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	if n := settle(func() int { return openFiles(t) }); n > files+3 {
		t.Errorf("%d open files, %d before", n, files)
	}
	n := 0
	muxes.Range(func(any, any) bool { n++; return true })
	if n != 2 {
		t.Errorf("%d muxes are in use, want one before TLS and one behind it", n)
	}
}

// fakeListener accepts what it is told to.
type fakeListener struct {
	results chan any // net.Conn or error
	done    chan struct{}
}

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case r := <-l.results:
		if err, ok := r.(error); ok {
			return nil, err
		}
		return r.(net.Conn), nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *fakeListener) Close() error   { close(l.done); return nil }
func (l *fakeListener) Addr() net.Addr { return esmtptest.ServerAddr }

// inBubble runs a test with a listener whose mail clients are taken out. Time is not real.
func inBubble(t *testing.T, test func(t *testing.T, below *fakeListener, w *ListenerWrapper, l net.Listener)) {
	synctest.Test(t, func(t *testing.T) {
		w := &ListenerWrapper{
			Wait:   caddy.Duration(time.Second),
			log:    slog.New(slog.DiscardHandler),
			server: &Server{wrapped: newHandover(), engine: &esmtp.Server{Hostname: "mx.example.org"}},
		}
		below := &fakeListener{make(chan any), make(chan struct{})}
		l := joinMux(below, w, place{})
		test(t, below, w, l)
		l.Close()
	})
}

// Errors that pass, such as too many open files, are waited out, and not in a loop that takes all of the processor.
func TestAcceptErrorsThatPassAreWaitedOut(t *testing.T) {
	inBubble(t, func(t *testing.T, below *fakeListener, _ *ListenerWrapper, l net.Listener) {
		begin := time.Now()
		for range 10 {
			below.results <- &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
		}
		client, server := esmtptest.Pipe()
		defer client.Close()
		below.results <- server
		client.Write([]byte("GET "))
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if d := time.Since(begin); d < 2*time.Second {
			t.Errorf("ten errors were waited out in %s", d)
		}
	})
}

// An error that doesn't pass is the web server's to know.
func TestAcceptErrorsThatStayAreHandedOn(t *testing.T) {
	inBubble(t, func(t *testing.T, below *fakeListener, _ *ListenerWrapper, l net.Listener) {
		broken := errors.New("broken")
		below.results <- broken
		if conn, err := l.Accept(); !errors.Is(err, broken) {
			t.Errorf("got %v, %v", conn, err)
		}
	})
}

// The time counts from the beginning: a client that says a letter now and then gets no more of it.
func TestTheWaitIsForAllOfIt(t *testing.T) {
	inBubble(t, func(t *testing.T, below *fakeListener, w *ListenerWrapper, _ net.Listener) {
		client, server := esmtptest.Pipe()
		defer client.Close()
		below.results <- server
		go func() {
			for range 10 {
				client.Write([]byte("X"))
				time.Sleep(300 * time.Millisecond)
			}
		}()
		begin := time.Now()
		conn, err := w.server.wrapped.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if d := time.Since(begin); d != time.Second {
			t.Errorf("it took %s", d)
		}
		p := make([]byte, 10)
		for n := 0; n < len(p); n++ { // all ten are there, the first ones too
			if _, err := conn.Read(p[n : n+1]); err != nil || p[n] != 'X' {
				t.Fatalf("got %q, %v", p[:n+1], err)
			}
		}
		time.Sleep(3 * time.Second)
	})
}

// A client that leaves without a word, as health checks do, is nobody's.
func TestAClientThatLeavesIsNobodys(t *testing.T) {
	inBubble(t, func(t *testing.T, below *fakeListener, w *ListenerWrapper, l net.Listener) {
		got := make(chan net.Conn, 2)
		for _, from := range []net.Listener{l, w.server.wrapped} {
			go func() {
				if conn, err := from.Accept(); err == nil {
					got <- conn
				}
			}()
		}
		client, server := esmtptest.Pipe()
		below.results <- server
		client.Close()
		time.Sleep(time.Minute)
		if len(got) > 0 {
			t.Error("it was handed over")
		}
		w.server.wrapped.Close()
	})
}

// A mail server that never starts can't keep clients waiting for ever.
func TestAMailServerThatDoesntStartIsNotWaitedForForEver(t *testing.T) {
	inBubble(t, func(t *testing.T, below *fakeListener, w *ListenerWrapper, _ net.Listener) {
		client, server := esmtptest.Pipe()
		below.results <- server
		c := esmtptest.NewClient(t, client)
		c.Expect("421 mx.example.org Service not available, closing transmission channel")
		c.ExpectClose()
	})
}

// As many connections as are allowed are being recognized at a time; then the oldest is decided at once.
func TestTheNumberOfConnectionsIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, below *fakeListener, w *ListenerWrapper, _ net.Listener) {
		begin := time.Now()
		var times []time.Duration
		go func() {
			for {
				conn, err := w.server.wrapped.Accept()
				if err != nil {
					return
				}
				times = append(times, time.Since(begin))
				conn.Close()
			}
		}()
		const more = 10
		for range maxSniffing + more {
			_, server := esmtptest.Pipe()
			below.results <- server
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("%d took %s", maxSniffing+more, d)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(times); n != maxSniffing+more {
			t.Fatalf("%d were handed over", n)
		}
		for i, d := range times {
			// The loop is one ahead: it makes room before the next one is there.
			if early := i <= more; early != (d == 0) || !early && d != time.Second {
				t.Fatalf("number %d was handed over after %s", i, d)
			}
		}
		w.server.wrapped.Close()
	})
}

// slowTLS is a connection in TLS whose client takes its time.
type slowTLS struct{ *esmtptest.Conn }

func (h slowTLS) HandshakeContext(context.Context) error {
	_, err := h.Read(make([]byte, 1))
	return err
}

func (slowTLS) ConnectionState() tls.ConnectionState { return tls.ConnectionState{} }

// A client that doesn't go on with its handshake is left to the web server, which finds that it has failed.
func TestAHandshakeIsNotWaitedForForEver(t *testing.T) {
	inBubble(t, func(t *testing.T, below *fakeListener, _ *ListenerWrapper, l net.Listener) {
		begin := time.Now()
		client, server := esmtptest.Pipe()
		defer client.Close()
		below.results <- slowTLS{server}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if d := time.Since(begin); d != handshakeTime {
			t.Errorf("it took %s, want %s", d, handshakeTime)
		}
	})
}
