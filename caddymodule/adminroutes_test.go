package caddymodule

import (
	"fmt"
	"maps"
	"net"
	"net/http"
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
