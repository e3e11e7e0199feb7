package esmtp_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

func tcpAddr(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 4000} }

// The zero Server works.
func TestZeroServer(t *testing.T) {
	esmtptest.Run(t, new(esmtp.Server), opening+"C: DATA\nS: 354 *\nC: .\nC: QUIT\nS: 250 *\nS: 221 *\nclose")
}

func TestConnectionLimit(t *testing.T) {
	srv, log := newSpy(nil)
	srv.Limits.Connections = 2
	s := esmtptest.NewServer(t, srv)
	a, b := s.Dial(), s.Dial()
	a.Expect("220 *")
	b.Expect("220 *")
	c := s.Dial()
	c.Run("S: 421 4.3.2 mx.example.org Too many connections, try again later\nclose\nleave")
	a.Run("C: QUIT\nS: 221 *\nclose\nleave")
	log.end(t)
	waitFor(t, srv, 1)
	s.Dial().Expect("220 *")
}

// waitFor waits until the server has n sessions.
func waitFor(t *testing.T, srv *esmtp.Server, n int) {
	t.Helper()
	for begin := time.Now(); srv.SessionCount() != n; {
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("got %d sessions, want %d", srv.SessionCount(), n)
		}
		runtime.Gosched()
	}
}

// RFC 5321 §7.8, and rows G02 and O28: the counts are true ones.
func TestConnectionLimitPerAddress(t *testing.T) {
	for _, test := range []struct {
		name        string
		first, then string
		want        string
	}{
		{"the same address", "192.0.2.7", "192.0.2.7", "421 4.7.0 *"},
		{"another address", "192.0.2.7", "192.0.2.8", "220 *"},
		{"the same IPv6 /64", "2001:db8::1", "2001:db8::ffff", "421 4.7.0 *"},
		{"another IPv6 /64", "2001:db8::1", "2001:db8:0:1::1", "220 *"},
		{"IPv4 in IPv6", "192.0.2.7", "::ffff:192.0.2.7", "421 4.7.0 *"},
		{"loopback", "127.0.0.1", "127.0.0.1", "220 *"},
		{"IPv6 loopback", "::1", "::1", "220 *"},
	} {
		t.Run(test.name, func(t *testing.T) {
			srv, _ := newSpy(nil)
			srv.Limits.ConnectionsPerAddress = 1
			s := esmtptest.NewServer(t, srv)
			s.DialFrom(tcpAddr(test.first)).Expect("220 *")
			s.DialFrom(tcpAddr(test.then)).Expect(test.want)
		})
	}
}

func TestConcurrent(t *testing.T) {
	type counts struct{ all, same int }
	got := make(chan counts, 3)
	srv, _ := newSpy(do("CONNECT", func(s *esmtp.Session) {
		all, same := s.Concurrent()
		got <- counts{all, same}
	}))
	s := esmtptest.NewServer(t, srv)
	for i, test := range []struct {
		from string
		want counts
	}{{"192.0.2.7", counts{1, 1}}, {"192.0.2.7", counts{2, 2}}, {"192.0.2.8", counts{3, 1}}, {"127.0.0.1", counts{4, 0}}} {
		s.DialFrom(tcpAddr(test.from)).Expect("220 *")
		if got := <-got; got != test.want {
			t.Errorf("connection %d: got %v, want %v", i, got, test.want)
		}
	}
}

// flaky is a listener whose Accept fails for a while.
type flaky struct {
	*esmtptest.Listener
	errs []error
}

func (l *flaky) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

func acceptError(errno syscall.Errno) error {
	return &net.OpError{Op: "accept", Err: errno}
}

// Errors that pass are waited out, longer and longer, and not in a busy loop.
func TestAcceptBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, _ := newSpy(nil)
		srv.Logger = esmtptest.NewLogger(t)
		l := &flaky{Listener: esmtptest.Listen()}
		for range 20 {
			l.errs = append(l.errs, acceptError(syscall.EMFILE))
		}
		ended := make(chan error)
		begin := time.Now()
		go func() { ended <- srv.Serve(l) }()
		conn, err := l.Dial(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Since(begin); got < 10*time.Second || got > 20*time.Second {
			t.Errorf("got %v for 20 errors, want something like a second each", got)
		}
		esmtptest.NewClient(t, conn).Run(greeting + "C: QUIT\nS: 221 *\nclose")
		srv.Close()
		if err := <-ended; err != esmtp.ErrServerClosed {
			t.Errorf("got %v, want ErrServerClosed", err)
		}
	})
}

func TestServeEndsWithAnErrorThatStays(t *testing.T) {
	srv, _ := newSpy(nil)
	l := &flaky{Listener: esmtptest.Listen(), errs: []error{acceptError(syscall.EBADF)}}
	if err := srv.Serve(l); !errors.Is(err, syscall.EBADF) {
		t.Errorf("got %v, want EBADF", err)
	}
	if _, err := l.Dial(nil); err == nil {
		t.Error("got an open listener, want it closed")
	}
}

