package smtpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

const ehlo = "250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-STARTTLS\r\n250 8BITMIME\r\n"

// a hostile server says something, then reads lines until one begins with a prefix, and so on.
type script []string // alternately what it says and what it waits for; "" waits for nothing

// play is the server's side. When the script is over it reads nothing more, but keeps the connection open until the client leaves.
func (s script) play(conn net.Conn) {
	in := bufio.NewReader(conn)
	for i, step := range s {
		if i%2 == 0 {
			io.WriteString(conn, step)
			continue
		}
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if strings.HasPrefix(line, step) {
				break
			}
		}
	}
}

// try has the client send a message of some octets to a server, in a bubble where time costs nothing.
func try(t *testing.T, server func(net.Conn), o *Options, size int) (res *Result, took time.Duration, err error) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := esmtptest.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			server(theirs)
		}()
		start := time.Now()
		var c *Conn
		if c, err = New(t.Context(), ours, o); err == nil {
			body := strings.NewReader(strings.Repeat("x: 567890123456\r\n", size/17+1))
			to, _ := esmtp.NewPath("bob@x.example", "")
			res, err = c.Send(t.Context(), &Message{To: []esmtp.Path{to}, Body: body})
			c.Close()
		}
		took = time.Since(start)
		ours.Close()
		theirs.Close()
		<-done
	})
	return res, took, err
}

func repeat(s string) func(net.Conn) {
	return func(conn net.Conn) {
		for {
			if _, err := io.WriteString(conn, s); err != nil {
				return
			}
		}
	}
}

func trickle(s string, pause time.Duration) func(net.Conn) {
	return func(conn net.Conn) {
		for {
			time.Sleep(pause)
			if _, err := io.WriteString(conn, s); err != nil {
				return
			}
		}
	}
}

