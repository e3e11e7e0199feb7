package smtpclient_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// delivery is a message that came to our own server.
type delivery struct {
	from esmtp.Path
	to   []esmtp.Path
	data bytes.Buffer
}

// inbox is a handler's state that outlives the connection.
type inbox struct {
	mu       sync.Mutex
	messages []*delivery
	offers   []string // more lines for EHLO
	without  []string // lines to take out
	refuse   map[string]esmtp.Reply
	mech     []string
}

type receiver struct {
	esmtp.Default
	box *inbox
	now *delivery
}

func (r *receiver) EHLO(s *esmtp.Session, domain string) esmtp.Reply {
	reply := r.Default.EHLO(s, domain)
	lines := reply.Lines[:1:1]
	for _, line := range reply.Lines[1:] {
		keep := true
		for _, w := range r.box.without {
			keep = keep && !strings.HasPrefix(line, w)
		}
		if keep {
			lines = append(lines, line)
		}
	}
	reply.Lines = append(lines, r.box.offers...)
	return reply
}

func (r *receiver) MAIL(s *esmtp.Session, from esmtp.Path) esmtp.Reply {
	r.now = &delivery{from: from}
	return r.box.refuse["MAIL"]
}

func (r *receiver) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	reply := r.box.refuse[to.Local()]
	if reply.IsZero() {
		r.now.to = append(r.now.to, to)
		return esmtp.OK()
	}
	return reply
}

func (r *receiver) HEADER(s *esmtp.Session, name, value string) esmtp.Reply {
	r.now.data.Write(s.Field(name, value))
	return esmtp.Reply{}
}

func (r *receiver) EOH(s *esmtp.Session, why esmtp.HeaderEnd) esmtp.Reply {
	r.now.data.WriteString(s.Separator())
	return esmtp.Reply{}
}

func (r *receiver) BODY(s *esmtp.Session, chunk []byte) esmtp.Reply {
	r.now.data.Write(chunk)
	return esmtp.Reply{}
}

func (r *receiver) EOM(s *esmtp.Session) esmtp.Reply {
	for i, to := range s.Transaction().Recipients() {
		if reply, ok := r.box.refuse["EOM "+to.Path.Local()]; ok && s.PerRecipient() {
			s.Transaction().SetReply(i, reply)
		}
	}
	r.box.mu.Lock()
	r.box.messages = append(r.box.messages, r.now)
	r.box.mu.Unlock()
	if reply, ok := r.box.refuse["EOM"]; ok {
		return reply
	}
	return esmtp.OK("taken")
}

// serve runs our own server on a port of its own.
func serve(t testing.TB, box *inbox, change func(*esmtp.Server)) string {
	t.Helper()
	srv := &esmtp.Server{
		Hostname:   "mx.example.org",
		Logger:     esmtptest.NewLogger(t),
		NewHandler: func(*esmtp.Session) esmtp.Handler { return &receiver{box: box} },
	}
	if change != nil {
		change(srv)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return l.Addr().String()
}

func dial(t testing.TB, addr string, o *smtpclient.Options) *smtpclient.Conn {
	t.Helper()
	c, err := smtpclient.Dial(context.Background(), "tcp", addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func path(t testing.TB, address, params string) esmtp.Path {
	t.Helper()
	p, err := esmtp.NewPath(address, params)
	if err != nil {
		t.Fatalf("%q: %v", address, err)
	}
	return p
}

func paths(t testing.TB, addresses ...string) (list []esmtp.Path) {
	for _, a := range addresses {
		list = append(list, path(t, a, ""))
	}
	return list
}

const text = "Subject: test\r\n\r\n.a dot\r\n..two\r\nlast\r\n"

func TestAMessageComesOctetForOctet(t *testing.T) {
	box := &inbox{}
	c := dial(t, serve(t, box, nil), nil)
	for _, size := range []int64{0, int64(len(text))} {
		res, err := c.Send(t.Context(), &smtpclient.Message{From: path(t, "ann@example.org", ""), To: paths(t, "bob@example.org", "cy@example.org"), Body: strings.NewReader(text), Size: size})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Recipients) != 2 || res.Recipients[1].Reply.Code != 250 || !res.DSN {
			t.Errorf("%+v", res)
		}
		if got := box.messages[len(box.messages)-1].data.String(); got != text {
			t.Errorf("got %q", got)
		}
	}
	if err := c.Quit(t.Context()); err != nil {
		t.Error(err)
	}
	if c.Messages() != 2 || c.Usable() {
		t.Error(c.Messages(), c.Usable())
	}
}

func TestLMTPOverAUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &esmtp.Server{Hostname: "mx.example.org", LMTP: true, Logger: esmtptest.NewLogger(t)}
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(l) })
	defer wg.Wait()
	defer srv.Close()
	c, err := smtpclient.Dial(t.Context(), "unix", socket, &smtpclient.Options{LMTP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Send(t.Context(), &smtpclient.Message{To: paths(t, "bob@x.example"), Body: strings.NewReader(text)}); err != nil {
		t.Error(err)
	}
	var e *smtpclient.Error
	if _, err := smtpclient.Dial(t.Context(), "unix", socket+"none", nil); !errors.As(err, &e) || e.Class != smtpclient.Network || e.Verb != "connect" {
		t.Error(err)
	}
}

type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, nil }

// A body that can't be read to its end is not delivered, and the cause is there.
func TestABodyThatFailsIsNotDelivered(t *testing.T) {
	fails, nothing := iotest.ErrReader(io.ErrNoProgress), emptyReader{}
	for _, m := range []smtpclient.Message{{Body: fails}, {Size: 100 << 10, Body: fails}, {Type: esmtp.BodyBinaryMIME, Body: fails}, {Body: nothing}} {
		box := &inbox{}
		c := dial(t, serve(t, box, nil), nil)
		m.To = paths(t, "bob@x.example")
		m.Body = io.MultiReader(strings.NewReader(strings.Repeat(text, 2000)), m.Body)
		_, err := c.Send(t.Context(), &m)
		var e *smtpclient.Error
		if !errors.Is(err, io.ErrNoProgress) || !errors.As(err, &e) || e.Class != smtpclient.Temporary || c.Usable() || len(box.messages) > 0 {
			t.Error(err)
		}
	}
}
