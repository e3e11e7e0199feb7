package main

import (
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// startCaddy runs the Caddyfile of this folder, listening on a Unix socket, and returns the path of that.
func startCaddy(t *testing.T) string {
	dir, err := os.MkdirTemp("", "book") // a short path: that of a socket can't be long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	t.Setenv("GUESTBOOK_LISTEN", "unix/"+socket)
	text, err := os.ReadFile("Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { caddy.Stop() })
	return socket
}

func TestGuestbookInCaddy(t *testing.T) {
	conn, err := net.Dial("unix", startCaddy(t))
	if err != nil {
		t.Fatal(err)
	}
	client := textproto.NewConn(conn)
	defer client.Close()
	for _, step := range []struct{ send, code, text string }{
		{"", "220", "book.example.org ESMTP Mail Server"},
		{"HELO client.example", "250", "book.example.org OK"},
		{"MAIL FROM:<ann@spam.example>", "250", "2.1.0 ann@spam.example, sender ok"},
		{"RCPT TO:<guests@example.org>", "550", "5.7.1 You have written enough"},
		{"RSET", "250", "2.0.0 OK"},
		{"MAIL FROM:<ann@client.example>", "250", "2.1.0 ann@client.example, sender ok"},
		{"RCPT TO:<bob@example.org>", "550", "5.1.1 There is only guests@example.org"},
		{"RCPT TO:<Guests@Example.org>", "250", "2.1.5 Guests@Example.org, recipient ok"},
		{"DATA", "354", `Enter mail, end with "." on a line by itself`},
		{"Subject: hello\r\n\r\nNice page!\r\n.", "250", "2.0.0 Thank you, this was your entry 1"},
		{"QUIT", "221", "2.0.0 Closing connection"},
	} {
		if step.send != "" {
			if err := client.PrintfLine("%s", step.send); err != nil {
				t.Fatal(err)
			}
		}
		line, err := client.ReadLine()
		if want := step.code + " " + step.text; err != nil || line != want {
			t.Fatalf("%q: got %q, %v, want %q", step.send, line, err, want)
		}
	}
}
