package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
)

// inbox tells what is posted to it.
type inbox struct{ esmtp.Handler }

var inboxes = make(chan string, 8)

func (*inbox) Posted(_ *esmtp.Session, message any) esmtp.Reply {
	if m, ok := message.(AdminMessage); ok {
		inboxes <- string(m.Data)
	}
	return esmtp.Reply{}
}

func init() {
	Register[inbox]("test_inbox")
}

// admin is a Caddy whose admin endpoint is a socket.
type admin struct {
	*testing.T
	socket string
	client *http.Client
}

func loadAdmin(t *testing.T, block string) *admin {
	t.Helper()
	a := &admin{T: t, socket: socket(t)}
	a.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", a.socket) }}}
	t.Cleanup(func() {
		if err := caddy.Load([]byte(`{"admin":{"disabled":true,"config":{"persist":false}}}`), true); err != nil { // which ends the endpoint; to stop Caddy doesn't
			t.Error(err)
		}
		stop(t)
	})
	a.load(block)
	return a
}

func (a *admin) load(block string) {
	a.Helper()
	config, err := adapt("{\nadmin unix/" + a.socket + "\npersist_config off\nesmtp {\n" + block + "\n}\n}\n")
	if err != nil {
		a.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		a.Fatal(err)
	}
}

// send sends a request, and returns the answer.
func (a *admin) send(method, path, body string) (*http.Response, string) {
	a.Helper()
	var resp *http.Response
	for tries := 0; resp == nil; tries++ {
		req, err := http.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
		if err != nil {
			a.Fatal(err)
		}
		// After a reload Caddy's old endpoint still accepts for a moment, and closes what it gets.
		if resp, err = a.client.Do(req); err != nil && (!errors.Is(err, io.EOF) || tries == 10) {
			a.Fatal(err)
		}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.Fatal(err)
	}
	return resp, string(text)
}

// get decodes an answer that must be good.
func (a *admin) get(method, path string, value any) {
	a.Helper()
	resp, text := a.send(method, path, "")
	if resp.StatusCode/100 != 2 {
		a.Fatalf("%s %s: %s %s", method, path, resp.Status, text)
	}
	if err := json.Unmarshal([]byte(text), value); err != nil {
		a.Fatalf("%v: %s", err, text)
	}
}

func (a *admin) sessions(query string) (page sessionsView) {
	a.Helper()
	a.get("GET", "/esmtp/sessions"+query, &page)
	return page
}

func quiet(path string) string {
	return "unix/" + path + " {\nhostname mx.example.org\ntest_inbox\n}\n"
}

func TestAdminShowsServers(t *testing.T) {
	first, second := socket(t), freeAddress(t)
	a := loadAdmin(t, "unix/"+first+" {\nhostname mx.example.org\nlimits {\nrecipients 7\nerrors off\n}\ntest_inbox\nlog\n}\n"+
		second+" {\nhostname lmtp.example.org\nlmtp\nauth {\nusers {\nann {PLAIN}x\n}\nallow_insecure\n}\nlog\n}\n")
	c := dial(t, first)
	c.Expect("220 *")
	var got struct{ Servers []serverView }
	a.get("GET", "/esmtp/servers", &got)
	if len(got.Servers) != 2 {
		t.Fatalf("got %+v", got)
	}
	s := got.Servers[0]
	if s.Name != "srv0" || s.Hostname != "mx.example.org" || s.Addresses[0] != "unix/"+first || s.Sessions != 1 || s.TLS || s.LMTP || s.Draining ||
		fmt.Sprint(s.Handlers) != "[test_inbox log]" || s.Limits["recipients"] != 7.0 || s.Limits["errors"] != nil || s.Limits["connections"] != 2000.0 ||
		s.Timeouts["command"] != 300.0 || s.Rates["auth_failures"] != 30.0 || s.Rates["messages"] != nil || time.Since(s.Loaded) > time.Minute {
		t.Errorf("got %+v", s)
	}
	if s := got.Servers[1]; s.Addresses[0] != second || !s.LMTP || s.Auth != "users" || s.Sessions != 0 {
		t.Errorf("got %+v", s)
	}
}

