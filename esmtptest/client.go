package esmtptest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is how long a [Client] waits for a reply before it fails the test. Inside a testing/synctest bubble, where waiting costs
// nothing, set Client.Patience to 0: no limit.
const Patience = 10 * time.Second

// Client is a client that does what it is told, right or wrong, and keeps a transcript. What doesn't go as expected fails the test,
// and shows the transcript. Its methods are for the test's goroutine.
type Client struct {
	Conn     net.Conn
	Patience time.Duration

	t  testing.TB
	r  *bufio.Reader
	mu sync.Mutex
	tr strings.Builder
}

// NewClient makes a client of a connection to any server. The connection is closed when the test is over.
func NewClient(t testing.TB, conn net.Conn) *Client {
	t.Cleanup(func() { conn.Close() })
	return &Client{Conn: conn, Patience: Patience, t: t, r: bufio.NewReader(conn)}
}

// Send sends lines, each with CRLF added, all in one write.
func (c *Client) Send(lines ...string) {
	c.t.Helper()
	c.SendRaw(strings.Join(lines, "\r\n") + "\r\n")
}

// SendRaw sends octets as they are.
func (c *Client) SendRaw(octets string) {
	c.t.Helper()
	c.note("C", octets)
	if c.Patience > 0 {
		c.Conn.SetWriteDeadline(time.Now().Add(c.Patience))
	}
	if _, err := io.WriteString(c.Conn, octets); err != nil {
		c.Fatalf("send: %v", err)
	}
}

// ReadLine reads a line, without its CRLF. It returns io.EOF when the server closed the connection.
func (c *Client) ReadLine() (string, error) {
	if c.Patience > 0 {
		c.Conn.SetReadDeadline(time.Now().Add(c.Patience))
	}
	line, err := c.r.ReadString('\n')
	if line != "" {
		c.note("S", line)
	}
	switch {
	case err == io.EOF && line != "":
		return line, io.ErrUnexpectedEOF
	case err != nil:
		return line, err
	case !strings.HasSuffix(line, "\r\n"):
		return line, errors.New("line ends with a lone LF")
	}
	return line[:len(line)-2], nil
}

// ReadReply reads a whole reply, of one line or more (RFC 5321 §4.2), and checks that it is one.
func (c *Client) ReadReply() (lines []string, err error) {
	for {
		line, err := c.ReadLine()
		if err != nil {
			return lines, err
		}
		lines = append(lines, line)
		switch {
		case !isReplyLine(line), line[:3] != lines[0][:3]:
			return lines, fmt.Errorf("no reply line, or not of the same reply: %q", line)
		case len(line) == 3 || line[3] == ' ':
			return lines, nil
		}
	}
}

func isReplyLine(line string) bool {
	return len(line) >= 3 && '2' <= line[0] && line[0] <= '5' && '0' <= line[1] && line[1] <= '5' &&
		'0' <= line[2] && line[2] <= '9' && (len(line) == 3 || line[3] == ' ' || line[3] == '-') && len(line) <= 510
}

// Expect reads a reply for each pattern, and fails the test if one doesn't match. A pattern is the last line of the reply; in it '*'
// stands for any text: "250 2.1.0 *".
func (c *Client) Expect(patterns ...string) {
	c.t.Helper()
	for _, want := range patterns {
		lines, err := c.ReadReply()
		if err != nil {
			c.Fatalf("got %q, %v; want %q", lines, err, want)
		}
		if got := lines[len(lines)-1]; !Match(want, got) {
			c.Fatalf("got %q, want %q", got, want)
		}
	}
}

// Cmd sends a line and expects a reply.
func (c *Client) Cmd(line, want string) {
	c.t.Helper()
	c.Send(line)
	c.Expect(want)
}

// ExpectClose fails the test unless the server closes the connection now, without another word.
func (c *Client) ExpectClose() {
	c.t.Helper()
	if line, err := c.ReadLine(); err != io.EOF {
		c.Fatalf("got %q, %v; want the end of the connection", line, err)
	}
}

// Fatalf fails the test, and shows the transcript.
func (c *Client) Fatalf(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), c.Transcript())
}

// Transcript returns all that was said so far, a line each: "C: EHLO me", "S: 250 OK".
func (c *Client) Transcript() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tr.String()
}

// maxTranscript bounds a transcript: a test that sends gigabytes needs no record of them.
const maxTranscript = 64 << 10

func (c *Client) note(who, octets string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for line := range strings.SplitAfterSeq(octets, "\n") {
		if line == "" || c.tr.Len() > maxTranscript {
			continue
		}
		if text, ok := strings.CutSuffix(line, "\r\n"); ok && !strings.ContainsAny(text, "\r") {
			fmt.Fprintf(&c.tr, "%s: %s\n", who, text)
		} else {
			fmt.Fprintf(&c.tr, "%s| %.200q\n", who, line)
		}
	}
}

// Match reports whether text matches a pattern, in which '*' stands for any text, even none.
func Match(pattern, text string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, first)
	if !ok {
		return false
	}
	for i := range len(text) + 1 {
		if Match(rest, text[i:]) {
			return true
		}
	}
	return false
}
