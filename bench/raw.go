package main

import (
	"net"
	"sync"
)

// rawBuffers are for steps with a message in them; commands go into a small buffer of the goroutine's own.
var rawBuffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// serveRaw knows the work, and looks at nothing of what comes: after so many octets it says what fits. No server that reads
// what it is told can cost less.
func serveRaw(l net.Listener, w *work, _ place) error {
	script := w.script()
	answers := make([][]byte, len(script))
	for i := range script {
		answers[i] = []byte(script[i].answer)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			for i := range script {
				if !skip(conn, len(script[i].send)) {
					return
				}
				if _, err := conn.Write(answers[i]); err != nil {
					return
				}
			}
			skip(conn, 1) // the client hangs up
		}()
	}
}

// skip reads n octets and forgets them.
func skip(conn net.Conn, n int) bool {
	if n == 0 {
		return true
	}
	if n <= 4096 {
		return skipInto(conn, make([]byte, min(n, 512)), n)
	}
	b := rawBuffers.Get().(*[64 << 10]byte)
	defer rawBuffers.Put(b)
	return skipInto(conn, b[:], n)
}

func skipInto(conn net.Conn, b []byte, n int) bool {
	for n > 0 {
		got, err := conn.Read(b[:min(n, len(b))])
		if err != nil {
			return false
		}
		n -= got
	}
	return true
}
