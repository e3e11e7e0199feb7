package metrics

import (
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-esmtp/esmtp"
)

// server are the counters of a server.
type server struct {
	m           *Metrics
	name        string
	connections prometheus.Counter
	commands    [len(verbs)][len(codes)]atomic.Pointer[prometheus.Counter] // nil: it hasn't happened yet
	recipients  [len(results)]prometheus.Counter
	messages    map[string]counters // by verdict

	connect, handshake, auth, command, receive, handle, session prometheus.Observer
}

// counters are those of messages of one verdict.
type counters struct{ messages, octets prometheus.Counter }

func newServer(m *Metrics, name string) *server {
	srv := &server{m: m, name: name, connections: m.connections.WithLabelValues(name), messages: make(map[string]counters)}
	for i, result := range results {
		srv.recipients[i] = m.recipients.WithLabelValues(name, result)
	}
	for _, verdict := range verdicts {
		srv.messages[verdict] = counters{m.messages.WithLabelValues(name, verdict), m.messageBytes.WithLabelValues(name, verdict)}
	}
	for phase, observer := range map[string]*prometheus.Observer{
		"connect": &srv.connect, "tls": &srv.handshake, "auth": &srv.auth, "command": &srv.command,
		"receive": &srv.receive, "handle": &srv.handle, "session": &srv.session,
	} {
		*observer = m.phases.WithLabelValues(name, phase)
	}
	return srv
}

func (srv *server) connected(s *esmtp.Session) {
	srv.connections.Inc()
	srv.m.watch(s.Server(), srv)
}

// replied is called for each command: nothing in it allocates or locks, but for the first time.
func (srv *server) replied(_ *esmtp.Session, verb string, r esmtp.Reply, took time.Duration) {
	v, code := verbIndex(verb), codeIndex(r.Code)
	cell := &srv.commands[v][code]
	counter := cell.Load()
	if counter == nil {
		c := srv.m.commands.WithLabelValues(srv.name, verbs[v], codes[code])
		counter = &c
		cell.Store(counter)
	}
	(*counter).Inc()
	switch verb {
	case "RCPT":
		srv.recipients[resultIndex(r.Code)].Inc()
		srv.command.Observe(took.Seconds())
	case "CONNECT":
		srv.connect.Observe(took.Seconds())
	case "AUTH":
		srv.auth.Observe(took.Seconds())
	case "EOM": // message tells more
	default:
		srv.command.Observe(took.Seconds())
	}
}

func (srv *server) refused(_ *esmtp.Session, _ esmtp.Reply, why error) {
	srv.m.refused.WithLabelValues(srv.name, Reason(why)).Inc()
}

// dropped counts a connection that never becomes a session.
func (srv *server) dropped(net.Addr) {
	srv.connections.Inc()
	srv.refused(nil, esmtp.Reply{}, esmtp.ErrTooMany)
	srv.limited(nil, esmtp.LimitConnections)
}

func (srv *server) secured(s *esmtp.Session, took time.Duration, err error) {
	srv.handshake.Observe(took.Seconds())
	version, cipher, result := "", "", "failure"
	if state := s.TLS(); err == nil && state != nil {
		version, cipher, result = tlsVersion(state.Version), tls.CipherSuiteName(state.CipherSuite), "success"
	}
	srv.m.handshakes.WithLabelValues(srv.name, version, cipher, result).Inc()
}

func (srv *server) authenticated(_ *esmtp.Session, name, _ string, r esmtp.Reply) {
	srv.m.authentications.WithLabelValues(srv.name, mechanism(name), authResult(r.Code)).Inc()
}

func (srv *server) message(s *esmtp.Session, r esmtp.Reply, times esmtp.MessageTimes) {
	tx := s.Transaction()
	n := srv.messages[tx.Verdict().Outcome(r)]
	n.messages.Inc()
	n.octets.Add(float64(tx.Octets()))
	srv.receive.Observe(times.Receive.Seconds())
	srv.handle.Observe(times.Handle.Seconds())
}

func (srv *server) limited(_ *esmtp.Session, limit esmtp.Limit) {
	srv.m.limits.WithLabelValues(srv.name, string(limit)).Inc()
}

func (srv *server) failed(_ *esmtp.Session, e esmtp.SessionError) {
	srv.m.errors.WithLabelValues(srv.name, Class(e)).Inc()
}

func (srv *server) ended(s *esmtp.Session, _ error) {
	srv.session.Observe(time.Since(s.Started()).Seconds())
}
