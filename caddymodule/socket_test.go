package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
)

// testNetwork is a network whose listeners are in memory.
var testNetwork sync.Map // *memoryListener, by host

func init() {
	caddy.RegisterNetwork("test-memory", func(_ context.Context, _, host, _ string, _ uint, _ net.ListenConfig) (any, error) {
		l := &memoryListener{calls: make(chan accepted), closed: make(chan struct{})}
		testNetwork.Store(host, l)
		return l, nil
	})
}

// memoryListener is a listener whose connections and errors come from a test.
type memoryListener struct {
	calls  chan accepted
	closed chan struct{}
	once   sync.Once
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case a := <-l.calls:
		return a.conn, a.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memoryListener) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "test-memory"} }

// dial connects.
func (l *memoryListener) dial() net.Conn {
	client, server := net.Pipe()
	l.calls <- accepted{server, nil}
	return client
}

// memory opens shares of the same socket in memory.
func memory(t *testing.T, n int) (*memoryListener, []*share) {
	t.Helper()
	addrs, err := parseAddress("test-memory/" + strings.Map(alphanumeric, t.Name()))
	if err != nil {
		t.Fatal(err)
	}
	var shares []*share
	for range n {
		sh, err := newShare(socketKey{address: addressKey(addrs[0])}, addrs[0])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { sh.Close() })
		shares = append(shares, sh)
	}
	return listenerOf(addrs[0].Host), shares
}

func alphanumeric(c rune) rune {
	if unicode.IsLetter(c) || unicode.IsDigit(c) {
		return c
	}
	return '-'
}

func listenerOf(host string) *memoryListener {
	l, _ := testNetwork.Load(host)
	return l.(*memoryListener)
}

// Configs can be stopped in any order: connections go to the newest one that is left.
func TestConnectionsGoToTheNewestConfigThatServes(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {1, 2, 0}, {0, 2, 1}, {2, 0, 1}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			l, shares := memory(t, 3)
			got := make(chan int)
			var loops sync.WaitGroup
			for i, sh := range shares {
				sh.join()
				loops.Go(func() {
					for {
						conn, err := sh.Accept()
						if err != nil {
							return
						}
						conn.Close()
						got <- i
					}
				})
			}
			left := map[int]bool{0: true, 1: true, 2: true}
			for _, i := range order {
				newest := 0
				for n := range left {
					newest = max(newest, n)
				}
				l.dial().Close()
				if n := <-got; n != newest {
					t.Errorf("got share %d, want %d", n, newest)
				}
				shares[i].Close()
				delete(left, i)
			}
			loops.Wait()
			<-l.closed // the last one has closed it
		})
	}
}

// A connection that a config was given and that it didn't take goes to the next one, older or newer; it is closed only with the socket.
func TestAConnectionThatWasNotTakenGoesOn(t *testing.T) {
	l, shares := memory(t, 4)
	shares[0].join()
	shares[1].join()
	client := l.dial() // to share 1, which doesn't take it
	shares[1].Close()
	take(t, shares[0], client)

	client = l.dial() // to share 0
	shares[2].join()
	take(t, shares[2], client)

	shares[0].Close()
	shares[2].Close()
	client = l.dial() // to nobody
	shares[3].join()
	take(t, shares[3], client)

	client = l.dial()
	shares[3].Close()
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is open")
	}
	if _, err := shares[3].Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// A server that can't even begin to serve takes no connections away from the one before it.
func TestAClosedShareDoesNotJoin(t *testing.T) {
	l, shares := memory(t, 2)
	shares[0].join()
	shares[1].Close()
	shares[1].join()
	take(t, shares[0], l.dial())
	shares[1].Close() // once more is not too often
	take(t, shares[0], l.dial())
}

// take accepts a connection, and checks that it is the right one.
func take(t *testing.T, sh *share, client net.Conn) {
	t.Helper()
	conn, err := sh.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go conn.Write([]byte("x"))
	if n, err := client.Read(make([]byte, 1)); n != 1 {
		t.Errorf("got %v", err)
	}
	client.Close()
	conn.Close()
}

// A process that has too many files open waits, longer each time, and goes on when it can.
func TestAcceptErrorsAreWaitedOut(t *testing.T) {
	load(t, "test-memory/busy {\nhostname mx.example.org\ntls off\nlog\n}\n")
	l := listenerOf("busy")
	began := time.Now()
	for range 8 {
		l.calls <- accepted{nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}}
	}
	if d := time.Since(began); d < 100*time.Millisecond {
		t.Errorf("it has tried eight times in %s", d)
	}
	talk(t, l.dial())
}

// talk says QUIT.
func talk(t *testing.T, conn net.Conn) {
	t.Helper()
	tr := &traffic{hostname: "mx.example.org"}
	if err := tr.talk(conn, false); err != nil {
		t.Error(err)
	}
}

// A socket that is broken is opened again by the next config.
func TestABrokenSocketIsOpenedAgain(t *testing.T) {
	config := "test-memory/broken {\nhostname mx.example.org\ntls off\nlog\n}\n"
	load(t, config)
	l := listenerOf("broken")
	l.calls <- accepted{nil, errors.New("broken")}
	<-l.closed
	load(t, config)
	if listenerOf("broken") == l {
		t.Fatal("the broken one is still in use")
	}
	talk(t, listenerOf("broken").dial())
}
