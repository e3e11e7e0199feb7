package relay_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/relay/resolver"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nextHop is a server that mail is relayed to.
type nextHop struct {
	esmtp.Default
	t *nextHops

	body bytes.Buffer
}

// nextHops is what all sessions of a next hop share.
type nextHops struct {
	mu       sync.Mutex
	got      []letter
	sessions int
	rcpt     func(to esmtp.Path) esmtp.Reply
	eom      func(n int) esmtp.Reply
	connect  func() esmtp.Reply
	ehlo     func(r esmtp.Reply) esmtp.Reply
	messages int
	addr     string
}

// letter is a message that a next hop took.
type letter struct {
	from, params string
	to           []string
	body         string
	tls          bool
}

func (h *nextHop) CONNECT(s *esmtp.Session) esmtp.Reply {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	h.t.sessions++
	if h.t.connect != nil {
		return h.t.connect()
	}
	return h.Default.CONNECT(s)
}

func (h *nextHop) EHLO(s *esmtp.Session, domain string) esmtp.Reply {
	r := h.Default.EHLO(s, domain)
	if h.t.ehlo != nil {
		return h.t.ehlo(r)
	}
	return r
}

func (h *nextHop) MAIL(s *esmtp.Session, from esmtp.Path) esmtp.Reply {
	h.body.Reset()
	return h.Default.MAIL(s, from)
}

func (h *nextHop) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	if h.t.rcpt != nil {
		if r := h.t.rcpt(to); !r.IsZero() {
			return r
		}
	}
	return h.Default.RCPT(s, to)
}

func (h *nextHop) HEADER(s *esmtp.Session, name, value string) esmtp.Reply {
	h.body.Write(s.Field(name, value))
	return esmtp.Reply{}
}

func (h *nextHop) EOH(s *esmtp.Session, why esmtp.HeaderEnd) esmtp.Reply {
	h.body.WriteString(s.Separator())
	return esmtp.Reply{}
}

func (h *nextHop) BODY(s *esmtp.Session, chunk []byte) esmtp.Reply {
	h.body.Write(chunk)
	return esmtp.Reply{}
}

func (h *nextHop) EOM(s *esmtp.Session) esmtp.Reply {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	h.t.messages++
	if h.t.eom != nil {
		if r := h.t.eom(h.t.messages); !r.IsZero() && !r.Accepted() {
			return r
		}
	}
	tx := s.Transaction()
	l := letter{from: tx.From().String(), params: tx.From().Params(), body: h.body.String(), tls: s.TLS() != nil}
	for _, r := range tx.Recipients() {
		l.to = append(l.to, strings.TrimSpace(r.Path.String()+" "+r.Path.Params()))
	}
	h.t.got = append(h.t.got, l)
	return esmtp.OK("taken")
}

// serve starts a next hop on loopback.
func (h *nextHops) serve(t *testing.T, config *tls.Config, lmtp bool) *nextHops {
	t.Helper()
	return h.listen(t, "tcp", "127.0.0.1:0", config, lmtp)
}

// listen starts a next hop.
func (h *nextHops) listen(t *testing.T, network, address string, config *tls.Config, lmtp bool) *nextHops {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	srv := &esmtp.Server{Hostname: "next.example", TLSConfig: config, LMTP: lmtp, Logger: slog.New(slog.DiscardHandler),
		Limits:     esmtp.Limits{MessageBytes: 200 << 20},
		Timeouts:   esmtp.Timeouts{ErrorDelay: -1},
		NewHandler: func(*esmtp.Session) esmtp.Handler { return &nextHop{t: h} }}
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(l)
	}()
	t.Cleanup(func() {
		srv.Close()
		srv.Shutdown(context.Background())
		<-done
	})
	h.addr = l.Addr().String()
	return h
}

func (h *nextHops) letters() []letter {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]letter(nil), h.got...)
}

// dns is a resolver that knows what it is told.
type dns map[string]resolver.Answer

func (d dns) Lookup(ctx context.Context, name string, typ resolver.Type) (resolver.Answer, error) {
	a, ok := d[fmt.Sprintf("%s %d", name, typ)]
	if !ok {
		for key := range d {
			if strings.HasPrefix(key, name+" ") {
				return resolver.Answer{Name: name}, nil
			}
		}
		return resolver.Answer{}, resolver.ErrNotFound
	}
	a.Name = name
	return a, nil
}

