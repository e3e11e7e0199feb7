package metrics_test

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// values are the values of all rows but those that are 0, as name{label="value",...}; of histograms the counts.
func values(t *testing.T, m *metrics.Metrics) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, family := range families {
		for _, row := range family.Metric {
			var labels []string
			for _, label := range row.Label {
				if label.GetName() != "server" && label.GetValue() != "" {
					labels = append(labels, label.GetValue())
				}
			}
			value := row.GetCounter().GetValue() + row.GetGauge().GetValue() + float64(row.GetHistogram().GetSampleCount())
			if value != 0 {
				all[strings.TrimPrefix(family.GetName(), "esmtp_")+" "+strings.Join(labels, " ")] = value
			}
		}
	}
	return all
}

func wantValues(t *testing.T, m *metrics.Metrics, want map[string]float64) {
	t.Helper()
	if got := values(t, m); !maps.Equal(got, want) {
		for _, name := range slices.Sorted(maps.Keys(got)) {
			if got[name] != want[name] {
				t.Errorf("%s: got %v, want %v", name, got[name], want[name])
			}
		}
		for name := range want {
			if _, ok := got[name]; !ok {
				t.Errorf("%s: missing, want %v", name, want[name])
			}
		}
	}
}

// wait waits until a server has no session left.
func wait(t *testing.T, srv *esmtp.Server) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); srv.SessionCount() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a session doesn't end")
		}
	}
}

const envelope = "S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: MAIL FROM:<a@b>\nS: 250 *\nC: RCPT TO:<c@d>\nS: 250 *\n"

func TestASessionIsCounted(t *testing.T) {
	m := metrics.New("esmtp")
	srv := &esmtp.Server{Observer: m.Observer("mx"), Limits: esmtp.Limits{Recipients: 1}}
	s := esmtptest.NewServer(t, srv)
	c := s.Dial()
	c.Run(envelope + "C: RCPT TO:<e@f>\nS: 452 *\nC: DATA\nS: 354 *\nC: 12345678\nC: .\nS: 250 *\nC: XYZZY\nS: 500 *\nC: " + strings.Repeat("X", 50) + "\nS: 500 *\nC: DATA\nS: 503 *")
	if got := values(t, m)["sessions waiting"] + values(t, m)["sessions busy"]; got != 1 {
		t.Errorf("got %v sessions, want 1", got)
	}
	c.Run("C: QUIT\nS: 221 *\nclose\nleave")
	wait(t, srv)
	wantValues(t, m, map[string]float64{
		"connections_total ": 1, "commands_total 220 CONNECT": 1, "commands_total 250 EHLO": 1, "commands_total 250 MAIL": 1,
		"commands_total 250 RCPT": 1, "commands_total 452 RCPT": 1, "commands_total 354 DATA": 1, "commands_total 503 DATA": 1, "commands_total 250 EOM": 1,
		"commands_total 500 unknown": 2, "commands_total 221 QUIT": 1,
		"recipients_total accepted": 1, "recipients_total refused_temporarily": 1, "limits_hit_total recipients": 1, "errors_total out_of_order": 1,
		"messages_total accepted": 1, "message_bytes_total accepted": 10,
		"phase_duration_seconds connect": 1, "phase_duration_seconds command": 9, "phase_duration_seconds receive": 1, "phase_duration_seconds handle": 1,
		"phase_duration_seconds session": 1,
	})
}

// odd is a handler with replies that no standard has.
type odd struct{ esmtp.Default }

func (odd) NOOP(*esmtp.Session, string) esmtp.Reply { return esmtp.Say(559, "odd") }

// What a client or a handler makes up is no label.
func TestLabelsAreBounded(t *testing.T) {
	m := metrics.New("esmtp")
	srv := &esmtp.Server{Observer: m.Observer("mx"), NewHandler: func(*esmtp.Session) esmtp.Handler { return odd{} }, Limits: esmtp.Limits{Errors: -1}}
	c := esmtptest.Dial(t, srv)
	c.Run("S: 220 *\nC: NOOP\nS: 559 *")
	for c0 := 'A'; c0 <= 'Z'; c0++ {
		c.Cmd(strings.Repeat(string(c0), 5), "500 *")
	}
	c.Run("C: QUIT\nS: 221 *\nclose")
	wait(t, srv)
	rows := make(map[string]float64)
	for name, n := range values(t, m) {
		if strings.HasPrefix(name, "commands_total ") {
			rows[name] = n
		}
	}
	want := map[string]float64{"commands_total 220 CONNECT": 1, "commands_total 5xx NOOP": 1, "commands_total 500 unknown": 26, "commands_total 221 QUIT": 1}
	if !maps.Equal(rows, want) {
		t.Errorf("got %v, want %v", rows, want)
	}
}

// refusing is a handler that takes nobody.
type refusing struct{ esmtp.Default }

func (refusing) CONNECT(*esmtp.Session) esmtp.Reply { return esmtp.Deny(554, 5, 7, 1, "no") }

