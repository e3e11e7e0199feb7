package caddymodule

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/spool"
)

// queueStream is a stream of a queue's events as a client sees it.
type queueStream struct {
	*testing.T
	lines *bufio.Scanner
	end   func()
}

func (a *queueAdmin) stream(query string) *queueStream {
	a.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, "GET", "http://127.0.0.1/esmtp/queues/default/events"+query, nil)
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
	return &queueStream{a.T, bufio.NewScanner(resp.Body), end}
}

// until reads events up to one of each of the types.
func (s *queueStream) until(types ...string) (events []queueEvent, raw string) {
	s.Helper()
	for len(types) > 0 && s.lines.Scan() {
		data, ok := strings.CutPrefix(s.lines.Text(), "data: ")
		if !ok {
			continue
		}
		var e queueEvent
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			s.Fatal(err)
		}
		events, raw = append(events, e), raw+data+"\n"
		types = slices.DeleteFunc(types, func(kind string) bool { return kind == e.Type })
	}
	if len(types) > 0 {
		s.Fatalf("the stream ended without %v:\n%s", types, raw)
	}
	return events, raw
}

func TestAdminStreamsWhatHappensInAQueue(t *testing.T) {
	a := loadQueueAdmin(t, "")
	all, hidden, frozen := a.stream(""), a.stream("?redact=1"), a.stream("?type=frozen,removed&route=two.example")
	a.rig.send(t, "bob@example.net")
	events, raw := all.until("spooled", "attempt", "delivered")
	for _, e := range events {
		if e.ID == 0 || e.Message == 0 || e.Time.IsZero() || e.Route != "example.net" {
			t.Errorf("got %+v", e)
		}
		if e.Type == "attempt" && (e.Attempt != 1 || e.Result != "delivered" || e.Accepted != 1 || e.Failed+e.Later != 0 || e.Reply == "" || e.Took <= 0 ||
			!strings.Contains(e.Hop, "unix")) {
			t.Errorf("got %s", raw)
		}
	}
	a.rig.send(t, "stranger@example.org") // refused; the report is delivered
	events, raw = all.until("failed", "attempt")
	if !slices.ContainsFunc(events, func(e queueEvent) bool { return e.Type == "attempt" && e.Result == "failed" && e.Reports == 1 }) {
		t.Errorf("got %s", raw)
	}
	id := a.put("x", letter("ann@one.example", "bob@two.example"))[0].String()
	a.put("x", in(spool.Quarantined, letter("ann@one.example", "bob@two.example")))
	for _, move := range []string{"freeze", "thaw"} {
		a.move("/"+id+"/"+move, `{}`)
	}
	if events, raw := all.until("quarantined", "frozen", "thawed"); events[0].Type != "spooled" && !strings.Contains(raw, "because") {
		t.Errorf("got %s", raw)
	}
	id = a.put("x", letter("ann@one.example", "bob@two.example"))[0].String()
	a.move("/"+id+"/remove", "")
	a.move("/"+id+"/recover", "")
	all.until("removed", "recovered")
	if events, raw := frozen.until("removed"); len(events) != 3 || events[0].Reason != "frozen by the administrator" {
		t.Errorf("got %s", raw)
	}
	if _, raw := hidden.until("attempt", "failed", "recovered"); strings.Contains(raw, "because") || strings.Contains(raw, "550 5") || !strings.Contains(raw, `"route":"two.example"`) {
		t.Errorf("got %s", raw)
	}
	for _, s := range []*queueStream{all, hidden, frozen} {
		s.end()
	}
	q, err := findQueue("default")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		q.live.shared.attempts.mu.Lock()
		defer q.live.shared.attempts.mu.Unlock()
		if len(q.live.shared.attempts.subs) > 0 {
			return "somebody still watches"
		}
		return ""
	})
}

// A stream ends when its admin endpoint makes room for another one, and shows meanwhile that it is there.
func TestAdminStreamsOfAQueueEndAtAReload(t *testing.T) {
	defer func(d time.Duration) { heartbeat = d }(heartbeat)
	heartbeat = time.Millisecond
	a := loadQueueAdmin(t, "")
	s := a.stream("")
	for s.lines.Scan() && s.lines.Text() != ": still here" {
	}
	begun := time.Now()
	a.load(a.rig.block(a.rig.hop(), "retry 2h"))
	for s.lines.Scan() {
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestSlowWatchersOfAttemptsAreToldWhatTheyLost(t *testing.T) {
	var f attemptFeed
	sub, err := f.subscribe()
	if err != nil {
		t.Fatal(err)
	}
	for range maxQueue + 3 {
		f.tell(relay.Attempt{Item: new(spool.Item)})
	}
	if len(sub.c) != maxQueue || f.takeLost(sub) != 3 || f.takeLost(sub) != 0 {
		t.Errorf("got %d events", len(sub.c))
	}
	for range maxSubscribers - 1 {
		if _, err := f.subscribe(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.subscribe(); err == nil {
		t.Error("there is no bound on those who watch")
	}
	f.unsubscribe(sub)
	if _, err := f.subscribe(); err != nil {
		t.Error(err)
	}
	var out strings.Builder
	w := eventRecorder{&out}
	writer := eventWriter{w: w, control: http.NewResponseController(w)}
	nothing := func(queueEvent) bool { return false }
	if err := writer.queueEvent(queueEvent{Type: "frozen"}, nothing, 0); err != nil || out.Len() > 0 {
		t.Errorf("got %q, %v", out.String(), err)
	}
	if err := writer.queueEvent(queueEvent{Type: "frozen"}, nothing, 7); err != nil || !strings.HasPrefix(out.String(), "event: lost\ndata: {") ||
		!strings.Contains(out.String(), `"lost":7`) {
		t.Errorf("got %q, %v", out.String(), err)
	}
}
