package esmtp_test

import (
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
