package proxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/handler/proxy"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// letter is a message that a backend took.
type letter struct {
	from, fromParams string
	to               []string
	body             string
	client, helo     string
	user             string
	forwarded        esmtp.Forwarded
	protocol         string
}

// box is what all sessions of a backend share.
type box struct {
	mu       sync.Mutex
	letters  []letter
	sessions int
	closed   int
	resets   int
	without  []string                                        // keywords that EHLO doesn't offer
	with     []string                                        // and some that it does
	answers  map[string]esmtp.Reply                          // by verb or local part
	each     map[string]esmtp.Reply                          // by local part, at EOM
	hook     func(verb string, s *esmtp.Session) esmtp.Reply // comes before answers
	size     int64
	octets   int64
	discard  bool // count octets only
	lmtp     bool
	tls      *tls.Config
	trust    bool
	logins   []string // mechanisms that it offers; it lets everybody in
	users    []string // who logged in, and how
	addr     string
	server   *esmtp.Server
}

type receiver struct {
	esmtp.Default
	box  *box
	body bytes.Buffer
}

func (r *receiver) answer(verb string, s *esmtp.Session) esmtp.Reply {
	r.box.mu.Lock()
	hook, reply := r.box.hook, r.box.answers[verb]
	r.box.mu.Unlock()
	if hook != nil {
		if r := hook(verb, s); !r.IsZero() {
			return r
		}
	}
	return reply
}

func (r *receiver) CONNECT(s *esmtp.Session) esmtp.Reply {
	r.box.mu.Lock()
	r.box.sessions++
	r.box.mu.Unlock()
	return r.answer("CONNECT", s)
}

func (r *receiver) EHLO(s *esmtp.Session, domain string) esmtp.Reply {
	reply := r.Default.EHLO(s, domain)
	var lines []string
	for i, line := range reply.Lines {
		keep := true
		for _, k := range r.box.without {
			keep = keep && (i == 0 || line != k && !strings.HasPrefix(line, k+" "))
		}
		if keep {
			lines = append(lines, line)
		}
	}
	reply.Lines = append(lines, r.box.with...)
	return reply
}

func (r *receiver) Mechanisms(*esmtp.Session) []string { return r.box.logins }

func (r *receiver) Authenticate(_ *esmtp.Session, c esmtp.Credentials) esmtp.Reply {
	r.box.set(func() { r.box.users = append(r.box.users, c.Mechanism+" "+c.User+" "+c.Password) })
	return esmtp.Deny(235, 2, 7, 0, "welcome")
}

func (r *receiver) Secret(*esmtp.Session, string, string) (esmtp.Secret, bool) {
	return esmtp.Secret{Password: "secret"}, true
}

func (r *receiver) MAIL(s *esmtp.Session, from esmtp.Path) esmtp.Reply {
	r.body.Reset()
	return r.answer("MAIL", s)
}

func (r *receiver) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	if reply := r.answer(to.Local(), s); !reply.IsZero() {
		return reply
	}
	return r.answer("RCPT", s)
}

func (r *receiver) DATA(s *esmtp.Session) esmtp.Reply { return r.answer("DATA", s) }
func (r *receiver) RSET(s *esmtp.Session) esmtp.Reply {
	r.box.mu.Lock()
	r.box.resets++
	r.box.mu.Unlock()
	return r.answer("RSET", s)
}

func (r *receiver) HEADER(s *esmtp.Session, name, value string) esmtp.Reply {
	r.body.Write(s.Field(name, value))
	return r.answer("HEADER", s)
}

func (r *receiver) EOH(s *esmtp.Session, why esmtp.HeaderEnd) esmtp.Reply {
	r.body.WriteString(s.Separator())
	return esmtp.Reply{}
}

func (r *receiver) BODY(s *esmtp.Session, chunk []byte) esmtp.Reply {
	if r.box.discard {
		r.box.mu.Lock()
		r.box.octets += int64(len(chunk))
		r.box.mu.Unlock()
	} else {
		r.body.Write(chunk)
	}
	return r.answer("BODY", s)
}

func (r *receiver) EOM(s *esmtp.Session) esmtp.Reply {
	tx := s.Transaction()
	l := letter{from: tx.From().String(), fromParams: tx.From().Params(), body: r.body.String(), client: s.RemoteAddr().String(),
		helo: s.HELO(), user: s.User(), forwarded: s.Forwarded(), protocol: s.Protocol()}
	for i, rcpt := range tx.Recipients() {
		l.to = append(l.to, strings.TrimSpace(rcpt.Path.String()+" "+rcpt.Path.Params()))
		if reply, ok := r.box.each[rcpt.Path.Local()]; ok {
			tx.SetReply(i, reply)
		}
	}
	reply := r.answer("EOM", s)
	if reply.IsZero() || reply.Accepted() {
		r.box.mu.Lock()
		r.box.letters = append(r.box.letters, l)
		r.box.mu.Unlock()
	}
	return reply
}

func (r *receiver) Closed(s *esmtp.Session, err error) {
	r.box.mu.Lock()
	r.box.closed++
	r.box.mu.Unlock()
}

func (b *box) got() []letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]letter(nil), b.letters...)
}

// loggedIn are those who logged in.
func (b *box) loggedIn() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.users, ", ")
}

// connections is how often CONNECT was called.
func (b *box) connections() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sessions
}

func (b *box) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// serve starts a backend on loopback.
func (b *box) serve(t testing.TB, wrap ...func(net.Listener) net.Listener) *box {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.addr = l.Addr().String()
	for _, w := range wrap {
		l = w(l)
	}
	srv := &esmtp.Server{Hostname: "backend.example", LMTP: b.lmtp, TLSConfig: b.tls, Logger: esmtptest.NewLogger(t),
		Limits:     esmtp.Limits{MessageBytes: b.size},
		Timeouts:   esmtp.Timeouts{ErrorDelay: -1},
		NewHandler: func(*esmtp.Session) esmtp.Handler { return &receiver{box: b} }}
	if b.trust {
		loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		srv.TrustXCLIENT, srv.TrustXFORWARD = loopback, loopback
	}
	b.server = srv
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(l)
	}()
	t.Cleanup(func() {
		srv.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		srv.Shutdown(ctx)
		<-done
	})
	return b
}

// hop is how to reach the backend.
func (b *box) hop(t testing.TB) route.Hop {
	t.Helper()
	text := b.addr
	if b.lmtp {
		text = "lmtp://" + text
	}
	return hop(t, text)
}

func hop(t testing.TB, text string) route.Hop {
	t.Helper()
	h, err := route.ParseHop(text)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// front starts a server with a proxy to backends, and returns a client of it.
func front(t *testing.T, p *proxy.Proxy, change func(*esmtp.Server), layers ...esmtp.Layer) *esmtptest.Server {
	t.Helper()
	srv := &esmtp.Server{Hostname: "front.example", NewHandler: esmtp.Stack(append(layers, p.NewLayer)...)}
	if change != nil {
		change(srv)
	}
	return esmtptest.NewServer(t, srv)
}

func to(t testing.TB, boxes ...*box) *proxy.Proxy {
	t.Helper()
	p := &proxy.Proxy{Timeouts: smtpclient.Timeouts{Connect: 5 * time.Second}}
	for _, b := range boxes {
		p.Hops = append(p.Hops, b.hop(t))
	}
	return p
}