func TestAdminListsSessions(t *testing.T) {
	path, addr := socket(t), freeAddress(t)
	a := loadAdmin(t, quiet(path)+addr+" {\nhostname two.example.org\nallow_no_helo\nlog\n}\n")
	c := dial(t, path)
	c.Expect("220 *")
	c.Cmd("EHLO one.example", "250 *")
	c.Cmd("MAIL FROM:<ann@one.example>", "250 *")
	c.Cmd("RCPT TO:<bob@two.example>", "250 *")
	c.Cmd("RCPT TO:<cid@two.example>", "250 *")
	d := dialTCP(t, addr, "")
	d.Expect("220 *")
	e := dialTCP(t, addr, "")
	e.Expect("220 *")
	e.Cmd("NOOP", "250 *")

	all := a.sessions("?state=waiting")
	for all.Total < 3 { // a session is busy for a moment after its reply
		all = a.sessions("?state=waiting")
	}
	if all.Total != 3 || len(all.Sessions) != 3 || all.Next != "" || all.Sessions[0].ID >= all.Sessions[1].ID || all.Sessions[1].ID >= all.Sessions[2].ID {
		t.Fatalf("got %+v", all)
	}
	s := all.Sessions[0]
	if s.Server != "srv0" || s.HELO != "one.example" || s.Protocol != "ESMTP" || s.State != "waiting" || s.Envelope == nil || s.Outlived ||
		s.Envelope.From != "ann@one.example" || fmt.Sprint(s.Envelope.To) != "[bob@two.example cid@two.example]" || s.Envelope.Recipients != 2 ||
		s.OctetsIn < 100 || s.OctetsOut < 100 || s.Envelope.Transaction != s.ID+".1" {
		t.Errorf("got %+v %+v", s, s.Envelope)
	}
	for query, want := range map[string]string{
		"?server=srv0":                         "0",
		"?server=nosuch":                       "",
		"?remote=127.0.0.1":                    "12",
		"?remote=127.0.0.0/8":                  "12",
		"?remote=::ffff:127.0.0.0/104":         "12",
		"?remote=::/0":                         "",
		"?helo=ONE.example":                    "0",
		"?user=":                               "012",
		"?user=ann":                            "",
		"?state=waiting":                       "012",
		"?state=data":                          "",
		"?older=1h":                            "",
		"?older=0s&server=srv1":                "12",
		"?limit=2":                             "01",
		"?limit=2&after=" + all.Sessions[1].ID: "2",
		"?after=" + all.Sessions[2].ID:         "",
	} {
		var got strings.Builder
		for _, s := range a.sessions(query).Sessions {
			for i := range all.Sessions {
				if all.Sessions[i].ID == s.ID {
					fmt.Fprint(&got, i)
				}
			}
		}
		if got.String() != want {
			t.Errorf("%s: got sessions %s, want %s", query, got.String(), want)
		}
	}
	if page := a.sessions("?limit=2"); page.Next != all.Sessions[1].ID || page.Total != 3 {
		t.Errorf("got %+v", page)
	}
	var one sessionView
	a.get("GET", "/esmtp/sessions/"+strings.ToUpper(s.ID)+"?redact=1", &one)
	if one.ID != s.ID || one.Envelope.From != "***@one.example" || one.Envelope.To[1] != "***@two.example" {
		t.Errorf("got %+v %+v", one, one.Envelope)
	}
}

// A session ends with the reply, after the message that it is at.
func TestAdminKickWaitsForTheEndOfAMessage(t *testing.T) {
	path := socket(t)
	a := loadAdmin(t, quiet(path))
	c, idle := dial(t, path), dial(t, path)
	idle.Expect("220 *")
	c.Run("S: 220 *\nC: HELO a\nS: 250 *\nC: MAIL FROM:<a@b.example>\nS: 250 *\nC: RCPT TO:<c@d.example>\nS: 250 *\nC: DATA\nS: 354 *\nC: Subject: x")
	var inData sessionsView
	for inData.Total == 0 { // until the engine has seen it
		inData = a.sessions("?state=data")
	}
	var kicked kickedView
	a.get("DELETE", "/esmtp/sessions/"+inData.Sessions[0].ID+"?code=421&enhanced=4.7.0&text=come+back+tomorrow", &kicked)
	if len(kicked.Kicked) != 1 || kicked.Kicked[0] != inData.Sessions[0].ID {
		t.Errorf("got %+v", kicked)
	}
	c.Run("C: .\nS: 250 *\nS: 421 4.7.0 come back tomorrow\nclose")
	a.get("DELETE", "/esmtp/sessions?helo=nobody", &kicked)
	if len(kicked.Kicked) != 0 {
		t.Errorf("got %+v, want none", kicked)
	}
	a.get("DELETE", "/esmtp/sessions?all=1", &kicked)
	idle.Expect("421 4.3.2 mx.example.org Session ended by the administrator")
	idle.ExpectClose()
}

func TestAdminKickNowCutsAMessageOff(t *testing.T) {
	path := socket(t)
	a := loadAdmin(t, quiet(path))
	c := dial(t, path)
	c.Run("S: 220 *\nC: HELO a\nS: 250 *\nC: MAIL FROM:<a@b.example>\nS: 250 *\nC: RCPT TO:<c@d.example>\nS: 250 *\nC: DATA\nS: 354 *\nC: Subject: x")
	var kicked kickedView
	a.get("DELETE", "/esmtp/sessions?server=srv0&now=1", &kicked)
	if line, err := c.ReadLine(); err == nil {
		t.Errorf("got %q, want the end", line)
	}
}

