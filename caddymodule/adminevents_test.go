package caddymodule

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
)

// stream is a stream of events as a client sees it.
type stream struct {
	*testing.T
	lines *bufio.Scanner
	end   func()
}

func (a *admin) stream(query string) *stream {
	a.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, "GET", "http://127.0.0.1/esmtp/events"+query, nil)
	if err != nil {
		a.Fatal(err)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		a.Fatal(err)
	}
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != "text/event-stream" {
		a.Fatalf("got %s, %s", resp.Status, got)
	}
	end := func() { cancel(); resp.Body.Close() }
	a.Cleanup(end)
	return &stream{a.T, bufio.NewScanner(resp.Body), end}
}

// next reads an event.
func (s *stream) next() (e sessionEvent, raw string) {
	s.Helper()
	for s.lines.Scan() {
		if data, ok := strings.CutPrefix(s.lines.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				s.Fatal(err)
			}
			return e, data
		}
	}
	s.Fatal("the stream ended")
	return e, ""
}

// until reads the types of events up to one of a type.
func (s *stream) until(kind string) (types []string, raw string) {
	s.Helper()
	for !slices.Contains(types, kind) {
		e, text := s.next()
		types, raw = append(types, e.Type), raw+text+"\n"
	}
	return types, raw
}

// unwatched waits until nobody watches.
func unwatched(t *testing.T) {
	t.Helper()
	for range 1000 {
		if watched.subscribers.Load() == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error("somebody still watches")
}

const aMessage = "S: 220 *\nC: HELO a\nS: 250 *\nC: MAIL FROM:<ann@one.example>\nS: 250 *\nC: RCPT TO:<bob@two.example>\nS: 250 *\n" +
	"C: DATA\nS: 354 *\nC: 12345678\nC: .\nS: 250 *\nC: XSECRET word\nS: 500 *\nC: QUIT\nS: 221 *\nclose"

func TestAdminStreamsEventsInOrder(t *testing.T) {
	path, other := socket(t), socket(t)
	a := loadAdmin(t, quiet(path)+"unix/"+other+" {\nhostname b.example\nlimits {\nrecipients 1\n}\nlog\n}\n")
	all, commands, one, hidden := a.stream(""), a.stream("?commands=1&server=srv0"), a.stream("?type=limited,ended"), a.stream("?redact=1&commands=1")
	dial(t, path).Run(aMessage)
	if types, _ := all.until("ended"); strings.Join(types, " ") != "connected message ended" {
		t.Errorf("got %v", types)
	}
	types, raw := commands.until("ended")
	if got := strings.Join(types, " "); got != "connected replied replied replied replied replied message replied replied replied ended" {
		t.Errorf("got %v", got)
	}
	for _, want := range []string{`"from":"ann@one.example","to":["bob@two.example"],"recipients":1,"octets":10,`, `"verb":"MAIL","code":250`, `"verb":"***","code":500`,
		`"reply":"250 2.0.0 `} {
		if !strings.Contains(raw, want) {
			t.Errorf("%s is missing in\n%s", want, raw)
		}
	}
	if strings.Contains(strings.ToLower(raw), "xsecret") {
		t.Errorf("an unknown verb is shown:\n%s", raw)
	}
	if _, raw := hidden.until("ended"); strings.Contains(raw, "ann") || strings.Contains(raw, "bob") || !strings.Contains(raw, `"***@two.example"`) {
		t.Errorf("got\n%s", raw)
	}
	dial(t, other).Run("S: 220 *\nC: HELO a\nS: 250 *\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<a@b>\nS: 250 *\nC: RCPT TO:<c@d>\nS: 452 *\nC: QUIT\nS: 221 *\nclose")
	types, raw = one.until("limited")
	if strings.Join(types, " ") != "ended limited" || !strings.Contains(raw, `"limit":"recipients"`) {
		t.Errorf("got %v %s", types, raw)
	}
	for _, s := range []*stream{all, commands, one, hidden} {
		s.end()
	}
	unwatched(t)
}

func TestAdminStreamsOfOneSessionOnly(t *testing.T) {
	path := socket(t)
	a := loadAdmin(t, quiet(path))
	c := dial(t, path)
	c.Expect("220 *")
	s := a.stream("?commands=1&session=" + strings.ToUpper(a.sessions("").Sessions[0].ID))
	dial(t, path).Run(aMessage)
	c.Cmd("NOOP", "250 *")
	c.Cmd("QUIT", "221 *")
	if types, _ := s.until("ended"); strings.Join(types, " ") != "replied replied ended" {
		t.Errorf("got %v", types)
	}
}

// Neither a password nor what it could be worked out from is told.
func TestAdminEventsHideCredentials(t *testing.T) {
	path := socket(t)
	a := loadAdmin(t, "unix/"+path+" {\nhostname mx.example.org\nauth {\nusers {\nann {PLAIN}geheim\n}\nallow_insecure\n}\nlog\n}\n")
	s := a.stream("?commands=1")
	plain := base64.StdEncoding.EncodeToString([]byte("\x00ann\x00geheim"))
	c := dial(t, path)
	c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: " + plain + "\nS: 500 *\nC: AUTH PLAIN " + plain + "\nS: 235 *\nC: QUIT\nS: 221 *\nclose")
	_, raw := s.until("ended")
	if !strings.Contains(raw, `"mechanism":"PLAIN","user":"ann"`) {
		t.Errorf("the login isn't told:\n%s", raw)
	}
	for _, secret := range []string{"geheim", plain, strings.ToUpper(plain)} {
		if strings.Contains(raw, secret) {
			t.Errorf("%s is told:\n%s", secret, raw)
		}
	}
}

// A stream ends when its admin endpoint makes room for another one; the reload doesn't wait for the client to leave.
func TestAdminStreamsEndAtAReload(t *testing.T) {
	path := socket(t)
	a := loadAdmin(t, quiet(path))
	s := a.stream("")
	begun := time.Now()
	a.load(quiet(path) + quiet(socket(t)))
	for s.lines.Scan() {
	}
	if took := time.Since(begun); took > 5*time.Second { // Caddy itself gives up after 10
		t.Errorf("it took %v", took)
	}
	unwatched(t)
	again := a.stream("")
	dial(t, path).Run(aMessage)
	again.until("ended")
}

func TestAdminStreamsShowThatTheyAreThere(t *testing.T) {
	defer func(d time.Duration) { heartbeat = d }(heartbeat)
	heartbeat = time.Millisecond
	path := socket(t)
	a := loadAdmin(t, quiet(path))
	s := a.stream("")
	for s.lines.Scan() && s.lines.Text() != ": still here" {
	}
	if s.lines.Err() != nil {
		t.Error(s.lines.Err())
	}
	s.end()
	unwatched(t)
}

// Who doesn't keep up loses events, and is told how many after those that were kept.
func TestSlowWatchersLoseEventsAndAreToldHowMany(t *testing.T) {
	var f feed
	wants := func(e *sessionEvent) bool { return e.Type == "wanted" }
	sub, err := f.subscribe(wants)
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxQueue + 5 {
		sub.put(&sessionEvent{Code: i})
	}
	queue, lost := sub.take()
	if len(queue) != maxQueue || lost != 5 || queue[maxQueue-1].Code != maxQueue-1 {
		t.Errorf("got %d events, %d lost", len(queue), lost)
	}
	sub.put(&sessionEvent{Code: 1})
	if queue, lost = sub.take(); len(queue) != 1 || lost != 0 {
		t.Errorf("after that: %d events, %d lost", len(queue), lost)
	}
	var out strings.Builder
	w := eventRecorder{&out}
	if err := (eventWriter{w: w, control: http.NewResponseController(w)}).events([]*sessionEvent{{Type: "message"}}, 7); err != nil {
		t.Fatal(err)
	}
	message, rest, _ := strings.Cut(out.String(), "\n\n")
	if !strings.HasPrefix(message, "event: message\n") || !strings.HasPrefix(rest, "event: lost\ndata: {") || !strings.Contains(rest, `"lost":7`) {
		t.Errorf("got %q", out.String())
	}
	for range maxSubscribers - 1 {
		if _, err := f.subscribe(wants); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.subscribe(wants); err == nil {
		t.Error("there is no bound on those who watch")
	}
}

type eventRecorder struct{ *strings.Builder }

func (eventRecorder) Header() http.Header { return http.Header{} }
func (eventRecorder) WriteHeader(int)     {}
func (eventRecorder) Flush()              {}

// While nobody watches an event isn't even made.
func TestNobodyWatchingCostsNothing(t *testing.T) {
	var f feed
	r := esmtp.OK("fine")
	if n := testing.AllocsPerRun(100, func() {
		f.tell("replied", func(e *sessionEvent) { e.replied("NOOP", r, time.Second) })
	}); n != 0 {
		t.Errorf("it costs %v allocations", n)
	}
}

// When Caddy is there without servers, there is nothing to see, and no error.
func TestAdminWithoutServers(t *testing.T) {
	a := loadAdmin(t, "")
	if err := caddy.Load([]byte(`{"admin":{"listen":"unix/`+a.socket+`","config":{"persist":false}}}`), true); err != nil {
		t.Fatal(err)
	}
	if page := a.sessions(""); page.Total != 0 || page.Sessions == nil {
		t.Errorf("got %+v", page)
	}
	if _, text := a.send("GET", "/esmtp/servers", ""); text != `{"servers":[]}`+"\n" {
		t.Errorf("got %s", text)
	}
}
