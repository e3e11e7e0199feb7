package caddymodule

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyevents/eventsconfig"

	"github.com/caddy-esmtp/esmtp"
)

// recorder is a handler of events that notes them, with its own name before them.
type recorder struct {
	Name string `json:"name"`
	gone bool
}

var recorded struct {
	sync.Mutex
	events []string
	data   map[string]map[string]any // of the last event of each name
}

func init() { caddy.RegisterModule(new(recorder)) }

func (*recorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.test_recorder", New: func() caddy.Module { return new(recorder) }}
}

func (r *recorder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.AllArgs(&r.Name)
	return nil
}

func (r *recorder) Handle(ctx context.Context, e caddy.Event) error {
	recorded.Lock()
	defer recorded.Unlock()
	note := r.Name + " " + e.Name()
	if r.gone {
		note += " though it is gone"
	}
	recorded.events = append(recorded.events, note)
	recorded.data[e.Name()] = e.Data
	if id := e.Origin().CaddyModule().ID; id != "esmtp" || ctx.Err() != nil {
		return fmt.Errorf("got origin %s, context %v", id, ctx.Err())
	}
	if r.Name == "slow" && e.Name() == eventMessageAccepted {
		recorded.Unlock()
		slowIs <- struct{}{}
		<-slowMay
		recorded.Lock()
	}
	if r.Name == "panics" {
		panic("no")
	}
	return nil
}

func (r *recorder) Cleanup() error {
	recorded.Lock()
	defer recorded.Unlock()
	r.gone = true
	return nil
}

