package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp/spool"
)

// lastErrors are those of the items of the default queue.
func lastErrors(t *testing.T) (all []string) {
	t.Helper()
	app, err := caddy.ActiveContext().App("esmtp")
	if err != nil {
		t.Fatal(err)
	}
	items, _, err := app.(*App).queues.queues[defaultQueue].live.shared.List(context.Background(), spool.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range items {
		all = append(all, it.LastError)
	}
	return all
}

// waitsFor waits until the one item that there is waits for a reason.
func waitsFor(t *testing.T, reason string) {
	t.Helper()
	eventually(t, func() string {
		if all := lastErrors(t); len(all) != 1 || !strings.HasPrefix(all[0], reason) {
			return fmt.Sprintf("got %q, want one %q", all, reason)
		}
		return ""
	})
}

// What is queued for a URL or a login that a reload took away waits, and says why; it doesn't go out without what it was to have. When that is there again
// it goes.
func TestWhatAReloadTakesAwayIsWaitedFor(t *testing.T) {
	var up atomic.Bool
	posted := make(chan string, 10)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Token") != "token" || r.Header.Get("X-Esmtp-Signature") == "" {
			t.Errorf("%s was posted to without a token, or a signature", r.URL.Path)
		}
		if !up.Load() {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		posted <- r.URL.Path
	}))
	defer app.Close()
	r := newQueueRig(t)
	config := func(paths ...string) string {
		urls := app.URL + strings.Join(paths, " "+app.URL)
		return fmt.Sprintf("queue {\nspool %s\nretry 1s\n}\nunix/%s {\nhostname in.example.org\nwebhook %s {\nheader X-Token token\nsecret s\n}\n}\n", r.spool, r.in, urls)
	}
	load(t, config("/old"))
	r.send(t, "bob@example.net")
	waitsFor(t, "451 4.3.0")
	if err := tryLoad(t, config("/new")); err != nil {
		t.Fatal(err)
	}
	waitsFor(t, "451 4.3.5 the URL")
	up.Store(true)
	if err := tryLoad(t, config("/new", "/old")); err != nil {
		t.Fatal(err)
	}
	if path := <-posted; path != "/old" {
		t.Errorf("%s was posted to", path)
	}

	session := dial(t, r.in) // it goes on with that config, and so do its hops
	session.Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: MAIL FROM:<ann@example.net>\nS: 250 *\nC: RCPT TO:<late@example.net>\nS: 250 *")
	if err := tryLoad(t, config("/newest")); err != nil {
		t.Fatal(err)
	}
	session.Run("C: DATA\nS: 354 *\nC: Subject: late\nC: .\nS: 250 2.0.0 queued as *")
	if path := <-posted; path != "/new" {
		t.Errorf("%s was posted to", path)
	}
	session.Run("C: QUIT\nS: 221 *\nclose")
}

func TestALoginThatAReloadTakesAwayIsWaitedFor(t *testing.T) {
	r := newQueueRig(t)
	config := func(setting, hop string) string {
		return fmt.Sprintf("queue {\nspool %s\nretry 1s\n%s\n}\nunix/%s {\nhostname in.example.org\nqueue %s\n}\n", r.spool, setting, r.in, hop)
	}
	hop := "ann@" + closedPort(t)
	load(t, config("login "+hop+" secret", hop))
	r.send(t, "bob@example.net")
	waitsFor(t, "451 4.4.1")
	if err := tryLoad(t, config("", "")); err != nil {
		t.Fatal(err)
	}
	waitsFor(t, "451 4.3.5 the login")
}