// slowly goes on to read an octet a second.
func slowly(server func(net.Conn)) func(net.Conn) {
	return func(conn net.Conn) {
		server(conn)
		for buf := make([]byte, 1); ; time.Sleep(time.Second) {
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
	}
}

// Whatever a server does, it costs the client a bounded time, and comes to an Error that tells what it was.
func TestAHostileServerCostsNothingButARetry(t *testing.T) {
	hello := script{"220 mx\r\n", "EHLO", ehlo}
	then := func(more ...string) func(net.Conn) { return append(hello[:3:3], more...).play }
	for _, test := range []struct {
		name   string
		server func(net.Conn)
		size   int
		class  Class
		verb   string
		err    error
		most   time.Duration // at most so long, in the bubble's time
	}{
		{"silence", script{}.play, 10, Network, "greeting", nil, 5 * time.Minute},
		{"an endless line", repeat("220 abcdefghijklmnopqrstuvwxyz"), 10, Unexpected, "greeting", ErrReplyTooLong, 0},
		{"endless lines", repeat("220-abcdefghijklmnopqrstuvwxyz\r\n"), 10, Unexpected, "greeting", ErrReplyTooLong, 0},
		{"endless empty lines", repeat("220-\n"), 10, Unexpected, "greeting", ErrReplyTooLong, 0},
		{"a trickle of octets", trickle("220 ", time.Second), 10, Network, "greeting", nil, 5 * time.Minute},
		{"a trickle of lines", trickle("220-\r\n", 30*time.Second), 10, Network, "greeting", nil, 5 * time.Minute},
		{"no code", script{"SSH-2.0-OpenSSH\r\n"}.play, 10, Unexpected, "greeting", ErrBadReply, 0},
		{"a code too low", script{"199 x\r\n"}.play, 10, Unexpected, "greeting", ErrBadReply, 0},
		{"a code too high", script{"600 x\r\n"}.play, 10, Unexpected, "greeting", ErrBadReply, 0},
		{"a code that is none", script{"2x0 x\r\n"}.play, 10, Unexpected, "greeting", ErrBadReply, 0},
		{"mixed codes", script{"220-a\r\n250 b\r\n"}.play, 10, Unexpected, "greeting", ErrBadReply, 0},
		{"NUL", script{"220\x00a\r\n"}.play, 10, Unexpected, "greeting", ErrBadReply, 0},
		{"354 for a greeting", script{"354 go\r\n"}.play, 10, Unexpected, "greeting", ErrBadReply, 0},
		{"half a line", func(c net.Conn) { io.WriteString(c, "220 m"); c.Close() }, 10, Network, "greeting", io.ErrUnexpectedEOF, 0},
		{"half a reply", func(c net.Conn) { io.WriteString(c, "220-m\r\n"); c.Close() }, 10, Network, "greeting", io.ErrUnexpectedEOF, 0},
		{"gone", func(c net.Conn) { c.Close() }, 10, Network, "greeting", io.EOF, 0},
		{"busy", script{"421 busy\r\n"}.play, 10, Temporary, "greeting", nil, 0},
		{"not for you", script{"554 no\r\n"}.play, 10, Permanent, "greeting", nil, 0},
		{"a reply too many", script{"220 a\r\n250 b\r\n"}.play, 10, Unexpected, "EHLO", ErrBadReply, 0},
		{"half a reply too many", script{"220 a\r\n250 b"}.play, 10, Network, "EHLO", nil, time.Second},
		{"421 before it was asked", script{"220 a\r\n421 b\r\n"}.play, 10, Temporary, "EHLO", nil, 0},
		{"354 to RCPT", then("DATA", "250 a\r\n354 b\r\n"), 10, Unexpected, "RCPT", ErrBadReply, 0},
		{"250 to DATA", then("DATA", "250 a\r\n250 b\r\n250 c\r\n"), 10, Unexpected, "DATA", ErrBadReply, 0},
		{"the last reply before the message", then("DATA", "250 a\r\n250 b\r\n354 c\r\n250 d\r\n"), 10, Unexpected, "message", ErrBadReply, 0},
		{"421 instead of it", then("DATA", "250 a\r\n250 b\r\n354 c\r\n421 d\r\n"), 10, Temporary, "message", nil, 0},
		{"552 early, and not reading", then("DATA", "250 a\r\n250 b\r\n354 c\r\n", "x", "552 d\r\n"), 1 << 20, Permanent, "message", nil, time.Second},
		{"421 early, and not reading", then("DATA", "250 a\r\n250 b\r\n354 c\r\n", "x", "421 d\r\n"), 1 << 20, Temporary, "message", nil, time.Second},
		{"250 early, and not reading", then("DATA", "250 a\r\n250 b\r\n354 c\r\n", "x", "250 d\r\n"), 1 << 20, Unexpected, "message", nil, time.Second},
		{"not reading", then("DATA", "250 a\r\n250 b\r\n354 c\r\n"), 1 << 20, Network, "message", nil, 3*time.Minute + time.Second},
		{"reading slowly", slowly(then("DATA", "250 a\r\n250 b\r\n354 c\r\n")), 1 << 20, Network, "message", nil, 3*time.Minute + time.Second},
		{"no last reply", then("DATA", "250 a\r\n250 b\r\n354 c\r\n", "."), 1 << 20, Network, "message", nil, 10 * time.Minute},
		{"no last reply to a small one", then("DATA", "250 a\r\n250 b\r\n354 c\r\n", "."), 10, Network, "message", nil, 10 * time.Minute},
		{"354 for the last", then("DATA", "250 a\r\n250 b\r\n354 c\r\n", ".", "354 d\r\n"), 10, Unexpected, "message", ErrBadReply, 0},
		{"354 without recipients", then("DATA", "250 a\r\n550 b\r\n354 c\r\n", ".", "554 d\r\n", "RSET", "250 e\r\n"), 10, Permanent, "RCPT", nil, 0},
		{"a refused DATA", then("DATA", "250 a\r\n250 b\r\n451 c\r\n", "RSET", "250 e\r\n"), 10, Temporary, "DATA", nil, 0},
		{"421 to RCPT", then("DATA", "250 a\r\n421 b\r\n"), 10, Temporary, "RCPT", nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			res, took, err := try(t, test.server, &Options{TLS: Never}, test.size)
			var e *Error
			if !errors.As(err, &e) || e.Class != test.class || e.Verb != test.verb || test.err != nil && !errors.Is(err, test.err) {
				t.Fatalf("%v (%+v)", err, e)
			}
			if took > test.most || res != nil && res.Delivered() {
				t.Errorf("%v after %v", res, took)
			}
		})
	}
}

// Whoever stands between client and server can put octets behind the 220 in the clear: they are not read as if they had come inside TLS.
func TestNothingInTheClearIsTakenForTLS(t *testing.T) {
	server := script{"220 mx\r\n", "EHLO", ehlo, "STARTTLS", "220 go\r\n250 evil\r\n"}
	_, _, err := try(t, server.play, nil, 10)
	var e *Error
	if !errors.Is(err, ErrInjection) || !errors.As(err, &e) || e.Class != Unexpected {
		t.Error(err)
	}
	server[4] = "220 go\r\n"
	if _, took, err := try(t, server.play, nil, 10); !errors.Is(err, ErrHandshake) || took > 5*time.Minute {
		t.Error(err, took)
	}
	server = append(server[:4:4], "454 not now\r\n", "DATA", "250 a\r\n250 b\r\n354 c\r\n", ".", "250 d\r\n")
	if res, _, err := try(t, server.play, nil, 10); err != nil || !res.Delivered() {
		t.Error(err)
	}
	if _, _, err := try(t, server.play, &Options{TLS: Required}, 10); esmtp.ReplyOf(err).Code != 454 {
		t.Error(err)
	}
}

