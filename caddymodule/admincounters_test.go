package caddymodule

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// What the admin API counts the metrics count alike, whatever becomes of a connection.
func TestCountersAndMetricsAgree(t *testing.T) {
	addr, name := freeAddress(t), newServerName()
	a := loadAdmin(t, "server "+name+" "+addr+` {
		hostname mx.example.org
		limits {
			connections 1
			recipients 1
		}
		forbid_early
		@refused remote_ip 127.0.0.2
		@slow remote_ip 127.0.0.3
		handle @refused {
			respond CONNECT 554 5.7.1 "no"
		}
		handle @slow {
			timeouts {
				greeting 1h
			}
			log
		}
		handle {
			log
		}
	}
`)
	talk := func(from, script string) {
		dialFrom(t, from, addr).Run(script)
		settle(t)
	}
	talk("127.0.0.1", "S: 220 *\nC: HELO a\nS: 250 *\nC: MAIL FROM:<a@b>\nS: 250 *\nC: RCPT TO:<c@d>\nS: 250 *\nC: RCPT TO:<e@f>\nS: 452 *\nC: DATA\nS: 354 *\nC: .\nS: 250 *\n"+goodbye)
	talk("127.0.0.1", "S: 220 *\nC| EHLO a\\r\\nNOOP\\r\\n\nS: 554 *\nclose\nleave") // who was greeted isn't refused
	talk("127.0.0.1", "S: 220 *\nC: GET / HTTP/1.1\nS: 421 *\nclose\nleave")
	talk("127.0.0.2", "S: 554 *\n"+goodbye)
	talk("127.0.0.3", "C: EHLO a\nS: 554 *\nclose\nleave")
	first := dialFrom(t, "127.0.0.1", addr)
	first.Expect("220 *")
	dialFrom(t, "127.0.0.1", addr).Run("S: 421 *\nclose\nleave")
	first.Run(goodbye)
	settle(t)
	app, err := caddy.ActiveContext().App("esmtp")
	if err != nil {
		t.Fatal(err)
	}
	app.(*App).Servers[name].engine.Observer.Dropped(nil)

	var got struct{ Servers []tallyView }
	a.get("GET", "/esmtp/counters", &got)
	i := slices.IndexFunc(got.Servers, func(v tallyView) bool { return v.Server == name })
	v := got.Servers[i]
	sum := func(rows map[string]uint64) (n uint64) {
		for _, row := range rows {
			n += row
		}
		return n
	}
	refused := rowsOf(t, name, "caddy_esmtp_connections_refused_total")
	if want := map[string]uint64{"handler": 1, "early_talker": 1, "too_many": 2}; !maps.Equal(refused, want) {
		t.Errorf("got refused %v, want %v", refused, want)
	}
	if v.Connections.All != 8 || v.Connections.All != sum(rowsOf(t, name, "caddy_esmtp_connections_total")) || v.Connections.Refused != sum(refused) {
		t.Errorf("got %+v", v.Connections)
	}
	if want := rowsOf(t, name, "caddy_esmtp_limits_hit_total"); !maps.Equal(v.Limits, want) || want["connections"] != 2 {
		t.Errorf("limits: the counters are %v, the metrics %v", v.Limits, want)
	}
	if want := rowsOf(t, name, "caddy_esmtp_errors_total"); !maps.Equal(v.Errors, want) || want["early_talker"] != 2 || want["not_smtp"] != 1 {
		t.Errorf("errors: the counters are %v, the metrics %v", v.Errors, want)
	}
}

// rowsOf are the values of a metric of a server, by the label besides.
func rowsOf(t *testing.T, server, name string) map[string]uint64 {
	t.Helper()
	rows := make(map[string]uint64)
	for labels, row := range gathered(t, name) {
		if parts := strings.Split(labels, ","); slices.Contains(parts, server) {
			label := strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == server }), ",")
			rows[label] = uint64(row.GetCounter().GetValue())
		}
	}
	return rows
}
