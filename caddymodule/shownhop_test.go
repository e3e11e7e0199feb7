package caddymodule

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/spool"
)

func TestHopsAreShownWithoutSecrets(t *testing.T) {
	for hop, want := range map[string][2]string{
		"":                              {"", ""},
		"example.org":                   {"example.org", "example.org"},
		"smtp://ann@mx.example.org:587": {"smtp://ann@mx.example.org:587", "***@mx.example.org:587"},
		"https://app.example.org/a%2Fb?token=x#y": {"https://app.example.org/a%2Fb", "https://app.example.org"},
		"HTTP://ann:x@app.example.org:80":         {"http://app.example.org:80", "http://app.example.org:80"},
		"http://app.example.org/ann@example.org":  {"http://app.example.org/ann@example.org", "http://app.example.org"},
		"http://%zz?token=x":                      {"http://…", "http://…"},
	} {
		if got := [2]string{shownHop(hop), redactHop(hop)}; got != want {
			t.Errorf("%q: got %q, want %q", hop, got, want)
		}
	}
}

// What the admin API says of an item for a webhook has no secret of its URL, with or without redact.
func TestAdminShowsNoSecretsOfURLs(t *testing.T) {
	a := loadQueueAdmin(t, "")
	it := letter("ann@one.example", "bob@two.example")
	it.NextHops = []string{"https://app.example.org/path?token=s3same", "https://ann:s3same@backup.example.org/path"}
	it.Route = it.NextHops[0]
	id := a.put("1", it)[0].String()
	for path, want := range map[string]string{
		"/esmtp/queues":                `"route":"https://app.example.org/path"`,
		"/esmtp/queues/default":        `"route":"https://app.example.org/path"`,
		items:                          `"next_hops":["https://app.example.org/path","https://backup.example.org/path"]`,
		items + "?redact=1":            `"next_hops":["https://app.example.org","https://backup.example.org"]`,
		items + "/" + id:               `"route":"https://app.example.org/path"`,
		items + "/" + id + "?redact=1": `"route":"https://app.example.org"`,
	} {
		_, text := a.send("GET", path, "")
		if !strings.Contains(text, want) || strings.Contains(text, "s3same") || strings.Contains(path, "redact") && strings.Contains(text, "/path") {
			t.Errorf("%s: got %s\nwant %s", path, text, want)
		}
	}
	for _, e := range []queueEvent{newQueueEvent(spool.Event{Route: it.Route, Time: time.Now()}), newAttemptEvent(relay.Attempt{Item: it})} {
		if e.Route != "https://app.example.org/path" || e.redacted().Route != "https://app.example.org" {
			t.Errorf("got %+v", e)
		}
		for _, route := range []string{it.Route, e.Route} { // both choose it
			if wants, err := queueEventWishes(url.Values{"route": {route}}); err != nil || !wants(queueEvent{Type: "attempt", Route: e.Route}) {
				t.Errorf("%s: got %v", route, err)
			}
		}
	}
}
