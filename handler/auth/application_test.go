package auth_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/handler/auth"
)

// application starts an HTTP server, and makes a layer that asks it.
func application(t *testing.T, serve http.HandlerFunc) *auth.Application {
	t.Helper()
	srv := httptest.NewServer(serve)
	t.Cleanup(srv.Close)
	app, err := auth.NewApplication(srv.URL + "/login?key=letmein")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(app.Close)
	return app
}

func TestTheApplicationIsAsked(t *testing.T) {
	questions := make(chan auth.Question, 1)
	app := application(t, func(w http.ResponseWriter, r *http.Request) {
		var q auth.Question
		dec := json.NewDecoder(r.Body)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&q); err != nil || r.Method != "POST" || r.Header.Get("Authorization") != "Bearer x" || r.Host != "app.example" {
			t.Errorf("got %v, %v", r, err)
		}
		questions <- q
		w.WriteHeader(http.StatusNoContent)
	})
	app.Header = http.Header{"Authorization": {"Bearer x"}, "Host": {"app.example"}}
	app.Tokens = true
	srv, _ := serve(t, app.NewLayer)
	c, offers := dial(t, srv)
	if offers != "PLAIN LOGIN OAUTHBEARER XOAUTH2" {
		t.Errorf("offered are %s", offers)
	}
	c.Cmd("AUTH PLAIN "+b64("bob\x00ann\x00secret"), "235 *")
	q := <-questions
	if q.Session == "" {
		t.Error("the session has no name")
	}
	q.Session = ""
	if want := (auth.Question{User: "ann", Identity: "bob", Password: "secret", Mechanism: "PLAIN", Remote: "192.0.2.1:49152", HELO: "client.example",
		Hostname: "mx.example.org"}); q != want {
		t.Errorf("got %+v, want %+v", q, want)
	}
	c, _ = dial(t, srv)
	c.Cmd("AUTH XOAUTH2 "+b64("user=ann\x01auth=Bearer token\x01\x01"), "235 *")
	if q := <-questions; q.User != "ann" || q.Token != "token" || q.Mechanism != "XOAUTH2" {
		t.Errorf("got %+v", q)
	}
}

func TestTheApplicationsAnswer(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	t.Cleanup(elsewhere.Close)
	for status, want := range map[int]string{200: "235 *", 299: "235 *", 401: "535 5.7.8 *", 403: "535 5.7.8 *", 404: "454 4.7.0 *", 500: "454 4.7.0 *",
		302: "454 4.7.0 *", 307: "454 4.7.0 *"} {
		app := application(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(status)
			io.WriteString(w, "not read by anybody")
		})
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel() // a refusal takes a second
			srv, _ := serve(t, app.NewLayer)
			c, offers := dial(t, srv)
			if offers != "PLAIN LOGIN" {
				t.Errorf("offered are %s", offers)
			}
			c.Cmd(plain("ann", "secret"), want)
		})
	}
}

func TestAnApplicationThatIsSilentOrGone(t *testing.T) {
	release := make(chan struct{})
	app := application(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	app.Timeout = time.Millisecond
	srv, log := serve(t, app.NewLayer)
	c, _ := dial(t, srv)
	c.Cmd(plain("ann", "secret"), "454 4.7.0 *")

	gone, err := auth.NewApplication("http://127.0.0.1:1/?key=letmein")
	if err != nil {
		t.Fatal(err)
	}
	srv, goneLog := serve(t, gone.NewLayer)
	c, _ = dial(t, srv)
	c.Cmd(plain("ann", "secret"), "454 4.7.0 *")
	text := log.String() + goneLog.String()
	if strings.Contains(text, "letmein") || strings.Contains(text, "secret") || !strings.Contains(text, "deadline exceeded") {
		t.Errorf("got %s", text)
	}
}

func TestWrongURLs(t *testing.T) {
	for _, address := range []string{"", "app", "/login", "ftp://app.example/", "http://", "http://[::1"} {
		if _, err := auth.NewApplication(address); err == nil {
			t.Errorf("%q is no error", address)
		}
	}
}
