package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/pprof"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/metrics"
	"github.com/emersion/go-smtp"
)

// serve is the child process: it serves until its standard input ends, which it also does when the parent is gone.
func serve(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	job := flags.String("work", "", "the work that will come")
	profile := flags.String("profile", "", "`file` for a CPU profile")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	p, w := findPeer(args[0]), findWork(*job)
	if p == nil || p.serve == nil || w == nil {
		return errUsage
	}
	lc := net.ListenConfig{KeepAlive: p.keepAlive}
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if *profile != "" {
		stop, err := startProfile(*profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	failed := make(chan error, 1)
	go func() { failed <- p.serve(l, w) }()
	fmt.Println(l.Addr())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		io.Copy(io.Discard, os.Stdin)
	}()
	select {
	case err := <-failed:
		return err
	case <-ended:
		return nil
	}
}

func startProfile(name string) (stop func() error, err error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

// serveOurs serves with Default. The limits are set so that none refuses the work; every check is made as ever.
func serveOurs(l net.Listener, w *work) error {
	srv := oursServer(nil)
	var err error
	if srv.TLSConfig, err = serverTLS(w); err != nil {
		return err
	}
	return srv.Serve(l)
}

// fields is a handler that looks at every header field.
type fields struct {
	esmtp.Default
	octets int
}

// HEADER uses its strings, as a handler would.
func (f *fields) HEADER(_ *esmtp.Session, name, value string) esmtp.Reply {
	f.octets += len(name) + len(value)
	return esmtp.Reply{}
}

func serveOursHeader(l net.Listener, _ *work) error {
	return oursServer(func(*esmtp.Session) esmtp.Handler { return new(fields) }).Serve(l)
}

// serveOursMetrics is the same, and every command, message and session is counted.
func serveOursMetrics(l net.Listener, w *work) error {
	srv := oursServer(nil)
	srv.Observer = metrics.New("esmtp").Observer("sink")
	var err error
	if srv.TLSConfig, err = serverTLS(w); err != nil {
		return err
	}
	return srv.Serve(l)
}

func oursServer(newHandler func(*esmtp.Session) esmtp.Handler) *esmtp.Server {
	return &esmtp.Server{
		Hostname:   "sink.example",
		NewHandler: newHandler,
		Limits:     esmtp.Limits{Connections: 1 << 20, Messages: 1 << 20},
		Logger:     slog.New(slog.DiscardHandler), // the others log nothing either
	}
}

// drop is a session of go-smtp that keeps nothing.
type drop struct{}

func (drop) Reset()                               {}
func (drop) Logout() error                        { return nil }
func (drop) Mail(string, *smtp.MailOptions) error { return nil }
func (drop) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (drop) Data(r io.Reader) error               { _, err := io.Copy(io.Discard, r); return err }

func serveGoSMTP(l net.Listener, w *work) error {
	srv := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return drop{}, nil }))
	srv.Domain = "sink.example"
	var err error
	if srv.TLSConfig, err = serverTLS(w); err != nil {
		return err
	}
	return srv.Serve(l)
}