// loadEvents runs Caddy with a server whose events go to a recorder; without a name to none.
func loadEvents(t *testing.T, name, socket, settings string) {
	t.Helper()
	options := private
	if name != "" {
		options += "events {\n"
		for _, event := range []string{eventConnectionRefused, eventAuthenticated, eventAuthenticationFailed, eventMessageAccepted, eventMessageRefused, eventSessionEnded} {
			options += "on " + event + " test_recorder " + name + "\n"
		}
		options += "}\n"
	}
	config, err := adapt("{\n" + options + "esmtp {\nunix/" + socket + " {\nhostname mx.example.org\n" + settings + "\n}\n}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
}

// record begins to record, and stops Caddy when the test is over.
func record(t *testing.T) {
	recorded.Lock()
	defer recorded.Unlock()
	recorded.events, recorded.data = nil, make(map[string]map[string]any)
	t.Cleanup(func() { stop(t) })
}

// wantEvents waits for the sessions to end, and compares what was recorded.
func wantEvents(t *testing.T, want ...string) {
	t.Helper()
	settle(t)
	recorded.Lock()
	defer recorded.Unlock()
	if slices.Sort(recorded.events); !slices.Equal(recorded.events, slices.Sorted(slices.Values(want))) { // sessions end in any order
		t.Errorf("got events %q, want %q", recorded.events, want)
	}
}

// unwilling refuses all connections, or all messages.
type unwilling struct {
	esmtp.Handler
	Connections bool `json:"connections"`
}

func (r *unwilling) CONNECT(s *esmtp.Session) esmtp.Reply {
	if r.Connections {
		return esmtp.Deny(554, 5, 7, 1, "not you")
	}
	return r.Handler.CONNECT(s)
}

func (r *unwilling) EOM(*esmtp.Session) esmtp.Reply { return esmtp.Deny(550, 5, 7, 1, "no") }

func init() { Register[unwilling]("test_refuser") }

const oneMessage = "S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: MAIL FROM:<a@b>\nS: 250 *\nC: RCPT TO:<c@d>\nS: 250 *\nC: DATA\nS: 354 *\nC: A: b\nC: .\nS: * *\n"
const goodbye = "C: QUIT\nS: 221 *\nclose\nleave"

func TestEventsTellOfMessages(t *testing.T) {
	record(t)
	path := socket(t)
	loadEvents(t, "a", path, "")
	dial(t, path).Run(oneMessage + goodbye)
	wantEvents(t, "a esmtp_message_accepted", "a esmtp_session_ended")
	got := recorded.data[eventMessageAccepted]
	for key, want := range map[string]string{"from": "a@b", "to": "[c@d]", "recipients": "1", "octets": "6", "verdict": "accepted", "helo": "client.example", "protocol": "ESMTP"} {
		if text := fmt.Sprint(got[key]); text != want {
			t.Errorf("%s: got %s, want %s", key, text, want)
		}
	}
	end := recorded.data[eventSessionEnded]
	if end["why"] != "QUIT" || end["messages"] != 1 || end["session"] != got["session"] || end["duration"].(float64) <= 0 || end["octets_in"].(int64) < 50 {
		t.Errorf("got %v", end)
	}
	recorded.events = nil
	loadEvents(t, "b", path, "test_refuser")
	dial(t, path).Run(oneMessage + goodbye)
	wantEvents(t, "b esmtp_message_refused", "b esmtp_session_ended")
}

func TestEventsTellOfRefusedConnections(t *testing.T) {
	record(t)
	path := socket(t)
	loadEvents(t, "a", path, "test_refuser {\nconnections\n}")
	dial(t, path).Run("S: 554 *\n" + goodbye)
	wantEvents(t, "a esmtp_connection_refused", "a esmtp_session_ended")
	if got := recorded.data[eventConnectionRefused]; got["reason"] != "handler" || got["reply"] != "554 5.7.1 not you" {
		t.Errorf("got %v", got)
	}
	recorded.events = nil
	loadEvents(t, "b", path, "limits {\nconnections 1\n}")
	first := dial(t, path)
	first.Run("S: 220 *")
	dial(t, path).Run("S: 421 *\nclose\nleave")
	first.Run(goodbye)
	wantEvents(t, "b esmtp_connection_refused", "b esmtp_session_ended", "b esmtp_session_ended")
	if got := recorded.data[eventConnectionRefused]; got["reason"] != "too_many" || got["reply"] != "" {
		t.Errorf("got %v", got)
	}
	recorded.events = nil
	loadEvents(t, "c", path, "timeouts {\ngreeting 1h\n}")
	dial(t, path).Run("C: EHLO a\nS: 554 *\nclose\nleave")
	wantEvents(t, "c esmtp_connection_refused", "c esmtp_session_ended")
	if got := recorded.data[eventConnectionRefused]; got["reason"] != "early_talker" {
		t.Errorf("got %v", got)
	}
	recorded.events = nil
	loadEvents(t, "d", path, "forbid_early")
	dial(t, path).Run("S: 220 *\nC| EHLO a\\r\\nNOOP\\r\\n\nS: 554 *\nclose\nleave") // it was greeted
	wantEvents(t, "d esmtp_session_ended")
}

func TestEventsTellOfLogins(t *testing.T) {
	record(t)
	path := socket(t)
	loadEvents(t, "a", path, "auth {\nallow_insecure\nusers {\nann {PLAIN}secret\n}\n}")
	c := dial(t, path)
	c.Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: AUTH PLAIN AGFubgB3cm9uZw==\nS: 535 *\nC: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 235 *\n" + goodbye)
	wantEvents(t, "a esmtp_authentication_failed", "a esmtp_authenticated", "a esmtp_session_ended")
	if got := recorded.data[eventAuthenticated]; got["user"] != "ann" || got["login"] != "ann" || got["mechanism"] != "PLAIN" {
		t.Errorf("got %v", got)
	}
	for name, data := range recorded.data {
		if text := fmt.Sprint(data); strings.Contains(text, "wrong") || strings.Contains(text, "secret") {
			t.Errorf("%s has a password: %s", name, text)
		}
	}
}

// A session that has outlived its config tells the handlers of the one that is active: those of its own are gone.
func TestEventsOfADrainingSessionGoToTheActiveConfig(t *testing.T) {
	record(t)
	path := socket(t)
	loadEvents(t, "a", path, "")
	old := dial(t, path)
	old.Run("S: 220 *")
	loadEvents(t, "b", path, "")
	old.Run("C: EHLO client.example\nS: 250-*\nS: ...\nC: MAIL FROM:<a@b>\nS: 250 *\nC: RCPT TO:<c@d>\nS: 250 *\nC: DATA\nS: 354 *\nC: .\nS: 250 *")
	old.Run(goodbye)
	wantEvents(t, "b esmtp_message_accepted", "b esmtp_session_ended")
	recorded.events = nil
	old = dial(t, path)
	old.Run("S: 220 *")
	loadEvents(t, "", path, "")
	old.Run(goodbye)
	wantEvents(t)
}

// slowIs says that the recorder "slow" has been called, slowMay lets it go on.
var slowIs, slowMay = make(chan struct{}), make(chan struct{})

// A slow handler makes its own client wait, and nobody else.
func TestSlowEventHandlersHoldUpTheirSessionAlone(t *testing.T) {
	record(t)
	path := socket(t)
	loadEvents(t, "slow", path, "")
	slow := dial(t, path)
	begin, end, _ := strings.Cut(oneMessage, "S: * *")
	slow.Run(begin)
	<-slowIs
	dial(t, path).Run("S: 220 *\n" + goodbye)
	loadEvents(t, "b", path, "") // nor does a reload wait
	dial(t, path).Run(oneMessage + goodbye)
	slowMay <- struct{}{}
	slow.Run("S: 250 *" + end + goodbye)
	settle(t)
}

// A handler that panics ends no session.
func TestEventHandlersMayPanic(t *testing.T) {
	record(t)
	path := socket(t)
	loadEvents(t, "panics", path, "")
	dial(t, path).Run(oneMessage + goodbye)
	wantEvents(t, "panics esmtp_message_accepted", "panics esmtp_session_ended")
}

// What nobody listens to is not put together.
func TestEventsThatNobodyWantsAreNotMade(t *testing.T) {
	record(t)
	path := socket(t)
	loadEvents(t, "", path, "test_allocs")
	dial(t, path).Run(oneMessage + goodbye)
	settle(t)
	if n := <-eventAllocs; n > 1 { // Caddy's look for the app
		t.Errorf("got %v allocations, want one at most", n)
	}
}

// allocs is a handler that measures in EOM what an event costs.
type allocs struct{ esmtp.Handler }

var eventAllocs = make(chan float64, 1)

func (a *allocs) EOM(s *esmtp.Session) esmtp.Reply {
	app, err := caddy.ActiveContext().App("esmtp")
	if err != nil {
		return esmtp.Deny(451, 4, 3, 0, "no app")
	}
	for _, srv := range app.(*App).Servers {
		o := srv.engine.Observer
		eventAllocs <- testing.AllocsPerRun(100, func() {
			o.Message(s, esmtp.OK("ok"), esmtp.MessageTimes{})
			o.Replied(s, "MAIL", esmtp.Reply{Code: 250}, 0)
		})
	}
	return a.Handler.EOM(s)
}

func init() { Register[allocs]("test_allocs") }
