package esmtp_test

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// Whoever looks on, posts and kicks disturbs no session: one that isn't kicked comes to its end, whether it was waiting, in a handshake, in AUTH,
// in a message, or dozing.
func TestLookingOnDisturbsNoSession(t *testing.T) {
	srv, config := tlsServer(t)
	srv.Limits = esmtp.Limits{Connections: -1, ConnectionsPerAddress: -1}
	srv.Timeouts = esmtp.Timeouts{Command: time.Minute, Session: -1}
	srv.Logger = slog.New(slog.DiscardHandler)
	srv.NewHandler = func(*esmtp.Session) esmtp.Handler { return &busybody{users{mechanisms: allMechanisms}} }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	stop := make(chan struct{})
	var others, clients sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, info := range srv.Sessions() {
					s := srv.Session(info.ID)
					if s == nil {
						continue
					}
					s.Post("x")
					s.Info()
					if info.HELO == "kick.example" && info.Messages > 0 {
						s.Kick(esmtp.Deny(421, 4, 3, 2, "be gone"))
					}
				}
				srv.Census()
				srv.Usage(10)
			}
		})
	}
	var failed atomic.Int32
	for i := range 16 {
		clients.Go(func() {
			for range 4 {
				if text, err := stressClient(l.Addr().String(), config, i%4 == 0); err != nil && failed.Add(1) < 5 {
					t.Errorf("%v after %q", err, text)
				}
			}
		})
	}
	clients.Wait()
	close(stop)
	others.Wait()
	shutdown(t, srv)
	<-served
}

// busybody asks for the context in each Posted, and so has the connection watched.
type busybody struct{ users }

func (b *busybody) Posted(s *esmtp.Session, _ any) esmtp.Reply {
	s.Context()
	return esmtp.Reply{}
}

// stressClient says all that it has to say, or is kicked after its first message.
func stressClient(addr string, config *tls.Config, toKick bool) (said string, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer func() { conn.Close() }()
	conn.SetDeadline(time.Now().Add(time.Minute))
	name := "stay.example"
	if toKick {
		name = "kick.example"
	}
	message := "MAIL FROM:<a@b.example>|250 RCPT TO:<c@d.example>|250 BDAT 3\r\nabc|250 BDAT 0 LAST|250 MAIL FROM:<a@b.example>|250 RCPT TO:<c@d.example>|250 DATA|354 x\r\n.|250"
	steps := "|220 EHLO " + name + "|250 STARTTLS|220 TLS EHLO " + name + "|250 AUTH LOGIN|334 YW5u|334 c2VjcmV0|235 " + message + " QUIT|221"
	buf := make([]byte, 4096)
	command := ""
	for word := range strings.SplitSeq(steps, " ") {
		if word == "TLS" {
			secure := tls.Client(conn, config)
			if err := secure.Handshake(); err != nil {
				return said, err
			}
			conn = secure
			continue
		}
		text, code, whole := strings.Cut(word, "|")
		if command = strings.TrimLeft(command+" "+text, " "); !whole {
			continue
		}
		if command != "" {
			io.WriteString(conn, command+"\r\n")
		}
		said += command + "; "
		command = ""
		n, err := conn.Read(buf)
		if toKick && (err != nil || strings.HasPrefix(string(buf[:n]), "421")) && strings.Contains(said, "LAST") {
			return said, nil
		}
		if err != nil {
			return said, err
		}
		if !strings.HasPrefix(string(buf[:n]), code) {
			return said, &net.ParseError{Type: "reply", Text: string(buf[:n])}
		}
	}
	return said, nil
}