// A message reaches the handler of a session whose config has gone.
func TestAdminPostsToASessionThatHasOutlivedItsConfig(t *testing.T) {
	path := socket(t)
	a := loadAdmin(t, quiet(path))
	c := dial(t, path)
	c.Expect("220 *")
	c.Cmd("HELO old.example", "250 *")
	a.load("unix/" + path + " {\nhostname new.example.org\nlog\n}\n")
	d := dial(t, path)
	d.Expect("220 new.example.org *")
	page := a.sessions("?helo=old.example")
	for page.Total == 1 && !page.Sessions[0].Outlived { // it is told in the background
		page = a.sessions("?helo=old.example")
	}
	if page.Total != 1 {
		t.Fatalf("got %+v", page)
	}
	var servers struct{ Servers []serverView }
	a.get("GET", "/esmtp/servers", &servers)
	if s := servers.Servers; len(s) != 2 || !s[1].Draining || s[1].Sessions != 1 || s[0].Draining || s[0].Hostname != "new.example.org" {
		t.Errorf("got %+v", s)
	}
	resp, text := a.send("POST", "/esmtp/sessions/"+page.Sessions[0].ID+"/messages", `{"limit": 3}`)
	if resp.StatusCode != http.StatusAccepted {
		t.Errorf("got %s %s", resp.Status, text)
	}
	if got := <-inboxes; got != `{"limit": 3}` {
		t.Errorf("got %q", got)
	}
	c.Cmd("QUIT", "221 *")
}

func TestAdminMailboxIsBounded(t *testing.T) {
	path := socket(t)
	a := loadAdmin(t, quiet(path))
	c := dial(t, path)
	c.Run("S: 220 *\nC: HELO a\nS: 250 *\nC: MAIL FROM:<a@b.example>\nS: 250 *\nC: RCPT TO:<c@d.example>\nS: 250 *\nC: DATA\nS: 354 *")
	id := a.sessions("").Sessions[0].ID
	for range 64 {
		if resp, text := a.send("POST", "/esmtp/sessions/"+id+"/messages", "1"); resp.StatusCode != http.StatusAccepted {
			t.Fatal(text)
		}
	}
	resp, text := a.send("POST", "/esmtp/sessions/"+id+"/messages", "1")
	if resp.StatusCode != http.StatusTooManyRequests || !strings.Contains(text, "too many messages") {
		t.Errorf("got %s %s", resp.Status, text)
	}
	var kicked kickedView
	if a.get("DELETE", "/esmtp/sessions/"+id, &kicked); len(kicked.Kicked) != 1 { // that is always possible
		t.Errorf("got %+v", kicked)
	}
	if a.get("DELETE", "/esmtp/sessions?all=1&text=again", &kicked); len(kicked.Kicked) != 1 {
		t.Errorf("got %+v", kicked)
	}
	c.Send(".")
	for range 64 {
		<-inboxes
	}
	c.Run("S: 250 *\nS: 421 4.3.2 mx.example.org Session ended by the administrator\nclose")
}

