package caddymodule

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// What a Caddyfile can't say JSON can't either: a message that expires before it was tried is lost, and so is a quarantine that ends at once.
func TestMistakesInAQueueInJSONAreFoundByValidate(t *testing.T) {
	const upTo = ": it can be up to 8784h0m0s; leave it out for the default"
	const count = ": it can be 1 to 1000000; leave it out for the default"
	for queue, want := range map[string]string{
		`{"expire":-1}`:                    "expire is -1ns" + upTo,
		`{"expire":9000000000000000000}`:   "expire is 2500000h0m0s" + upTo,
		`{"expire_reports":-1}`:            "expire_reports is -1ns" + upTo,
		`{"keep_removed":-1}`:              "keep_removed is -1ns" + upTo,
		`{"keep_quarantined":"-1d"}`:       "keep_quarantined is -24h0m0s" + upTo,
		`{"warn":"10000h"}`:                "warn is 10000h0m0s" + upTo,
		`{"concurrency":-1}`:               "concurrency is -1" + count,
		`{"per_route":1000001}`:            "per_route is 1000001" + count,
		`{"retry":[0]}`:                    "retry has a wait of 0s: each can be above zero and up to 8784h0m0s",
		`{"retry":["10000h"]}`:             "retry has a wait of 10000h0m0s",
		`{"hostname":"a b\r\nMAIL FROM:"}`: `esmtp: hostname "a b\r\nMAIL FROM:" is neither a domain name nor an address literal`,
		`{"logins":[{"hop":"a@b","password":"x"},{"hop":"a@b:25","password":"y"}]}`: "there are two logins for smtp://a@b:25",
		`{"next_hops":["a@b"]}`:              "next hop smtp://a@b:25 has a user and no password: want login smtp://a@b:25 <password> in the queue",
		`{"hostname":"{env.ESMTP_TEST_NO}"}`: "hostname: placeholder {env.ESMTP_TEST_NO} is empty",
	} {
		config := `{"admin":{"disabled":true},"apps":{"esmtp":{"queues":{"default":` + queue + `}}}}`
		if err := tryValidate([]byte(config)); err == nil || !strings.Contains(err.Error(), "queue default: "+want) {
			t.Errorf("%s:\n got %v\nwant %s", queue, err, want)
		}
	}
	for handler, want := range map[string]string{
		`{"handler":"queue","max_hops":-1}`:                            "max_hops is -1" + count,
		`{"handler":"queue","retry":[-1]}`:                             "retry has a wait of -1ns",
		`{"handler":"webhook","urls":["http://c/"],"retry":[-1]}`:      "retry has a wait of -1ns",
		`{"handler":"webhook","urls":["http://c/"],"timeout":"-1s"}`:   "webhook: timeout is -1s" + upTo,
		`{"handler":"webhook","urls":["http://c/"],"queue":"no such"}`: `there is no queue "no such"`,
	} {
		config := `{"admin":{"disabled":true},"apps":{"esmtp":{"servers":{"a":{"listen":[":2525"],"handlers":[` + handler + `]}}}}}`
		if err := tryValidate([]byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", handler, err, want)
		}
	}
	for _, queue := range []string{`{"warn":-1}`, `{"expire":"366d","retry":["366d"],"concurrency":1000000}`, `{"hostname":"[192.0.2.1]"}`} {
		validate(t, []byte(`{"admin":{"disabled":true},"apps":{"esmtp":{"queues":{"default":`+queue+`}}}}`))
	}
}

// The hostname of a queue is what its placeholders say.
func TestAQueuesHostnameHasPlaceholders(t *testing.T) {
	t.Setenv("ESMTP_TEST_HOST", "mx")
	q := &Queue{Hostname: "{env.ESMTP_TEST_HOST}.example.org"}
	if err := (&queueSet{queues: make(map[string]*Queue), log: slog.New(slog.DiscardHandler)}).add("a", q); err != nil {
		t.Fatal(err)
	}
	if q.Hostname != "mx.example.org" {
		t.Errorf("got %s", q.Hostname)
	}
}

// A spool has one name, however it is spelt.
func TestSpoolURLs(t *testing.T) {
	here, err := filepath.Abs("x")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":                   filepath.Join(caddy.AppDataDir(), "esmtp", "inbound"),
		"/x/y":               "/x/y",
		"/x//./y/":           "/x/y",
		"sqlite:///x/y/":     "/x/y",
		"x":                  here,
		"./z/../x":           here,
		"postgres://u@h/n?x": "postgres://u@h/n?x",
		"sqlite://x":         "sqlite://x", // which is refused when it is opened
	} {
		if got, err := spoolURL(text, "inbound"); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
}

// What is said of a hop that no mail goes to would be ignored without a word.
func TestXFORWARDForAHopThatIsNotThere(t *testing.T) {
	var log strings.Builder
	q := &Queue{
		NextHops: []string{"a.example"}, Routes: []QueueRoute{{Domain: "x.example", NextHops: []string{"lmtp://b.example"}}}, handlerHops: []string{"unix//run/c"},
		XFORWARD: []string{"smtp://a.example:25", "b.example", "lmtp://b.example:24", "lmtp+unix:///run/c"},
		log:      slog.New(slog.NewTextHandler(&log, nil)),
	}
	q.warnUnused()
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "hop=smtp://b.example:25") || !strings.Contains(got, "level=WARN") {
		t.Errorf("got %s", got)
	}
}
