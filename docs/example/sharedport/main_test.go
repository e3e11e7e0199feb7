package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-esmtp/esmtp/esmtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWebAndMailOnOnePort(t *testing.T) {
	certificate, trust := esmtptest.Certificate(t, "mx.example.org")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := NewPort(certificate)
	done := make(chan error)
	go func() { done <- port.Serve(l) }()

	for want, set := range map[string]func(*http.Protocols, bool){
		"Hello by HTTP/1.1\n": (*http.Protocols).SetHTTP1,
		"Hello by HTTP/2.0\n": (*http.Protocols).SetUnencryptedHTTP2,
	} {
		transport := &http.Transport{Protocols: new(http.Protocols)}
		set(transport.Protocols, true)
		resp, err := (&http.Client{Transport: transport}).Get("http://" + l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != want {
			t.Errorf("got %q, want %q", body, want)
		}
		resp.Body.Close()
		transport.CloseIdleConnections()
	}

	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := esmtptest.NewClient(t, conn)
	c.Expect("220 mx.example.org *")
	c.Cmd("EHLO client.example", "250 HELP")
	c.Cmd("STARTTLS", "220 *")
	if err := c.StartTLS(trust); err != nil {
		t.Fatal(err)
	}
	c.Cmd("EHLO client.example", "250 HELP")

	go func() { done <- port.Shutdown(context.Background()) }()
	c.Expect("421 4.3.2 *")
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
