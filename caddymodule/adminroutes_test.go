package caddymodule

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
)

// withRoutes is a server with a route for a client, one for another, and sessions that have none.
const withRoutes = ` {
	hostname mx.example.org
	max_size 1000
	limits {
		connections 100
	}
	auth {
		allow_insecure
		users {
			ann {PLAIN}x
		}
	}
	rates {
		recipients 9
	}
	@one remote_ip 127.0.0.1
	@two remote_ip 127.0.0.2
	test_layered
	handle @one {
		hostname one.example.org
		max_size 2000
		limits {
			recipients 5
			messages off
		}
		timeouts {
			command 7s
		}
		rates {
			messages 3
			recipients off
		}
		test_inbox
	}
	handle @two {
		log
	}
}
`

// What a route sets is shown with it, and what it doesn't set as its sessions have it: from the server.
func TestAdminShowsWhatHoldsInARoute(t *testing.T) {
	addr := freeAddress(t)
	a := loadAdmin(t, addr+withRoutes)
	var got struct{ Servers []serverView }
	a.get("GET", "/esmtp/servers", &got)
	s := got.Servers[0]
	if len(s.Routes) != 2 || s.Limits["message_bytes"] != 1000.0 || s.Rates["messages"] != nil || fmt.Sprint(s.Handlers) != "[test_layered]" {
		t.Fatalf("got %+v", s)
	}
	one, two := s.Routes[0], s.Routes[1]
	if one.Name != "one" || one.Hostname != "one.example.org" || one.Limits["message_bytes"] != 2000.0 || one.Limits["recipients"] != 5.0 ||
		one.Limits["messages"] != nil || one.Limits["errors"] != 20.0 || one.Timeouts["command"] != 7.0 || one.Timeouts["data"] != 300.0 || one.Auth != "users" ||
		one.Rates["messages"] != 3.0 || one.Rates["recipients"] != nil || fmt.Sprint(one.Handlers) != "[test_inbox]" || one.TLS {
		t.Errorf("got %+v", one)
	}
	if two.Name != "two" || two.Hostname != "mx.example.org" || two.Limits["message_bytes"] != 1000.0 || two.Rates["recipients"] != 9.0 {
		t.Errorf("got %+v", two)
	}
	for kind, shown := range map[string]map[string]any{"limit": one.Limits, "rate": one.Rates} { // what a route can't have
		for _, name := range countedFirst[kind] {
			if _, ok := shown[name]; ok {
				t.Errorf("the route has the %s %s", kind, name)
			}
		}
	}
}

// A client's use is counted over all routes, and compared with what each of them allows.
func TestAdminShowsTheLimitsOfRoutes(t *testing.T) {
	addr := freeAddress(t)
	a := loadAdmin(t, addr+withRoutes)
	var got struct{ Servers []limitsView }
	a.get("GET", "/esmtp/limits", &got)
	s := got.Servers[0]
	if len(s.Routes) != 2 || s.Routes[0].Rates["messages"] != 3.0 || s.Routes[0].Limits["recipients"] != 5.0 || s.Sessions.Limit != 100.0 {
		t.Errorf("got %+v", s)
	}
	c := s.client(esmtp.ClientUsage{Messages: 2, Recipients: 4, Handshakes: 6})
	want := map[string]string{"auth_failures": "{0 30 map[]}", "messages": "{2 <nil> map[one:3]}", "recipients": "{4 9 map[one:<nil>]}"}
	shown := make(map[string]string)
	for name, rate := range c.Rates {
		shown[name] = fmt.Sprint(rate)
	}
	if !maps.Equal(shown, want) {
		t.Errorf("got %v, want %v", shown, want)
	}
}

// Where a session is can be seen, and sessions can be chosen by it.
func TestAdminChoosesSessionsByTheirRoute(t *testing.T) {
	addr := freeAddress(t)
	a := loadAdmin(t, addr+withRoutes)
	one, two, none := dialFrom(t, "127.0.0.1", addr), dialFrom(t, "127.0.0.2", addr), dialFrom(t, "127.0.0.3", addr)
	one.Expect("220 one.example.org *")
	two.Expect("220 mx.example.org *")
	none.Expect("220 mx.example.org *")
	for query, want := range map[string]string{"": "[one two ]", "?route=one": "[one]", "?route=": "[]", "?route=nosuch": "none"} {
		var routes []string
		for _, s := range a.sessions(query).Sessions {
			routes = append(routes, s.Route)
		}
		if got := fmt.Sprint(routes); got != want && (len(routes) > 0 || want != "none") {
			t.Errorf("%q: got %s, want %s", query, got, want)
		}
	}
	if resp, text := a.send("POST", "/esmtp/sessions/"+a.sessions("?route=one").Sessions[0].ID+"/messages", "7"); resp.StatusCode != http.StatusAccepted || <-inboxes != "7" {
		t.Errorf("got %s %s", resp.Status, text)
	}
	if out, err := a.run(sessionsCommand(), "--route", "two"); err != nil || strings.Count(out, "\n") != 2 || !strings.Contains(out, " srv0/two ") {
		t.Errorf("got %v\n%s", err, out)
	}
	if _, err := a.run(kickCommand(), "--route", "one"); err != nil {
		t.Error(err)
	}
	one.Expect("421 4.3.2 one.example.org Session ended by the administrator") // which is the name that it was greeted with
	two.Cmd("QUIT", "221 *")
	none.Cmd("QUIT", "221 *")
}

