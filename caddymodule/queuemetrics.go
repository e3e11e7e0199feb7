package caddymodule

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/spool"
)

// queueMetrics count what becomes of mail in the queues, for Prometheus. Attempts are counted when they are made, for all configs of this process; how
// full a queue is its spool is asked when somebody wants to know. No address, domain or host that senders or recipients choose is a label.
type queueMetrics struct {
	attempts   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	recipients *prometheus.CounterVec
	time       *prometheus.HistogramVec
	reused     *prometheus.CounterVec
	reports    *prometheus.CounterVec
	hops       hopLabels

	items, oldest, full, active, concurrency *prometheus.Desc
}

// The buckets in seconds: an attempt takes milliseconds on a network of one's own, minutes with a server that is slow; a message waits up to days.
var (
	attemptBuckets   = []float64{.005, .01, .05, .1, .5, 1, 5, 10, 30, 60, 300, 1800}
	queueTimeBuckets = []float64{.05, .1, .5, 1, 5, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 2 * 24 * 3600, 5 * 24 * 3600}
)

// queueCounters count for all configs that this process ever had.
var queueCounters = newQueueMetrics("caddy_esmtp")

func newQueueMetrics(prefix string) *queueMetrics {
	name := func(name string) string { return prometheus.BuildFQName(prefix, "", name) }
	counter := func(n, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name(n), Help: help}, append([]string{"queue"}, labels...))
	}
	histogram := func(n, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name(n), Help: help, Buckets: buckets}, []string{"queue", "result"})
	}
	gauge := func(n, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name(n), help, append([]string{"queue"}, labels...), nil)
	}
	return &queueMetrics{
		attempts:    counter("attempts_total", "Attempts to deliver, by what became of them.", "result"),
		duration:    histogram("attempt_duration_seconds", "How long attempts took.", attemptBuckets),
		recipients:  counter("deliveries_total", "Recipients in attempts, by the next hop, how it was talked to, and what became of them.", "hop", "protocol", "tls", "policy", "result"),
		time:        histogram("queue_time_seconds", "How long items that are done were in the queue.", queueTimeBuckets),
		reused:      counter("attempts_reused_total", "Attempts over a connection that was there already."),
		reports:     counter("reports_total", "Reports that were made for senders."),
		items:       gauge("queue_items", "Items in the queue, by their state.", "state"),
		oldest:      gauge("queue_oldest_seconds", "Age of the oldest item, by state.", "state"),
		full:        gauge("queue_full", "1 while nothing is taken, since the disk is full."),
		active:      gauge("queue_active", "Attempts that are being made."),
		concurrency: gauge("queue_concurrency", "Attempts that can be made at a time."),
	}
}

func (m *queueMetrics) counters() []prometheus.Collector {
	return []prometheus.Collector{m.attempts, m.duration, m.recipients, m.time, m.reused, m.reports}
}

// Describe implements [prometheus.Collector].
func (m *queueMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, c := range m.counters() {
		c.Describe(out)
	}
	for _, d := range []*prometheus.Desc{m.items, m.oldest, m.full, m.active, m.concurrency} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *queueMetrics) Collect(out chan<- prometheus.Metric) {
	for _, c := range m.counters() {
		c.Collect(out)
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	seen := make(map[string]bool)
	for _, q := range liveQueues() {
		name := q.names[0]
		if seen[name] { // that of an old config, with another spool
			continue
		}
		seen[name] = true
		active, limit := q.activity()
		gauge(m.active, float64(active), name)
		gauge(m.concurrency, float64(limit), name)
		stats, ok := q.live.shared.stats.get(q.live.shared)
		if !ok {
			continue
		}
		full := 0.0
		if stats.Full {
			full = 1
		}
		gauge(m.full, full, name)
		for state := range spool.Delivered {
			gauge(m.items, float64(stats.Count[state]), name, state.String())
			age := 0.0
			if oldest, ok := stats.Oldest[state]; ok {
				age = max(time.Since(oldest).Seconds(), 0)
			}
			if state != spool.Sending { // which the spool counts with those that are queued
				gauge(m.oldest, age, name, state.String())
			}
		}
	}
}

// observer is what the relay of a queue tells after each attempt.
func (q *Queue) observer() func(relay.Attempt) {
	name, shared := q.name, q.live.shared
	return func(a relay.Attempt) {
		queueCounters.attempt(name, a)
		shared.attempts.tell(a)
	}
}

// attempt counts an attempt.
func (m *queueMetrics) attempt(queue string, a relay.Attempt) {
	result := attemptResult(a)
	m.attempts.WithLabelValues(queue, result).Inc()
	m.duration.WithLabelValues(queue, result).Observe(a.Took.Seconds())
	if a.Reused {
		m.reused.WithLabelValues(queue).Inc()
	}
	if a.Reports > 0 {
		m.reports.WithLabelValues(queue).Add(float64(a.Reports))
	}
	if a.Item.State == spool.Delivered {
		m.time.WithLabelValues(queue, result).Observe(time.Since(a.Item.Created()).Seconds())
	}
	to := destinationOf(a)
	hop := m.hops.label(to.hop)
	for _, n := range []struct {
		result string
		count  int
	}{{"accepted", a.Accepted}, {"failed", a.Failed}, {"delayed", a.Later}} {
		if n.count > 0 {
			m.recipients.WithLabelValues(queue, hop, to.protocol, to.tls, to.policy, n.result).Add(float64(n.count))
		}
	}
}

// cachedStats are the numbers of a spool, not quite new: to count takes longer the fuller it is, and who asks often must not slow it down.
type cachedStats struct {
	mu    sync.Mutex
	at    time.Time
	until time.Time
	stats spool.Stats
}

// How old numbers can be: some seconds, or, if they take long to get, so long that a small part of the time goes into it.
const (
	statsAge     = 5 * time.Second
	statsPart    = 20
	statsTimeout = 5 * time.Second
)

// get returns the numbers, the last ones if there are no new ones to be had, and whether there are any.
func (c *cachedStats) get(s spool.Spool) (spool.Stats, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if begun := time.Now(); begun.After(c.until) {
		ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
		defer cancel()
		stats, err := s.Stats(ctx, 0)
		if err == nil {
			c.stats, c.at = stats, begun
		}
		c.until = time.Now().Add(max(statsAge, statsPart*time.Since(begun)))
	}
	return c.stats, !c.at.IsZero()
}
