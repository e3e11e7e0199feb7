package smtpclient_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// replay is a server that answers each line that it knows, and does nothing else: what is measured is the client.
func replay(b testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			answer(conn)
		}
	}()
	b.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

var answers = []struct{ verb, reply []byte }{
	{[]byte("EHLO"), []byte("250-mx\r\n250-PIPELINING\r\n250-SIZE\r\n250 8BITMIME\r\n")},
	{[]byte("MAIL"), []byte("250 2.1.0 ok\r\n")},
	{[]byte("RCPT"), []byte("250 2.1.5 ok\r\n")},
	{[]byte("DATA"), []byte("354 go\r\n")},
	{[]byte(".\r\n"), []byte("250 2.0.0 taken\r\n")},
}

func answer(conn net.Conn) {
	defer conn.Close()
	in, out := bufio.NewReaderSize(conn, 256<<10), bufio.NewWriter(conn)
	out.WriteString("220 mx\r\n")
	for {
		if in.Buffered() == 0 {
			out.Flush()
		}
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		for i := range answers {
			if bytes.HasPrefix(line, answers[i].verb) {
				out.Write(answers[i].reply)
			}
		}
	}
}

func sender(t testing.TB, size int) func() {
	c := dial(t, replay(t), nil)
	t.Cleanup(func() { c.Close() })
	body := strings.Repeat("This is a line of text of a message, as they are.......................\r\n", size/73+1)
	r := strings.NewReader(body)
	m := &smtpclient.Message{From: path(t, "ann@x.example", ""), To: []esmtp.Path{path(t, "bob@x.example", "")}, Body: struct{ io.Reader }{r}, Size: int64(len(body))}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return func() {
		r.Reset(body)
		if _, err := c.Send(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkSend(b *testing.B) {
	for _, size := range []struct {
		name   string
		octets int
	}{{"4KiB", 4 << 10}, {"1MiB", 1 << 20}} {
		b.Run(size.name, func(b *testing.B) {
			send := sender(b, size.octets)
			b.SetBytes(int64(size.octets))
			b.ReportAllocs()
			for b.Loop() {
				send()
			}
		})
	}
}

// The memory of a message doesn't grow with its size.
func TestAMessageCostsFewAllocations(t *testing.T) {
	for size, most := range map[int]float64{4 << 10: 60, 4 << 20: 70} {
		if got := testing.AllocsPerRun(20, sender(t, size)); got > most {
			t.Errorf("%d octets: %v allocations, want at most %v", size, got, most)
		}
	}
}
