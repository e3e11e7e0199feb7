// Package metrics counts what an [esmtp.Server] does, for Prometheus. It knows nothing of Caddy.
//
//	m := metrics.New("esmtp")
//	prometheus.MustRegister(m)
//	srv := &esmtp.Server{Observer: m.Observer("mx")}
//
// The one idea to hold: everything that a client can choose is brought to one of few names before it becomes a label. A verb that is not known is
// "unknown", a reply code that nobody defined is "5xx": no client can make more rows than the code has words for.
//
// Counting a command is three additions to memory, without a lock, a look-up or an allocation: the counters of a server are found once (server.go).
package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-esmtp/esmtp"
)

// Metrics are the counters of any number of servers, by their names. It is a [prometheus.Collector], and its methods can be called by any goroutine.
type Metrics struct {
	connections     *prometheus.CounterVec
	refused         *prometheus.CounterVec
	commands        *prometheus.CounterVec
	recipients      *prometheus.CounterVec
	messages        *prometheus.CounterVec
	messageBytes    *prometheus.CounterVec
	phases          *prometheus.HistogramVec
	handshakes      *prometheus.CounterVec
	authentications *prometheus.CounterVec
	limits          *prometheus.CounterVec
	errors          *prometheus.CounterVec

	// Sessions are not counted when they come and go: they are asked for when somebody wants to know.
	sessions *prometheus.Desc
	outlived *prometheus.Desc

	mu      sync.Mutex
	servers map[string]*server
	live    map[*esmtp.Server]*server // that have or had sessions
}

// buckets are those of all phases, in seconds: a command takes less than a millisecond, a session can take an hour.
var buckets = []float64{.0005, .001, .005, .01, .05, .1, .5, 1, 5, 10, 30, 60, 300, 1800}

// New makes metrics whose names begin with prefix and an underscore.
func New(prefix string) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: prefix, Name: name, Help: help}, append([]string{"server"}, labels...))
	}
	gauge := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(prefix, "", name), help, append([]string{"server"}, labels...), nil)
	}
	return &Metrics{
		connections:     counter("connections_total", "Connections that came."),
		refused:         counter("connections_refused_total", "Connections that were refused, by reason.", "reason"),
		commands:        counter("commands_total", "Commands that were answered, by verb and reply code.", "verb", "code"),
		recipients:      counter("recipients_total", "Recipients that were accepted or refused.", "result"),
		messages:        counter("messages_total", "Messages that came whole, by what became of them.", "verdict"),
		messageBytes:    counter("message_bytes_total", "Octets of the messages that came whole, by what became of them.", "verdict"),
		handshakes:      counter("tls_handshakes_total", "TLS handshakes, by version, cipher suite and result.", "version", "cipher", "result"),
		authentications: counter("authentications_total", "AUTH commands that were carried out, by mechanism and result.", "mechanism", "result"),
		limits:          counter("limits_hit_total", "How often clients hit a limit.", "limit"),
		errors:          counter("errors_total", "What went wrong in sessions, by class.", "class"),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: prefix, Name: "phase_duration_seconds", Help: "How long the phases of sessions took.", Buckets: buckets,
		}, []string{"server", "phase"}),
		sessions: gauge("sessions", "Sessions that there are now, by what they are doing.", "state"),
		outlived: gauge("sessions_outlived", "Sessions that have outlived the configuration of their server."),
		servers:  make(map[string]*server),
		live:     make(map[*esmtp.Server]*server),
	}
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.connections, m.refused, m.commands, m.recipients, m.messages, m.messageBytes, m.phases, m.handshakes,
		m.authentications, m.limits, m.errors}
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(out)
	}
	out <- m.sessions
	out <- m.outlived
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(out)
	}
	for name, n := range m.census() {
		for state, label := range states {
			out <- prometheus.MustNewConstMetric(m.sessions, prometheus.GaugeValue, float64(n.ByState[state]), name, label)
		}
		out <- prometheus.MustNewConstMetric(m.outlived, prometheus.GaugeValue, float64(n.Outlived), name)
	}
}

// states are the states of sessions, as labels.
var states = func() (names [len(esmtp.SessionCensus{}.ByState)]string) {
	for i := range names {
		names[i] = esmtp.SessionState(i).String()
	}
	return names
}()

// census counts the sessions of all servers by the servers' names. Several servers have the same name while one drains.
func (m *Metrics) census() map[string]esmtp.SessionCensus {
	all := make(map[string]esmtp.SessionCensus)
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.servers {
		all[name] = esmtp.SessionCensus{}
	}
	for srv, counters := range m.live {
		n := srv.Census()
		sum := all[counters.name]
		sum.Outlived += n.Outlived
		total := 0
		for state := range n.ByState {
			sum.ByState[state] += n.ByState[state]
			total += n.ByState[state]
		}
		all[counters.name] = sum
		if total == 0 {
			delete(m.live, srv) // it may be gone for good; the next session brings it back
		}
	}
	return all
}

// watch has the sessions of a server counted. It is called when one has begun.
func (m *Metrics) watch(srv *esmtp.Server, counters *server) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live[srv] == counters {
		return
	}
	for other := range m.live { // those that are gone must not be kept, if nobody ever asks for metrics
		if other.SessionCount() == 0 {
			delete(m.live, other)
		}
	}
	m.live[srv] = counters
}

// Observer counts what it is told in the rows of the server of that name. Servers of the same name share them: so a server's counters live across its
// configurations.
func (m *Metrics) Observer(name string) esmtp.Observer {
	m.mu.Lock()
	defer m.mu.Unlock()
	srv := m.servers[name]
	if srv == nil {
		srv = newServer(m, name)
		m.servers[name] = srv
	}
	return esmtp.Observer{
		Connected:     srv.connected,
		Refused:       srv.refused,
		Dropped:       srv.dropped,
		Replied:       srv.replied,
		Secured:       srv.secured,
		Authenticated: srv.authenticated,
		Message:       srv.message,
		Limited:       srv.limited,
		Failed:        srv.failed,
		Ended:         srv.ended,
	}
}
