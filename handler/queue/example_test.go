package queue_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/handler/queue"
	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/relay/mtasts"
	"github.com/caddy-esmtp/esmtp/relay/resolver"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
	"github.com/caddy-esmtp/esmtp/smtpclient"
	"github.com/caddy-esmtp/esmtp/spool"
)

// Sorter stands above a queue, and says what is to become of a message.
type Sorter struct {
	esmtp.Handler
	elsewhere []string // next hops for mail of a partner
}

func (h *Sorter) HEADER(s *esmtp.Session, name, value string) esmtp.Reply {
	if strings.EqualFold(name, "X-Spam") && value == "yes" {
		s.Transaction().Quarantine("a filter says that it is spam", esmtp.Reply{})
	}
	return h.Handler.HEADER(s, name, value)
}

func (h *Sorter) EOM(s *esmtp.Session) esmtp.Reply {
	tx := s.Transaction()
	switch from := tx.From(); {
	case tx.Verdict().Disposition != esmtp.Keep: // it is decided
	case from.Local() == "newsletter":
		tx.Hold("a newsletter: somebody has to read it first")
	case from.Domain() == "partner.example":
		e := esmtp.Envelope{From: from, NextHops: h.elsewhere}
		for _, rcpt := range tx.Recipients() {
			e.To = append(e.To, rcpt.Path)
		}
		tx.Send(e)
	}
	return h.Handler.EOM(s) // the queue obeys
}

// newServer keeps mail in a spool.
func newServer(s spool.Spool, elsewhere ...string) *esmtp.Server {
	sorter := func(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler { return &Sorter{next, elsewhere} }
	keep := &queue.Queue{Spool: s}
	return &esmtp.Server{Hostname: "mail.example.org", NewHandler: esmtp.Stack(sorter, keep.NewLayer)}
}

// newRelay delivers what is in a spool: to a smarthost, or, without one, to the mail exchangers of the recipients' domains.
func newRelay(s spool.Spool, smarthost ...route.Hop) (*relay.Relay, error) {
	dns, err := resolver.New(resolver.Config{}) // asks the system's name servers
	if err != nil {
		return nil, err
	}
	return &relay.Relay{
		Spool:         s,
		Hostname:      "mail.example.org",
		NextHops:      smarthost,
		Router:        &route.Router{Resolver: dns, Hostnames: []string{"mail.example.org"}},
		TLS:           &tlspolicy.Policies{Resolver: dns, STS: &mtasts.Finder{Resolver: dns, Cache: mtasts.NewMemory(1000)}},
		BeforeAttempt: beforeAttempt,
		OnFailure:     onFailure,
	}, nil
}

// beforeAttempt keeps the mail of an account that is locked.
func beforeAttempt(item *spool.Item) relay.Decision {
	if item.Sender.Address == "eve@example.org" {
		return relay.Decision{Action: relay.Freeze, Reason: "the account of eve is locked"}
	}
	return relay.Decision{}
}

// onFailure tries again where a mailbox is full, which some servers take to be for good.
func onFailure(item *spool.Item, f relay.Failure) relay.Fate {
	if f.Reply.Enh == (esmtp.Enhanced{5, 2, 2}) {
		return relay.Later
	}
	return relay.AsReplied
}

// Mailboxes is a next hop, where that of cid is full.
type Mailboxes struct{ esmtp.Default }

func (m *Mailboxes) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	if to.Local() == "cid" {
		return esmtp.Deny(550, 5, 2, 2, "mailbox full")
	}
	return m.Default.RCPT(s, to)
}

// newMailboxes starts a next hop.
func newMailboxes() (srv *esmtp.Server, address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	srv = &esmtp.Server{NewHandler: func(*esmtp.Session) esmtp.Handler { return new(Mailboxes) }, Logger: quiet}
	go srv.Serve(l)
	return srv, l.Addr().String()
}

var quiet = slog.New(slog.DiscardHandler)

// send sends a message to a server in the same program.
func send(ctx context.Context, srv *esmtp.Server, from, to, header string) error {
	client, ours := net.Pipe()
	go srv.ServeConn(ours)
	batch := "EHLO client.example\nMAIL FROM:<" + from + ">\nRCPT TO:<" + to + ">\nDATA\n" + header + "\n\nText\n.\nQUIT\n"
	return smtpclient.Replay(ctx, client, strings.NewReader(batch), nil)
}

// A server that decides about mail by its sender and its header, keeps it, and delivers it.
func Example() {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())
	s, err := spool.Open(ctx, dir, &spool.Options{Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	mailboxes, address := newMailboxes()
	defer mailboxes.Shutdown(context.Background())
	partner, elsewhere := newMailboxes()
	defer partner.Shutdown(context.Background())
	smarthost, err := route.ParseHop(address)
	if err != nil {
		log.Fatal(err)
	}

	r, err := newRelay(s, smarthost)
	if err != nil {
		log.Fatal(err)
	}
	srv := newServer(s, elsewhere)
	srv.Logger, r.Logger = quiet, quiet
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()

	events := s.Subscribe(100)
	for _, mail := range []struct{ from, to, header string }{
		{"ann@example.org", "bob@example.net", "Subject: hello"},
		{"ann@example.org", "bob@example.net", "X-Spam: yes"},
		{"newsletter@example.org", "bob@example.net", "Subject: news"},
		{"ann@partner.example", "bob@example.net", "Subject: hello"},
		{"eve@example.org", "bob@example.net", "Subject: hello"},
		{"ann@example.org", "cid@example.net", "Subject: hello"},
	} {
		if err := send(ctx, srv, mail.from, mail.to, mail.header); err != nil {
			log.Fatal(err)
		}
		for e := range events.C {
			if e.Kind != spool.EventSpooled {
				fmt.Printf("%s → %s: %s %q\n", mail.from, strings.Replace(e.Route, elsewhere, "elsewhere", 1), e.Kind, e.Reason)
				break
			}
		}
	}
	stop()
	fmt.Println(<-done)
	// Output:
	// ann@example.org → example.net: delivered ""
	// ann@example.org → example.net: quarantined "a filter says that it is spam"
	// newsletter@example.org → example.net: frozen "a newsletter: somebody has to read it first"
	// ann@partner.example → elsewhere: delivered ""
	// eve@example.org → example.net: frozen "the account of eve is locked"
	// ann@example.org → example.net: delayed "550 5.2.2 mailbox full"
	// <nil>
}