func TestAdminSaysWhatIsWrong(t *testing.T) {
	path := socket(t)
	a := loadAdmin(t, quiet(path))
	c := dial(t, path)
	c.Expect("220 *")
	session := "/esmtp/sessions/" + a.sessions("").Sessions[0].ID
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/esmtp/", "", 404, "there are /esmtp/servers, "},
		{"GET", "/esmtp/queue", "", 404, "there is no /esmtp/queue"},
		{"POST", "/esmtp/servers", "", 405, "takes GET, not POST"},
		{"PUT", "/esmtp/sessions", "", 405, "takes DELETE, GET, not PUT"},
		{"GET", session + "/messages", "", 405, "takes POST, not GET"},
		{"GET", "/esmtp/servers?x=1", "", 400, "takes no query parameters"},
		{"GET", "/esmtp/sessions?remot=1", "", 400, "did you mean remote?"},
		{"GET", "/esmtp/sessions?user=a&user=b", "", 400, "given twice"},
		{"GET", "/esmtp/sessions?user=%zz", "", 400, "query"},
		{"GET", "/esmtp/sessions?remote=example.org", "", 400, "IP address or a network"},
		{"GET", "/esmtp/sessions?state=dat", "", 400, "did you mean data?"},
		{"GET", "/esmtp/sessions?older=soon", "", 400, "older is a duration"},
		{"GET", "/esmtp/sessions?limit=0", "", 400, "limit is a number from 1 to 1000"},
		{"GET", "/esmtp/sessions?after=!!", "", 400, "after is the id of a session"},
		{"GET", "/esmtp/sessions?after=", "", 400, "after is the id of a session"},
		{"GET", "/esmtp/events?session=nosuch", "", 400, "session is the id of a session"},
		{"GET", "/esmtp/sessions?redact=maybe", "", 400, "redact is 1 or 0"},
		{"GET", "/esmtp/limits?clients=x", "", 400, "clients is a number"},
		{"GET", "/esmtp/events?type=message,mesage", "", 400, "did you mean message?"},
		{"GET", "/esmtp/sessions/", "", 404, "id is missing"},
		{"GET", "/esmtp/sessions/nosuch", "", 404, `there is no session \"nosuch\"`},
		{"DELETE", "/esmtp/sessions/nosuch", "", 404, "there is no session"},
		{"POST", "/esmtp/sessions/nosuch/messages", "1", 404, "there is no session"},
		{"POST", session + "/mesages", "1", 404, "a session has /messages"},
		{"POST", session + "/messages", "{", 400, "not JSON"},
		{"POST", session + "/messages", strings.Repeat("1", maxMessage+1), 413, "65536 octets at most"},
		{"DELETE", "/esmtp/sessions", "", 400, "say all=1"},
		{"DELETE", "/esmtp/sessions?all=0", "", 400, "say all=1"},
		{"DELETE", session + "?code=550", "", 400, "421 is all"},
		{"DELETE", session + "?enhanced=5.7.0", "", 400, "it is 4 and two numbers"},
		{"DELETE", session + "?text=a%0d%0a250+b", "", 400, "printable ASCII"},
		{"DELETE", session + "?now=1&text=x", "", 400, "there is no reply"},
	} {
		resp, text := a.send(test.method, test.path, test.body)
		if resp.StatusCode != test.status || !strings.Contains(text, test.want) || !strings.HasPrefix(text, `{"error":"esmtp: `) {
			t.Errorf("%s %s: got %s %s, want %d %q", test.method, test.path, resp.Status, text, test.status, test.want)
		}
		if allow := resp.Header.Get("Allow"); (allow != "") != (test.status == 405) {
			t.Errorf("%s %s: Allow is %q", test.method, test.path, allow)
		}
	}
	c.Cmd("QUIT", "221 *") // nothing of it has touched the session
}

func TestAdminCountsAndShowsLimits(t *testing.T) {
	addr := freeAddress(t)
	config := func(name string) string {
		return "unix/" + socket(t) + " {\nhostname a.example\nlog\n}\n" + addr + " {\nhostname " + name + "\nlimits {\nrecipients 1\n}\nlog\n}\n"
	}
	a := loadAdmin(t, config("one.example"))
	count := func() (v tallyView) {
		var all struct{ Servers []tallyView }
		a.get("GET", "/esmtp/counters", &all)
		for _, s := range all.Servers {
			if s.Server == "srv1" {
				v = s
			}
		}
		return v
	}
	before := count()
	c := dialTCP(t, addr, "")
	c.Run("S: 220 *\nC: HELO a\nS: 250 *\nC: MAIL FROM:<a@b.example>\nS: 250 *\nC: RCPT TO:<c@d.example>\nS: 250 *\nC: RCPT TO:<e@d.example>\nS: 452 *\n" +
		"C: DATA\nS: 354 *\nC: 12345678\nC: .\nS: 250 *\nC: RCPT TO:<x@y>\nS: 503 *")
	a.load(config("two.example")) // what was counted stays
	c.Run("C: QUIT\nS: 221 *\nclose")
	draining.all.Wait()
	after := count()
	if after.Connections.All != before.Connections.All+1 || after.Messages.Accepted != before.Messages.Accepted+1 ||
		after.Messages.Octets != before.Messages.Octets+10 || after.Messages.Recipients != before.Messages.Recipients+1 ||
		after.Commands.All != before.Commands.All+7 || after.Commands.Refused != before.Commands.Refused+2 ||
		after.Limits["recipients"] != before.Limits["recipients"]+1 || after.Errors["out_of_order"] != before.Errors["out_of_order"]+1 ||
		after.OctetsIn < before.OctetsIn+100 {
		t.Errorf("before %+v\nafter  %+v", before, after)
	}
	var limits struct{ Servers []limitsView }
	a.get("GET", "/esmtp/limits?server=srv1", &limits)
	if s := limits.Servers; len(s) != 1 || s[0].Limits["recipients"] != 1.0 || s[0].Sessions.Limit != 2000.0 || s[0].Hits["recipients"] == 0 {
		t.Errorf("got %+v", s)
	}
}
