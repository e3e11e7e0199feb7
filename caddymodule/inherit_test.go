//go:build unix

package caddymodule

import (
	"fmt"
	"net"
	"syscall"
	"testing"
)

// A socket that was inherited, as from systemd, loses nothing either.
func TestAnInheritedSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Dup(int(file.Fd())) // stays open to the end: Caddy keeps it
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	config := fmt.Sprintf("fd/%d {\nhostname mx.example.org\ntls off\ntest_counted\n}\n", fd)
	load(t, config)
	tr := &traffic{network: "tcp", address: l.Addr().String()}
	tr.start(4)
	for range 10 {
		tr.goOn(t)
		load(t, config)
	}
	tr.end(t)
}