// Events tell the route, and can be chosen by it.
func TestAdminStreamsEventsOfARoute(t *testing.T) {
	addr := freeAddress(t)
	a := loadAdmin(t, addr+withRoutes)
	s, rest := a.stream("?commands=1&route=one"), a.stream("?route=&type=ended")
	for _, from := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.1"} {
		dialFrom(t, from, addr).Run("S: 220 *\nC: QUIT\nS: 221 *\nclose")
	}
	types, raw := s.until("ended")
	if got := strings.Join(types, " "); got != "replied replied ended" || strings.Count(raw, `"server":"srv0","route":"one","session":"`) != 3 {
		t.Errorf("got %s\n%s", got, raw)
	}
	if e, raw := rest.next(); strings.Contains(raw, "route") || !strings.HasPrefix(e.Remote, "127.0.0.3:") {
		t.Errorf("got %s", raw)
	}
	s.end()
	rest.end()
	unwatched(t)
}

// Caddy's events tell it too, of sessions that have one.
func TestEventsTellTheRoute(t *testing.T) {
	record(t)
	path := socket(t)
	loadEvents(t, "a", path, "@local unix\nhandle @local {\nlog\n}")
	dial(t, path).Run("S: 220 *\n" + goodbye)
	wantEvents(t, "a esmtp_session_ended")
	if got := recorded.data[eventSessionEnded]["route"]; got != "local" {
		t.Errorf("got %v", got)
	}
	recorded.events = nil
	loadEvents(t, "b", path, "log")
	dial(t, path).Run("S: 220 *\n" + goodbye)
	wantEvents(t, "b esmtp_session_ended")
	if got, ok := recorded.data[eventSessionEnded]["route"]; ok {
		t.Errorf("got %v", got)
	}
}

// A connection that is dropped is in the stream by the limit that it hit, with what is known: it has no session.
func TestAdminStreamsDroppedConnections(t *testing.T) {
	path := socket(t)
	a := loadAdmin(t, quiet(path))
	s, near := a.stream(""), a.stream("?remote=192.0.2.0/24")
	app, err := caddy.ActiveContext().App("esmtp")
	if err != nil {
		t.Fatal(err)
	}
	dropped := app.(*App).Servers["srv0"].engine.Observer.Dropped
	dropped(nil)
	dropped(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4711})
	_, unknown := s.next()
	_, known := s.next()
	for got, want := range map[string]string{unknown: `,"server":"srv0","limit":"connections"}`, known: `,"server":"srv0","remote":"192.0.2.1:4711","limit":"connections"}`} {
		if !strings.HasPrefix(got, `{"type":"limited","time":"`) || !strings.HasSuffix(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if _, got := near.next(); got != known {
		t.Errorf("got %s", got)
	}
	var out strings.Builder
	if err := writeEvent(&out, []byte(known)); err != nil || !strings.HasSuffix(out.String(), " - srv0 192.0.2.1:4711 limited connections\n") {
		t.Errorf("got %s, %v", out.String(), err)
	}
	s.end()
	near.end()
	unwatched(t)
}

// What the admin API counts the metrics count alike, whatever becomes of a connection.
func TestCountersAndMetricsAgree(t *testing.T) {
	addr := freeAddress(t)
	a := loadAdmin(t, "server agree "+addr+` {
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
	app.(*App).Servers["agree"].engine.Observer.Dropped(nil)

	var got struct{ Servers []tallyView }
	a.get("GET", "/esmtp/counters", &got)
	i := slices.IndexFunc(got.Servers, func(v tallyView) bool { return v.Server == "agree" })
	v := got.Servers[i]
	sum := func(rows map[string]uint64) (n uint64) {
		for _, row := range rows {
			n += row
		}
		return n
	}
	refused := rowsOf(t, "caddy_esmtp_connections_refused_total")
	if want := map[string]uint64{"handler": 1, "early_talker": 1, "too_many": 2}; !maps.Equal(refused, want) {
		t.Errorf("got refused %v, want %v", refused, want)
	}
	if v.Connections.All != 8 || v.Connections.All != sum(rowsOf(t, "caddy_esmtp_connections_total")) || v.Connections.Refused != sum(refused) {
		t.Errorf("got %+v", v.Connections)
	}
	if want := rowsOf(t, "caddy_esmtp_limits_hit_total"); !maps.Equal(v.Limits, want) || want["connections"] != 2 {
		t.Errorf("limits: the counters are %v, the metrics %v", v.Limits, want)
	}
	if want := rowsOf(t, "caddy_esmtp_errors_total"); !maps.Equal(v.Errors, want) || want["early_talker"] != 2 || want["not_smtp"] != 1 {
		t.Errorf("errors: the counters are %v, the metrics %v", v.Errors, want)
	}
}

// rowsOf are the values of a metric of the server agree, by the label besides.
func rowsOf(t *testing.T, name string) map[string]uint64 {
	t.Helper()
	rows := make(map[string]uint64)
	for labels, row := range gathered(t, name) {
		if parts := strings.Split(labels, ","); slices.Contains(parts, "agree") {
			label := strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "agree" }), ",")
			rows[label] = uint64(row.GetCounter().GetValue())
		}
	}
	return rows
}
