package esmtp_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/smtp"
	"strings"

	"github.com/caddy-esmtp/esmtp"
)

// OnlyOurs is a server of one's own: it accepts mail for one domain, and notes the subjects.
type OnlyOurs struct {
	esmtp.Default
	subject string // of the message that is coming: fields are the state of one connection
}

var _ esmtp.Handler = (*OnlyOurs)(nil)

func (o *OnlyOurs) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	if to.Domain() != "example.org" {
		return esmtp.Deny(550, 5, 7, 1, "we do not relay")
	}
	return o.Default.RCPT(s, to)
}

func (o *OnlyOurs) HEADER(s *esmtp.Session, name, value string) esmtp.Reply {
	if strings.EqualFold(name, "Subject") {
		o.subject = value
	}
	return o.Default.HEADER(s, name, value)
}

func (o *OnlyOurs) EOM(s *esmtp.Session) esmtp.Reply {
	fmt.Printf("%q from %s\n", o.subject, s.Transaction().From())
	return o.Default.EOM(s)
}

func Example() {
	srv := &esmtp.Server{
		Hostname:   "mx.example.org",
		NewHandler: func(*esmtp.Session) esmtp.Handler { return new(OnlyOurs) },
		Logger:     slog.New(slog.DiscardHandler),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go srv.Serve(l)
	defer srv.Shutdown(context.Background())

	message := []byte("Subject: hello\r\n\r\nHow are you?\r\n")
	fmt.Println(smtp.SendMail(l.Addr().String(), nil, "ann@client.example", []string{"user@example.org"}, message))
	fmt.Println(smtp.SendMail(l.Addr().String(), nil, "ann@client.example", []string{"user@elsewhere.example"}, message))
	// Output:
	// "hello" from ann@client.example
	// <nil>
	// 550 "5.7.1 we do not relay"
}

// Tuned can be spoken to while its client is connected.
type Tuned struct {
	esmtp.Default
	quota int
}

func (t *Tuned) Posted(s *esmtp.Session, message any) esmtp.Reply {
	switch m := message.(type) {
	case int:
		t.quota = m // on the session's goroutine: no lock
		fmt.Println("quota", t.quota)
	case esmtp.Outlived: // a new configuration has taken over
		return esmtp.Deny(421, 4, 3, 2, "please connect again")
	}
	return t.Default.Posted(s, message)
}

func ExampleSession_Post() {
	ids := make(chan string, 1)
	srv := &esmtp.Server{
		Hostname:   "mx.example.org",
		NewHandler: func(*esmtp.Session) esmtp.Handler { return new(Tuned) },
		Logger:     slog.New(slog.DiscardHandler),
		Observer:   esmtp.Observer{Connected: func(s *esmtp.Session) { ids <- s.ID() }},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go srv.Serve(l)
	defer srv.Shutdown(context.Background())

	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	lines := bufio.NewScanner(client)
	lines.Scan() // the greeting

	session := srv.Session(<-ids)
	session.Post(3)
	session.Kick(esmtp.Deny(421, 4, 7, 0, "come back tomorrow"))
	lines.Scan()
	fmt.Println(lines.Text())
	// Output:
	// quota 3
	// 421 4.7.0 come back tomorrow
}
