package proxy_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// say sends octets and returns all that comes back until the server closes.
func say(t testing.TB, srv *esmtptest.Server, octets string) string {
	t.Helper()
	conn := dial(t, srv)
	go io.WriteString(conn, octets)
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	out, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%v, after %q", err, out)
	}
	return string(out)
}

func dial(t testing.TB, srv *esmtptest.Server) net.Conn {
	t.Helper()
	conn, err := srv.Listener.Dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// talk is a client that reads a reply for each command.
type talk struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func begin(t testing.TB, srv *esmtptest.Server) *talk {
	t.Helper()
	c := &talk{t: t, conn: dial(t, srv)}
	c.in = bufio.NewReader(c.conn)
	c.expect("220")
	c.cmd("EHLO client.example", "250")
	return c
}

// reply reads a reply, all its lines.
func (c *talk) reply() string {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	var all strings.Builder
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			c.t.Fatalf("%v after %q", err, all.String()+line)
		}
		all.WriteString(line)
		if len(line) > 3 && line[3] == ' ' {
			return all.String()
		}
	}
}

func (c *talk) expect(want string) string {
	c.t.Helper()
	got := c.reply()
	if !strings.HasPrefix(got, want) {
		c.t.Fatalf("got %q, want %q", got, want)
	}
	return got
}

func (c *talk) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *talk) cmd(line, want string) string {
	c.t.Helper()
	c.send(line + "\r\n")
	return c.expect(want)
}

const text = "From: <ann@example.org>\r\nSubject: hi\r\n\r\n.dot\r\n..\r\nüber\r\nlast\r\n"

// cutTrace is the message without our Received field.
func cutTrace(t testing.TB, body string) string {
	t.Helper()
	if !strings.HasPrefix(body, "Received: from ") {
		t.Fatalf("no Received field on top of %.100q", body)
	}
	for i := 0; ; {
		j := strings.Index(body[i:], "\r\n")
		if j < 0 {
			t.Fatalf("no end of the Received field in %.300q", body)
		}
		if i += j + 2; i >= len(body) || body[i] != ' ' && body[i] != '\t' {
			return body[i:]
		}
	}
}