func TestRefusedConnectionsAndErrorsAreCounted(t *testing.T) {
	refuse := func(*esmtp.Session) esmtp.Handler { return refusing{} }
	for _, test := range []struct {
		name   string
		srv    *esmtp.Server
		script string
		want   string
	}{
		{"by the handler", &esmtp.Server{NewHandler: refuse}, "S: 554 *\nC: QUIT\nS: 221 *\nclose", "connections_refused_total handler"},
		{"HTTP", &esmtp.Server{}, "S: 220 *\nC: GET / HTTP/1.1\nS: 421 *\nclose", "errors_total not_smtp"},
		{"TLS", &esmtp.Server{}, "S: 220 *\nC| \\x16\\x03\\x01\\x00\\n\nS: 500 *\nclose", "errors_total not_smtp"},
		{"out of order", &esmtp.Server{}, "S: 220 *\nC: DATA\nS: 503 *\nC: QUIT\nS: 221 *\nclose", "errors_total out_of_order"},
		{"a client that leaves", &esmtp.Server{}, "S: 220 *\nleave", "errors_total closed"},
		{"before the greeting", &esmtp.Server{Timeouts: esmtp.Timeouts{Greeting: time.Minute}}, "C: EHLO a\nS: 554 *\nclose", "connections_refused_total early_talker"},
		{"too early", &esmtp.Server{ForbidEarly: true}, "S: 220 *\nC| EHLO a\\r\\nNOOP\\r\\n\nS: 554 *\nclose", "errors_total early_talker"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := metrics.New("esmtp")
			srv := test.srv
			srv.Observer = m.Observer("mx")
			esmtptest.NewServer(t, srv).Dial().Run(test.script + "\nleave")
			wait(t, srv)
			got := values(t, m)
			if got[test.want] != 1 {
				t.Errorf("got %v, want %s", got, test.want)
			}
			for name := range got {
				if strings.HasPrefix(name, "connections_refused_total ") && name != test.want { // who was greeted is not refused
					t.Errorf("%s is counted, too", name)
				}
			}
		})
	}
}

func TestTooManyConnectionsAreCounted(t *testing.T) {
	m := metrics.New("esmtp")
	srv := &esmtp.Server{Observer: m.Observer("mx"), Limits: esmtp.Limits{Connections: 1}}
	s := esmtptest.NewServer(t, srv)
	a := s.Dial()
	a.Run("S: 220 *")
	s.Dial().Run("S: 421 *\nclose\nleave")
	a.Run("C: QUIT\nS: 221 *\nclose\nleave")
	wait(t, srv)
	if got := values(t, m); got["connections_total "] != 2 || got["connections_refused_total too_many"] != 1 || got["limits_hit_total connections"] != 1 {
		t.Errorf("got %v", got)
	}
}

// A connection that is dropped is one that came, one that was refused, and one that hit the limit.
func TestDroppedConnectionsAreCounted(t *testing.T) {
	m := metrics.New("esmtp")
	m.Observer("mx").Dropped(&net.TCPAddr{})
	wantValues(t, m, map[string]float64{"connections_total ": 1, "connections_refused_total too_many": 1, "limits_hit_total connections": 1})
}

// verdicts is a handler that does as the sender's name says.
type verdicts struct{ esmtp.Default }

func (verdicts) EOM(s *esmtp.Session) esmtp.Reply {
	switch tx := s.Transaction(); tx.From().Local() {
	case "hold":
		tx.Hold("")
		tx.TakeVerdict()
	case "quarantine":
		tx.Quarantine("", esmtp.Deny(550, 5, 7, 1, "no"))
		tx.TakeVerdict()
	case "discard":
		tx.Discard("")
	case "consume":
		tx.Consume(esmtp.Reply{})
	case "send":
		tx.Send()
		tx.TakeVerdict()
	case "refuse":
		tx.Discard("")
		return esmtp.Deny(550, 5, 7, 1, "no")
	case "later":
		return esmtp.Deny(451, 4, 7, 1, "later")
	}
	return esmtp.OK("kept")
}

func TestMessagesAreCountedByVerdict(t *testing.T) {
	m := metrics.New("esmtp")
	srv := &esmtp.Server{Observer: m.Observer("mx"), NewHandler: func(*esmtp.Session) esmtp.Handler { return verdicts{} }}
	c := esmtptest.NewServer(t, srv).Dial()
	c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...")
	for _, from := range []string{"a", "hold", "quarantine", "discard", "consume", "send", "refuse", "later"} {
		c.Run("C: MAIL FROM:<" + from + "@b>\nS: 250 *\nC: RCPT TO:<c@d>\nS: 250 *\nC: DATA\nS: 354 *\nC: 1234\nC: .\nS: *")
	}
	c.Run("C: QUIT\nS: 221 *\nclose\nleave")
	wait(t, srv)
	got := values(t, m)
	for _, verdict := range []string{"accepted", "held", "quarantined", "discarded", "consumed", "sent", "refused_permanently", "refused_temporarily"} {
		if got["messages_total "+verdict] != 1 || got["message_bytes_total "+verdict] != 6 {
			t.Errorf("%s: got %v messages, %v octets", verdict, got["messages_total "+verdict], got["message_bytes_total "+verdict])
		}
	}
}

