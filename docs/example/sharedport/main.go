// Command sharedport serves web and mail on one port, without Caddy: net/http and package esmtp behind cmux. Run it with
//
//	go run ./docs/example/sharedport
//
// and ask it both ways:
//
//	curl http://127.0.0.1:2527/
//	curl smtp://127.0.0.1:2527/client.example --mail-from ann@client.example --mail-rcpt user@example.org --upload-file README.md
//
// With -cert and -key it offers STARTTLS. In Caddy the listener wrapper esmtp does all this, and more.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/soheilhy/cmux"

	"github.com/caddy-esmtp/esmtp"
)

// wait is how long a client may be silent before it is taken for a mail client, which waits for our greeting.
const wait = time.Second

// moreMethods are those of HTTP that cmux doesn't know by itself.
var moreMethods = []string{"PATCH", "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH", "QUERY"}

// Port is a port with two servers.
type Port struct {
	Web  *http.Server
	Mail *esmtp.Server
}

// Serve serves both until l is closed, or one of them is.
func (p *Port) Serve(l net.Listener) error {
	mux := cmux.New(l)
	mux.SetReadTimeout(wait) // without it a silent client would be waited for without end
	mux.HandleError(func(error) bool {
		time.Sleep(10 * time.Millisecond) // so that it takes breath when there are too many open files
		return true
	})
	web := mux.Match(cmux.HTTP1Fast(moreMethods...), cmux.HTTP2())
	mail := mux.Match(cmux.Any()) // what is no HTTP, and what is silent
	go p.Web.Serve(web)
	go p.Mail.Serve(mail)
	if err := mux.Serve(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Shutdown lets requests and messages that are coming come whole. The first server to close its listener closes that of both: cmux's are one.
func (p *Port) Shutdown(ctx context.Context) error {
	return errors.Join(p.Web.Shutdown(ctx), p.Mail.Shutdown(ctx))
}

// NewPort makes a web server that says hello, and a mail server that takes all mail and keeps none. Without a certificate there is no STARTTLS.
func NewPort(certificates ...tls.Certificate) *Port {
	web := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "Hello by %s\n", r.Proto)
		}),
		ReadHeaderTimeout: time.Minute,
		Protocols:         new(http.Protocols),
	}
	web.Protocols.SetHTTP1(true)
	web.Protocols.SetUnencryptedHTTP2(true)
	mail := &esmtp.Server{Hostname: "mx.example.org"}
	if len(certificates) > 0 {
		mail.TLSConfig = &tls.Config{Certificates: certificates}
	}
	return &Port{web, mail}
}

func main() {
	address := flag.String("listen", "127.0.0.1:2527", "the `address` to listen on")
	cert := flag.String("cert", "", "the `file` of the certificate for STARTTLS")
	key := flag.String("key", "", "the `file` of its key")
	flag.Parse()
	var certificates []tls.Certificate
	if *cert != "" {
		certificate, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			log.Fatal(err)
		}
		certificates = append(certificates, certificate)
	}
	l, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	port := NewPort(certificates...)
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	failed := make(chan error, 1)
	go func() { failed <- port.Serve(l) }()
	select {
	case err := <-failed:
		log.Fatal(err)
	case <-interrupted.Done():
	}
	if err := port.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
}
