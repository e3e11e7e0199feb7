package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/spool"
)

// value is that of a counter or a gauge.
func value(m *dto.Metric) float64 { return m.GetCounter().GetValue() + m.GetGauge().GetValue() }

// What becomes of mail is askedSpool, over a reload too; how full the queue is is asked for.
func TestQueueMetrics(t *testing.T) {
	a := loadQueueAdmin(t, "")
	of := func(metric, labels string) float64 {
		t.Helper()
		return value(gathered(t, "caddy_esmtp_"+metric)[labels])
	}
	begin := map[string]float64{}
	want := map[string]float64{
		"attempts_total default,delivered":                                           3, // two messages and a report
		"attempts_total default,failed":                                              1,
		"deliveries_total " + a.rig.hop() + ",configured,smtp,default,accepted,none": 3, // hop, policy, protocol, queue, result, tls
		"reports_total default":                                                      1,
	}
	for name := range want {
		metric, labels, _ := strings.Cut(name, " ")
		begin[name] = of(metric, labels)
	}
	a.rig.send(t, "bob@example.net")
	a.rig.delivered(t, "bob", "to bob@example.net")
	a.load(a.rig.block(a.rig.hop(), "retry 2h"))
	a.rig.send(t, "cid@example.net")
	a.rig.send(t, "stranger@example.org")
	a.rig.delivered(t, "ann", "Action: failed")
	a.put("x", letter("ann@one.example", "bob@two.example"))
	a.put("x", in(spool.Quarantined, letter("ann@one.example", "bob@two.example")))
	eventually(t, func() string {
		for name := range want {
			metric, labels, _ := strings.Cut(name, " ")
			if got := of(metric, labels) - begin[name]; got != want[name] {
				return name + ": " + strings.Join(slices.Sorted(maps.Keys(gathered(t, "caddy_esmtp_"+metric))), "; ")
			}
		}
		return ""
	})
	if n := gathered(t, "caddy_esmtp_queue_time_seconds")["default,delivered"].GetHistogram().GetSampleCount(); n < 3 {
		t.Errorf("got %d", n)
	}
	if of("attempts_reused_total", "default") == 0 || of("queue_concurrency", "default") != 100 {
		t.Error("no connection was reused, or there is no limit")
	}
	q, err := findQueue("default")
	if err != nil {
		t.Fatal(err)
	}
	q.live.shared.stats.until = time.Time{} // else the numbers are those of before
	if of("queue_items", "default,queued") != 1 || of("queue_items", "default,quarantined") != 1 || of("queue_items", "default,frozen") != 0 ||
		of("queue_oldest_seconds", "default,queued") <= 0 || of("queue_oldest_seconds", "default,frozen") != 0 {
		t.Errorf("got %v", gathered(t, "caddy_esmtp_queue_items"))
	}
}

// Nothing that a sender or a recipient chooses becomes a label, nor what is secret.
func TestDestinationsAreFew(t *testing.T) {
	for _, test := range []struct {
		a    relay.Attempt
		want destination
	}{
		{relay.Attempt{}, destination{"none", "none", "none", "none"}},
		{relay.Attempt{Hop: "mx://evil.example"}, destination{"mx", "none", "none", "none"}},
		{relay.Attempt{Hop: "mx://evil.example", Host: "mx.evil.example", TLS: "TLS 1.3", Policy: "dane"}, destination{"mx", "smtp", "1.3", "dane"}},
		{relay.Attempt{Hop: "smtps://ann@smart.example", Host: "smart.example", TLS: "TLS 1.2", Policy: "configured"},
			destination{"smtps://smart.example:465", "smtps", "1.2", "configured"}},
		{relay.Attempt{Hop: "unix//run/lmtp", Host: "/run/lmtp", TLS: "SSLv3", Policy: "evil.example"}, destination{"lmtp+unix:///run/lmtp", "lmtp", "other", "other"}},
		{relay.Attempt{Hop: "https://hooks.example/secret", Host: "hooks.example"}, destination{"https://hooks.example", "https", "none", "none"}},
	} {
		if got := destinationOf(test.a); got != test.want {
			t.Errorf("%+v: got %+v, want %+v", test.a, got, test.want)
		}
	}
	var l hopLabels
	for i := range 2 * maxHopLabels {
		hop := fmt.Sprint("smtp://", i)
		want := hop
		if i >= maxHopLabels {
			want = "other"
		}
		if got := l.label(hop); got != want || l.label("smtp://1") != "smtp://1" && i > 0 {
			t.Errorf("%s: got %s, want %s", hop, got, want)
		}
	}
}

// askedSpool is a spool that counts how often it is asked for its numbers.
type askedSpool struct {
	spool.Spool
	asked int
	err   error
}

func (s *askedSpool) Stats(context.Context, int) (spool.Stats, error) {
	s.asked++
	return spool.Stats{Full: true}, s.err
}

// Who scrapes often gets numbers that are some seconds old, and the last ones if there are none.
func TestAScrapeDoesNotAskTheSpoolEachTime(t *testing.T) {
	var c cachedStats
	s := &askedSpool{err: errors.New("not now")}
	if _, ok := c.get(s); ok || s.asked != 1 {
		t.Errorf("got %v, asked %d times", ok, s.asked)
	}
	s.err, c.until = nil, time.Time{}
	for range 10 {
		if stats, ok := c.get(s); !ok || !stats.Full || s.asked != 2 {
			t.Fatalf("got %v, asked %d times", ok, s.asked)
		}
	}
	s.err, c.until = errors.New("not now"), time.Time{}
	if stats, ok := c.get(s); !ok || !stats.Full || s.asked != 3 {
		t.Errorf("got %v, asked %d times", ok, s.asked)
	}
}