// mx makes a domain with mail exchangers, each a fake address.
func mx(domain string, hosts ...string) dns {
	d := dns{}
	var list []resolver.Exchange
	for i, host := range hosts {
		name := fmt.Sprintf("mx%d.%s", i+1, domain)
		list = append(list, resolver.Exchange{Preference: uint16(10 * (i + 1)), Host: name})
		d[fmt.Sprintf("%s %d", name, resolver.A)] = resolver.Answer{Addrs: []netip.Addr{netip.MustParseAddr(host)}}
	}
	d[fmt.Sprintf("%s %d", domain, resolver.MX)] = resolver.Answer{MX: list}
	return d
}

// rig is a relay with its spool.
type rig struct {
	*relay.Relay
	t        *testing.T
	attempts chan relay.Attempt
	dialled  []string
	mu       sync.Mutex
	events   *spool.Subscription
}

// spooled returns the events of the spool so far.
func (r *rig) spooled() <-chan spool.Event { return r.events.C }

// newRig makes a relay that knows domains, and leads fake addresses to servers of the test.
func newRig(t *testing.T, d dns, servers map[string]string) *rig {
	t.Helper()
	s, err := spool.Open(context.Background(), t.TempDir(), &spool.Options{Logger: esmtptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r := &rig{t: t, attempts: make(chan relay.Attempt, 1000), events: s.Subscribe(1000)}
	t.Cleanup(r.events.Close)
	r.Relay = &relay.Relay{
		Spool: s, Hostname: "relay.example", Router: &route.Router{Resolver: d},
		Schedule: relay.Schedule{Retry: []time.Duration{time.Millisecond}},
		Observer: func(a relay.Attempt) { r.attempts <- a },
		Logger:   esmtptest.NewLogger(t),
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			r.mu.Lock()
			r.dialled = append(r.dialled, address)
			r.mu.Unlock()
			host, _, _ := net.SplitHostPort(address)
			if to, ok := servers[host]; ok {
				if to == "" {
					return nil, errors.New("refused by the test")
				}
				address = to
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	return r
}

const text = "From: <ann@example.org>\r\nSubject: hi\r\n\r\n.dot\r\nline\r\n"

// put puts a message into the spool.
func (r *rig) put(body string, items ...*spool.Item) []spool.ID {
	r.t.Helper()
	d := r.Spool.Create()
	if _, err := d.Write([]byte(body)); err != nil {
		r.t.Fatal(err)
	}
	ids, err := d.Commit(context.Background(), items...)
	if err != nil {
		r.t.Fatal(err)
	}
	return ids
}

// item is an envelope.
func item(from string, to ...string) *spool.Item {
	it := &spool.Item{Sender: address(from)}
	for _, a := range to {
		it.Recipients = append(it.Recipients, spool.Recipient{Path: address(a)})
		if it.Route == "" {
			_, it.Route, _ = strings.Cut(strings.Fields(a)[0], "@")
		}
	}
	return it
}

func address(text string) spool.Path {
	a, params, _ := strings.Cut(text, " ")
	return spool.Path{Address: a, Params: params}
}

// run runs the relay until n attempts were made, and returns them.
func (r *rig) run(n int) (list []relay.Attempt) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	for len(list) < n {
		select {
		case a := <-r.attempts:
			list = append(list, a)
		case <-ctx.Done():
			r.t.Fatalf("got %d attempts, want %d", len(list), n)
		}
	}
	cancel()
	if err := <-done; err != nil {
		r.t.Fatal(err)
	}
	return list
}

// left is what is in the spool, once all that was settled is written down.
func (r *rig) left() string {
	r.t.Helper()
	last := "sending"
	for begin := time.Now(); ; time.Sleep(time.Millisecond) { // twice the same: an item may go while it is looked at
		text := r.states()
		if !strings.Contains(text, "sending") && text == last || time.Since(begin) > 10*time.Second {
			return text
		}
		last = text
	}
}

func (r *rig) states() string {
	r.t.Helper()
	items, _, err := r.Spool.List(context.Background(), spool.Filter{})
	if err != nil {
		r.t.Fatal(err)
	}
	var words []string
	for _, it := range items {
		word := it.State.String()
		for _, rcpt := range it.Recipients {
			word += " " + rcpt.Address + ":" + rcpt.State.String()
		}
		words = append(words, word)
	}
	return strings.Join(words, "; ")
}

func (r *rig) dials() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.dialled...)
}

func tlsConfig(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// brokenTLS is what fails every handshake.
func brokenTLS() *tls.Config {
	return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("broken on purpose") },
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return new(tls.Certificate), nil }}
}

func (h *nextHops) connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions
}
