package metrics_test

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/metrics"
)

func Example() {
	registry := prometheus.NewRegistry()
	m := metrics.New("esmtp")
	registry.MustRegister(m)
	srv := &esmtp.Server{Hostname: "mx.example.org", Observer: m.Observer("mx")}
	defer srv.Close()

	families, err := registry.Gather()
	if err != nil {
		fmt.Println(err)
	}
	for _, family := range families {
		fmt.Println(family.GetName())
	}
	// Output:
	// esmtp_connections_total
	// esmtp_message_bytes_total
	// esmtp_messages_total
	// esmtp_phase_duration_seconds
	// esmtp_recipients_total
	// esmtp_sessions
	// esmtp_sessions_outlived
}
