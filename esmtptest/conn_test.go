package esmtptest_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-esmtp/esmtp/esmtptest"
)

func TestConnKeepsTheOctetsInOrder(t *testing.T) {
	a, b := esmtptest.Pipe()
	sent := make([]byte, 1<<20)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	go func() {
		defer a.Close()
		for p := sent; len(p) > 0; {
			n := min(1+rand.IntN(100000), len(p))
			if _, err := a.Write(p[:n]); err != nil {
				t.Errorf("write: %v", err)
				return
			}
			p = p[n:]
		}
	}()
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("got %d octets, %v, want the %d that were sent", len(got), err, len(sent))
	}
}

func TestConnEnds(t *testing.T) {
	one := make([]byte, 1)
	for _, test := range []struct {
		name        string
		end         func(a, b *esmtptest.Conn)
		read, write error // at b
	}{
		{"the other end is closed", func(a, b *esmtptest.Conn) { a.Close() }, io.EOF, syscall.EPIPE},
		{"one direction of it is", func(a, b *esmtptest.Conn) { a.CloseWrite() }, io.EOF, nil},
		{"it is reset", func(a, b *esmtptest.Conn) { a.Reset() }, syscall.ECONNRESET, syscall.EPIPE},
		{"this end is closed", func(a, b *esmtptest.Conn) { b.Close() }, net.ErrClosed, net.ErrClosed},
		{"a deadline has passed", func(a, b *esmtptest.Conn) { b.SetDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded, os.ErrDeadlineExceeded},
	} {
		a, b := esmtptest.Pipe()
		test.end(a, b)
		if _, err := b.Read(one); !errors.Is(err, test.read) {
			t.Errorf("%s: read: got %v, want %v", test.name, err, test.read)
		}
		if _, err := b.Write(one); !errors.Is(err, test.write) {
			t.Errorf("%s: write: got %v, want %v", test.name, err, test.write)
		}
	}
}

func TestConnDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := esmtptest.Pipe()
		begin := time.Now()
		b.SetReadDeadline(begin.Add(time.Hour))
		b.SetReadDeadline(begin.Add(time.Minute)) // replaces it
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Minute {
			t.Errorf("read: got %v after %v, want a timeout after 1m", err, time.Since(begin))
		}
		begin = time.Now()
		a.SetWriteDeadline(begin.Add(time.Minute))
		n, err := a.Write(make([]byte, 100<<10))
		if n != 64<<10 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Minute {
			t.Errorf("write: got %d, %v after %v, want 64 KiB and a timeout after 1m", n, err, time.Since(begin))
		}
		b.SetReadDeadline(time.Time{})
		if n, err := io.ReadFull(b, make([]byte, 64<<10)); err != nil {
			t.Errorf("read: got %d, %v, want what was written", n, err)
		}
	})
}

func TestListener(t *testing.T) {
	l := esmtptest.Listen()
	from := &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 1}
	go l.Dial(from)
	conn, err := l.Accept()
	if err != nil || conn.RemoteAddr() != net.Addr(from) || conn.LocalAddr() != l.Addr() {
		t.Errorf("got %v, %v, want a connection from %v", conn, err, from)
	}
	l.Close()
	l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: got %v, want ErrClosed", err)
	}
	if _, err := l.Dial(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Dial: got %v, want ErrClosed", err)
	}
}