func TestHandshakesAreCounted(t *testing.T) {
	m := metrics.New("esmtp")
	cert, config := esmtptest.Certificate(t, "mx.example.org")
	srv := &esmtp.Server{Observer: m.Observer("mx"), Hostname: "mx.example.org", TLSConfig: serverTLS(cert)}
	s := esmtptest.NewServer(t, srv)
	c := s.Dial()
	c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: STARTTLS\nS: 220 *")
	if err := c.StartTLS(config); err != nil {
		t.Fatal(err)
	}
	c.Run("C: QUIT\nS: 221 *\nclose")
	c = s.Dial()
	c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: STARTTLS\nS: 220 *\nC: no hello\nleave")
	wait(t, srv)
	good := 0.0
	for name, n := range values(t, m) {
		if strings.HasPrefix(name, "tls_handshakes_total TLS_") && strings.HasSuffix(name, " success 1.3") {
			good += n
		}
	}
	if got := values(t, m); good != 1 || got["tls_handshakes_total failure"] != 1 || got["errors_total handshake"] != 1 || got["phase_duration_seconds tls"] != 2 {
		t.Errorf("got %v", got)
	}
}

// Servers of one name share their rows, and what one that ended has counted stays.
func TestCountersOutliveAServer(t *testing.T) {
	m := metrics.New("esmtp")
	for range 2 {
		srv := &esmtp.Server{Observer: m.Observer("mx")}
		s := esmtptest.NewServer(t, srv)
		s.Dial().Run("S: 220 *\nC: QUIT\nS: 221 *\nclose\nleave")
		wait(t, srv)
	}
	if got := values(t, m)["connections_total "]; got != 2 {
		t.Errorf("got %v connections, want 2", got)
	}
}

func TestOutlivedSessionsAreCounted(t *testing.T) {
	m := metrics.New("esmtp")
	old, young := &esmtp.Server{Observer: m.Observer("mx")}, &esmtp.Server{Observer: m.Observer("mx")}
	a, b := esmtptest.NewServer(t, old).Dial(), esmtptest.NewServer(t, young).Dial()
	a.Run("S: 220 *")
	b.Run("S: 220 *")
	drain(t, old)
	got := values(t, m)
	if got["sessions_outlived "] != 1 || got["sessions waiting"]+got["sessions busy"] != 2 {
		t.Errorf("got %v", got)
	}
	a.Run("C: QUIT\nS: 221 *\nclose")
	b.Run("C: QUIT\nS: 221 *\nclose")
}

// A command that is counted allocates nothing, nor does a message.
func TestCountingAllocatesNothing(t *testing.T) {
	var observer esmtp.Observer
	done := make(chan struct{})
	srv := &esmtp.Server{NewHandler: func(s *esmtp.Session) esmtp.Handler { return counting{observer: &observer, t: t, done: done} }}
	observer = metrics.New("esmtp").Observer("mx")
	c := esmtptest.NewServer(t, srv).Dial()
	c.Run(envelope + "C: DATA\nS: 354 *\nC: .\nS: 250 *\nC: QUIT\nS: 221 *\nclose")
	<-done
}

// counting measures in a session's EOM, where there is a transaction.
type counting struct {
	esmtp.Default
	observer *esmtp.Observer
	t        *testing.T
	done     chan struct{}
}

func (c counting) EOM(s *esmtp.Session) esmtp.Reply {
	defer close(c.done)
	ok, no := esmtp.OK("ok"), esmtp.Deny(550, 5, 1, 1, "no")
	if n := testing.AllocsPerRun(100, func() {
		for _, verb := range []string{"", "CONNECT", "MAIL", "RCPT", "DATA", "EOM", "XFORWARD"} {
			c.observer.Replied(s, verb, ok, time.Millisecond)
			c.observer.Replied(s, verb, no, time.Second)
		}
		c.observer.Message(s, ok, esmtp.MessageTimes{Receive: time.Second})
	}); n != 0 {
		c.t.Errorf("got %v allocations, want none", n)
	}
	return ok
}

func BenchmarkReplied(b *testing.B) {
	o := metrics.New("esmtp").Observer("mx")
	r := esmtp.OK("ok")
	b.ReportAllocs()
	for b.Loop() {
		o.Replied(nil, "RCPT", r, 300*time.Microsecond)
	}
}

func serverTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// drain tells a server that another one has taken over.
func drain(t *testing.T, srv *esmtp.Server) {
	t.Helper()
	now, cancel := context.WithCancel(t.Context())
	cancel()
	if err := srv.Drain(now); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
