package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-esmtp/esmtp/metrics"
)

// counters count for all configs that this process ever had: a reload doesn't set them back.
var counters = metrics.New("caddy_esmtp")

// collectors are all that we have for Prometheus. What is added here belongs into docs/modules/metrics.md and the dashboard in docs/grafana too; a test
// holds them together.
var collectors = []prometheus.Collector{counters, queueCounters}

// registerMetrics puts the collectors on the registry of a config, which is another one for each.
func registerMetrics(ctx caddy.Context) error {
	for _, c := range collectors {
		if err := ctx.GetMetricsRegistry().Register(c); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}
