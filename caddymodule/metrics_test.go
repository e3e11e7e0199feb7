package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/metrics" // of which the page tells
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// gathered are the rows of a metric on the registry of the active config, by their labels, such as "srv0,accepted".
func gathered(t *testing.T, name string) map[string]*dto.Metric {
	t.Helper()
	ctx := caddy.ActiveContext()
	families, err := ctx.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]*dto.Metric)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, row := range family.Metric {
			var labels []string
			for _, label := range row.Label {
				labels = append(labels, label.GetValue())
			}
			rows[strings.Join(labels, ",")] = row
		}
	}
	return rows
}

// Counters go on over a reload, and the sessions of the config that was replaced are counted as long as they last.
func TestMetricsSurviveAReload(t *testing.T) {
	path := socket(t)
	load(t, server(path, "one"))
	count := func() float64 { return gathered(t, "caddy_esmtp_connections_total")["srv0"].GetCounter().GetValue() }
	sessions := func() (n float64) {
		for _, row := range gathered(t, "caddy_esmtp_sessions") {
			n += row.GetGauge().GetValue()
		}
		return n
	}
	begin := count()
	old := dial(t, path)
	old.Run("S: 220 *")
	load(t, server(path, "two"))
	young := dial(t, path)
	young.Run("S: 220 *")
	if got := count() - begin; got != 2 {
		t.Errorf("got %v connections, want 2", got)
	}
	eventually(t, func() string { // the old config hears of the new one in its own time
		got, outlived := sessions(), gathered(t, "caddy_esmtp_sessions_outlived")["srv0"].GetGauge().GetValue()
		if got != 2 || outlived != 1 {
			return fmt.Sprintf("got %v sessions, of which %v old, want 2 and 1", got, outlived)
		}
		return ""
	})
	old.Run(goodbye)
	young.Run(goodbye)
	settle(t)
	if got := sessions(); got != 0 {
		t.Errorf("got %v sessions at the end, want none", got)
	}
	if got := gathered(t, "caddy_esmtp_commands_total")["221,srv0,QUIT"].GetCounter().GetValue(); got < 2 {
		t.Errorf("got %v QUITs", got)
	}
}

var fullName = regexp.MustCompile(`fqName: "(\w+)"`)

// metricNames are the names of all that we have for Prometheus, as a query has them.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	for _, c := range collectors {
		descs := make(chan *prometheus.Desc, 1000)
		c.Describe(descs)
		close(descs)
		for d := range descs {
			name := fullName.FindStringSubmatch(d.String())[1]
			names[name] = true
		}
	}
	return names
}

// inQuery finds the metrics in a query, without what a histogram's rows have behind its name.
var inQuery = regexp.MustCompile(`\b(caddy_\w+?)(_bucket|_sum|_count)?\b`)

// dashboard is what a Grafana dashboard must have.
type dashboard struct {
	Title         string `json:"title"`
	UID           string `json:"uid"`
	SchemaVersion int    `json:"schemaVersion"`
	Panels        []struct {
		ID      int    `json:"id"`
		Type    string `json:"type"`
		Title   string `json:"title"`
		GridPos struct {
			H, W, X, Y int
		} `json:"gridPos"`
		Targets []struct {
			RefID string `json:"refId"`
			Expr  string `json:"expr"`
		} `json:"targets"`
	} `json:"panels"`
	Templating struct {
		List []struct {
			Name  string `json:"name"`
			Type  string `json:"type"`
			Query any    `json:"query"`
		} `json:"list"`
	} `json:"templating"`
}

// The dashboard asks for nothing that isn't there, and shows all that is.
func TestDashboardShowsEveryMetric(t *testing.T) {
	text, err := os.ReadFile("../docs/grafana/esmtp.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.Title == "" || d.UID == "" || d.SchemaVersion < 30 || len(d.Templating.List) == 0 {
		t.Errorf("got %+v", d)
	}
	names, shown, ids := metricNames(t), make(map[string]bool), make(map[int]bool)
	for _, panel := range d.Panels {
		if ids[panel.ID] || panel.Title == "" || panel.GridPos.W == 0 || panel.GridPos.X+panel.GridPos.W > 24 || len(panel.Targets) == 0 && panel.Type != "row" {
			t.Errorf("panel %d, %q: its id, title, place or targets are wrong", panel.ID, panel.Title)
		}
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			found := inQuery.FindAllStringSubmatch(target.Expr, -1)
			if len(found) == 0 || target.RefID == "" || strings.Count(target.Expr, "(") != strings.Count(target.Expr, ")") {
				t.Errorf("panel %q: %s is no query of ours", panel.Title, target.Expr)
			}
			for _, name := range found {
				shown[name[1]] = true
				if !names[name[1]] {
					t.Errorf("panel %q: there is no metric %s", panel.Title, name[1])
				}
			}
		}
	}
	for name := range names {
		if !shown[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// The page has all metrics, and no others.
func TestEveryMetricIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/modules/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := metricNames(t)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/modules/metrics.md has no %s", name)
		}
	}
	for _, name := range inQuery.FindAllStringSubmatch(string(page), -1) {
		if !names[name[1]] {
			t.Errorf("docs/modules/metrics.md: there is no metric %s", name[1])
		}
	}
}