func TestAServerWithoutEHLOGetsHELO(t *testing.T) {
	server := script{"220 mx\r\n", "EHLO", "502 what?\r\n", "HELO", "250 mx\r\n", "MAIL", "250 a\r\n", "RCPT", "250 b\r\n", "DATA", "354 c\r\n", ".", "250 d\r\n"}
	if res, _, err := try(t, server.play, nil, 10); err != nil || !res.Delivered() || res.DSN {
		t.Error(err)
	}
	if _, _, err := try(t, server.play, &Options{TLS: Required}, 10); esmtp.ReplyOf(err).Code != 451 {
		t.Error(err)
	}
	server[1] = "LHLO"
	if _, _, err := try(t, server.play, &Options{LMTP: true}, 10); esmtp.ReplyOf(err).Code != 502 {
		t.Error(err)
	}
}

// A context ends anything, at any time, and its cause is in the error.
func TestAContextEndsAnything(t *testing.T) {
	all := script{"220 mx\r\n", "EHLO", ehlo, "DATA", "250 a\r\n250 b\r\n354 c\r\n", ".", "250 d\r\n"}
	cause := errors.New("enough")
	for steps := range len(all) {
		for _, size := range []int{10, 1 << 20} {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := esmtptest.Pipe()
				done := make(chan struct{})
				go func() {
					defer close(done)
					all[:steps].play(theirs)
				}()
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
				defer cancel()
				start := time.Now()
				c, err := New(ctx, ours, &Options{TLS: Never})
				if err == nil {
					to, _ := esmtp.NewPath("bob@x.example", "")
					_, err = c.Send(ctx, &Message{To: []esmtp.Path{to}, Body: strings.NewReader(strings.Repeat("x: 567890123456\r\n", size/17+1))})
				}
				var e *Error
				if !errors.Is(err, cause) || !errors.As(err, &e) || e.Class != Network || time.Since(start) != time.Second {
					t.Errorf("%d steps, %d octets: %v after %v", steps, size, err, time.Since(start))
				}
				theirs.Close()
				<-done
			})
		}
	}
}

// Inside TLS a reply that comes early is noticed all the same, by the goroutine that reads while another writes.
func TestAnEarlyReplyIsNoticedInTLS(t *testing.T) {
	cert, trusting := esmtptest.Certificate(t, "mx.example.org")
	trusting.ServerName = "mx.example.org"
	steps := script{"220 mx\r\n", "EHLO", ehlo, "DATA", "250 a\r\n250 b\r\n354 c\r\n", "x", "552 d\r\n"}
	server := func(conn net.Conn) { steps.play(tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}})) }
	_, took, err := try(t, server, &Options{ImplicitTLS: true, TLSConfig: trusting.Clone()}, 1<<20)
	if esmtp.ReplyOf(err).Code != 552 || took > time.Second {
		t.Error(err, took)
	}
}

// Without PIPELINING nothing is said after a MAIL that was refused, and nothing is written to a server that took no recipient.
func TestNothingIsSaidInVain(t *testing.T) {
	server := script{"220 mx\r\n", "EHLO", "250 mx\r\n", "MAIL", "550 a\r\n", "RSET", "250 b\r\n"}
	if _, took, err := try(t, server.play, nil, 10); esmtp.ReplyOf(err).Code != 550 || took > 0 {
		t.Error(err, took)
	}
	server = script{"220 mx\r\n", "EHLO", "250 mx\r\n", "MAIL", "250 a\r\n", "RCPT", "550 a\r\n", "RSET", "250 b\r\n"}
	if _, took, err := try(t, server.play, nil, 10); esmtp.ReplyOf(err).Code != 550 || took > 0 {
		t.Error(err, took)
	}
}

// A server says how much work a login by SCRAM is: it can't have us work for hours.
func TestALoginHasBoundedWork(t *testing.T) {
	server := func(conn net.Conn) {
		script{"220 mx\r\n", "EHLO", "250-mx\r\n250 AUTH SCRAM-SHA-1\r\n"}.play(conn)
		line, _ := bufio.NewReader(conn).ReadString('\n')
		first, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(strings.TrimPrefix(line, "AUTH SCRAM-SHA-1 ")))
		_, nonce, _ := strings.Cut(string(first), "r=")
		challenge := "r=" + nonce + "x,s=c2FsdA==,i=2000000000"
		io.WriteString(conn, "334 "+base64.StdEncoding.EncodeToString([]byte(challenge))+"\r\n")
	}
	var e *Error
	_, _, err := try(t, server, &Options{Auth: &Auth{User: "ann", Password: "secret"}, Timeouts: Timeouts{Command: time.Second}}, 10)
	if !errors.As(err, &e) || e.Verb != "AUTH" || !errors.Is(err, errChallenge) {
		t.Error(err)
	}
}
