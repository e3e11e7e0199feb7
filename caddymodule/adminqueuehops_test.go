package caddymodule

import (
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/spool"
)

// speechless starts a next hop that takes connections and says nothing. end ends it, and them.
func speechless(t *testing.T) (address string, end func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
		}
	})
	end = func() {
		l.Close()
		accepting.Wait()
	}
	t.Cleanup(end)
	return l.Addr().String(), end
}

// due is an item for a domain, to be sent now.
func due(domain string) *spool.Item {
	it := letter("ann@one.example", "bob@"+domain)
	it.Due = time.Now()
	return it
}

// awaitHops waits until a path answers with all of this, and nothing else.
func (a *queueAdmin) awaitHops(query, want string) {
	a.Helper()
	eventually(a.T, func() string {
		if _, text := a.send("GET", "/esmtp/queues/default/hops"+query, ""); text != want+"\n" {
			return fmt.Sprintf("%s: got %s, want %s", query, text, want)
		}
		return ""
	})
}

// What attempts do at a hop is seen while they do it: those of an old config too, and no longer when they have ended. Who logs in can be hidden, and
// the password is nowhere.
func TestAdminShowsHops(t *testing.T) {
	address, end := speechless(t)
	rig, hop := newQueueRig(t), "ann@"+address
	settings := "per_route 1\nlogin " + hop + " geheim\nretry 1h"
	a := &queueAdmin{loadAdmin(t, rig.block(hop, settings)), rig}
	a.awaitHops("", `{"hops":[]}`)
	a.put("1", due("one.example"))
	a.put("2", due("two.example"))
	a.awaitHops("", `{"hops":[{"hop":"smtp://`+hop+`","active":1,"waiting":1,"idle":0}]}`)
	a.awaitHops("?redact=1", `{"hops":[{"hop":"***@`+address+`","active":1,"waiting":1,"idle":0}]}`)
	out, err := a.queue("hops")
	if want := fmt.Sprintf("HOP%s  ACTIVE  WAITING  IDLE  SILENT\nsmtp://%s  1       1        0     -\n", strings.Repeat(" ", len(hop)+4), hop); err != nil || out != want {
		t.Errorf("got %v\n%s, want\n%s", err, out, want)
	}
	if out, err = a.queue("hops", "--json", "--redact", "--queue", "default"); err != nil || out != `{"hop":"***@`+address+`","active":1,"waiting":1,"idle":0}`+"\n" {
		t.Errorf("got %v\n%s", err, out)
	}

	a.load(rig.block(hop, settings+" 2h"))
	a.put("3", due("three.example"))
	a.awaitHops("", `{"hops":[{"hop":"smtp://`+hop+`","active":2,"waiting":1,"idle":0}]}`)
	end()
	a.awaitHops("", `{"hops":[]}`)
	if out, err = a.queue("hops"); err != nil || out != "HOP  ACTIVE  WAITING  IDLE  SILENT\n" {
		t.Errorf("got %v\n%s", err, out)
	}
}

// Connections that are kept are seen, and go with the config that they are of.
func TestAdminShowsIdleConnections(t *testing.T) {
	a := loadQueueAdmin(t, "")
	a.rig.send(t, "bob@example.net")
	a.rig.delivered(t, "bob", "to bob@example.net")
	a.awaitHops("", `{"hops":[{"hop":"smtp+unix://`+a.rig.out+`","active":0,"waiting":0,"idle":1}]}`)
	a.load(a.rig.block(a.rig.hop(), "retry 2h"))
	a.awaitHops("", `{"hops":[]}`)
}

func TestHopsOfManyRelaysAreOneList(t *testing.T) {
	now := time.Now()
	sooner, later := now.Add(time.Minute), now.Add(2*time.Minute)
	got := addHops(
		[]relay.HopStatus{{Hop: "a", Active: 1, Waiting: 2, Idle: 3, SilentUntil: later}, {Hop: "c", Idle: 1}},
		nil,
		[]relay.HopStatus{{Hop: "a", Active: 10, Waiting: 20, Idle: 30, SilentUntil: sooner}, {Hop: "b", SilentUntil: sooner}, {Hop: "d", Active: 1}},
		[]relay.HopStatus{{Hop: "c", SilentUntil: later}},
	)
	want := []hopView{{"a", 11, 22, 33, later}, {"b", 0, 0, 0, sooner}, {"c", 0, 0, 1, later}, {"d", 1, 0, 0, time.Time{}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := addHops(); got == nil || len(got) != 0 {
		t.Errorf("got %#v, want a list with nothing in it", got)
	}
}

func TestCommandSaysUntilWhenAHopIsLeftAlone(t *testing.T) {
	until := time.Date(2026, 11, 21, 12, 34, 56, 7, time.Local).UTC()
	var out strings.Builder
	if err := writeHops(&out, []hopView{{Hop: "mx://\x1bexample.net:25", Active: 1, SilentUntil: until}, {Hop: "mx://b.example:25", Idle: 12}}); err != nil {
		t.Fatal(err)
	}
	want := "HOP                   ACTIVE  WAITING  IDLE  SILENT\nmx://?example.net:25  1       0        0     until 12:34:56\nmx://b.example:25     0       0        12    -\n"
	if out.String() != want {
		t.Errorf("got\n%s, want\n%s", out.String(), want)
	}
}