func TestServeRefuses(t *testing.T) {
	for name, srv := range map[string]*esmtp.Server{
		"a hostname that is none": {Hostname: "not a name"},
		"a nil handler":           {NewHandler: func(*esmtp.Session) esmtp.Handler { return nil }},
		"a factory that panics":   {NewHandler: func(*esmtp.Session) esmtp.Handler { panic("no") }},
	} {
		t.Run(name, func(t *testing.T) {
			l := esmtptest.Listen()
			if err := srv.Serve(l); err == nil || !strings.HasPrefix(err.Error(), "esmtp: ") {
				t.Errorf("got %v, want an error of esmtp", err)
			}
			if _, err := l.Dial(nil); err == nil {
				t.Error("got an open listener, want it closed")
			}
			client, server := esmtptest.Pipe()
			if err := srv.ServeConn(server); err == nil {
				t.Error("ServeConn: got nil, want an error")
			}
			if _, err := client.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("got %v, want a closed connection", err)
			}
		})
	}
}

// A49, F02, G53, O27: several listeners of several kinds, ports that the kernel chooses, and a server of its own on each.
func TestA49SeveralServersAndListeners(t *testing.T) {
	open := func(network, addr string) net.Listener {
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	one := []net.Listener{open("tcp", "127.0.0.1:0"), open("unix", filepath.Join(t.TempDir(), "s"))}
	two := []net.Listener{open("tcp", "127.0.0.1:0")}
	var serving sync.WaitGroup
	serve := func(name string, listeners []net.Listener) *esmtp.Server {
		srv, _ := newSpy(nil)
		srv.Hostname, srv.Logger = name, esmtptest.NewLogger(t)
		for _, l := range listeners {
			serving.Go(func() {
				if err := srv.Serve(l); err != esmtp.ErrServerClosed {
					t.Errorf("got %v, want ErrServerClosed", err)
				}
			})
		}
		return srv
	}
	a, b := serve("one.example.org", one), serve("two.example.org", two)
	greet := func(l net.Listener, want string) {
		conn, err := net.Dial(l.Addr().Network(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		esmtptest.NewClient(t, conn).Run("S: 220 " + want + " *\nC: QUIT\nS: 221 *\nclose")
	}
	greet(one[0], "one.example.org")
	greet(one[1], "one.example.org")
	greet(two[0], "two.example.org")
	shutdown(t, a)
	greet(two[0], "two.example.org")
	shutdown(t, b)
	serving.Wait()
}

func shutdown(t *testing.T, srv *esmtp.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: got %v, want nil", err)
	}
}

// G53, O20: the live sessions can be listed.
func TestSessionsListsLiveSessions(t *testing.T) {
	srv, log := newSpy(nil)
	s := esmtptest.NewServer(t, srv)
	c := s.DialFrom(tcpAddr("192.0.2.7"))
	c.Run(opening + "C: DATA\nS: 354 *\nC: .\nS: 250 *\nC: NOOP\nS: 250 *")
	list := srv.Sessions()
	if len(list) != 1 || srv.SessionCount() != 1 {
		t.Fatalf("got %d sessions, want 1", len(list))
	}
	info := list[0]
	if info.RemoteAddr.String() != "192.0.2.7:4000" || info.LocalAddr != esmtptest.ServerAddr || info.Messages != 1 || len(info.ID) != 13 ||
		time.Since(info.Started) > time.Minute {
		t.Errorf("got %+v", info)
	}
	c.Run("C: QUIT\nS: 221 *\nclose")
	log.end(t)
	waitFor(t, srv, 0)
}

// A client whose connection is closed is no longer counted, however long its handler or the log takes for the end.
func TestAClosedConnectionIsNotCountedForItsAddress(t *testing.T) {
	block := make(chan struct{})
	srv := &esmtp.Server{Limits: esmtp.Limits{ConnectionsPerAddress: 1}, NewHandler: func(*esmtp.Session) esmtp.Handler { return &slowEnd{block: block} }}
	s := esmtptest.NewServer(t, srv)
	s.DialFrom(tcpAddr("192.0.2.1")).Run("S: 220 *\nC: QUIT\nS: 221 *\nclose\nleave")
	c := s.DialFrom(tcpAddr("192.0.2.1"))
	c.Run("S: 220 *\nC: QUIT\nS: 221 *\nclose\nleave")
	close(block)
}

type slowEnd struct {
	esmtp.Default
	block chan struct{}
}

func (h *slowEnd) Closed(s *esmtp.Session, err error) {
	if s.RemoteAddr().Network() != "none" {
		<-h.block
	}
}
