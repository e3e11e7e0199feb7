package smtpclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"strings"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// onlyBob is a server that knows one user.
type onlyBob struct{ esmtp.Default }

func (*onlyBob) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	if to.Local() != "bob" {
		return esmtp.Deny(550, 5, 1, 1, "no such user here")
	}
	return esmtp.OK()
}

// listen runs a server of our own, for the examples.
func listen() (addr string, stop func()) {
	srv := &esmtp.Server{
		Hostname:   "mx.example.org",
		NewHandler: func(*esmtp.Session) esmtp.Handler { return new(onlyBob) },
		Logger:     slog.New(slog.DiscardHandler),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		srv.Serve(l)
		close(done)
	}()
	return l.Addr().String(), func() { srv.Close(); <-done }
}

func Example() {
	addr, stop := listen()
	defer stop()

	ctx := context.Background()
	c, err := smtpclient.Dial(ctx, "tcp", addr, &smtpclient.Options{LocalName: "client.example"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	from, _ := esmtp.NewPath("ann@client.example", "")
	bob, _ := esmtp.NewPath("bob@example.org", "")
	eve, _ := esmtp.NewPath("eve@example.org", "")
	res, err := c.Send(ctx, &smtpclient.Message{
		From: from,
		To:   []esmtp.Path{bob, eve},
		Body: strings.NewReader("Subject: hello\r\n\r\nHow are you?\r\n"),
	})
	for _, r := range res.Recipients {
		fmt.Println(r.Err == nil, r.Reply.Code)
	}
	var e *smtpclient.Error
	if errors.As(err, &e) {
		fmt.Println(e.Class, "of", e.Verb)
	}
	fmt.Println(c.Quit(ctx))
	// Output:
	// true 250
	// false 550
	// permanent failure of RCPT
	// <nil>
}

func ExampleConn_Data() {
	addr, stop := listen()
	defer stop()

	ctx := context.Background()
	c, err := smtpclient.Dial(ctx, "tcp", addr, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	bob, _ := esmtp.NewPath("bob@example.org", "")
	c.Mail(ctx, esmtp.Path{})
	reply, _ := c.Rcpt(ctx, bob)
	fmt.Println(reply.Code)
	w, _, err := c.Data(ctx)
	if err != nil {
		log.Fatal(err)
	}
	io.WriteString(w, "Subject: hello\r\n\r\nStep by step.\r\n")
	replies, err := w.End()
	fmt.Println(replies[0].Code, err)
	// Output:
	// 250
	// 250 <nil>
}
