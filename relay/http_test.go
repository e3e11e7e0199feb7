package relay_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/relay/webhook"
	"github.com/caddy-esmtp/esmtp/spool"
)

// A next hop that is a URL gets the message by POST, is tried again, and what it refuses is reported, as with SMTP.
func TestDeliversToAWebhook(t *testing.T) {
	var envelopes []webhook.Envelope
	var messages []string
	answers := []func(http.ResponseWriter){
		func(w http.ResponseWriter) { w.WriteHeader(503) },
		func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"recipients":[{"address":"bad@example.net","code":550,"enhanced":"5.1.1","text":"unknown"},{"address":"slow@example.net","code":452}]}`)
		},
		func(w http.ResponseWriter) {},
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1 << 20); err != nil {
			t.Error(err)
		}
		var e webhook.Envelope
		json.Unmarshal([]byte(r.FormValue("envelope")), &e)
		f, _, err := r.FormFile("message")
		if err != nil {
			t.Error(err)
			return
		}
		p, _ := io.ReadAll(f)
		envelopes, messages = append(envelopes, e), append(messages, string(p))
		answers[len(envelopes)-1](w)
	}))
	defer srv.Close()
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	r := newRig(t, dns{}, nil)
	r.Webhook = func(url string) *webhook.Hook { return &webhook.Hook{Client: &http.Client{Transport: transport}} }
	it := item("ann@example.org", "good@example.net NOTIFY=NEVER", "bad@example.net", "slow@example.net")
	it.NextHops = []string{"http://127.0.0.1:1/gone", strings.Replace(srv.URL, "http:", "HTTP:", 1) + "/mail?token=secret"}
	r.put(text, it)
	list := slices.DeleteFunc(r.run(4), func(a relay.Attempt) bool { return a.Item.Sender.Address == "" }) // the report goes its own way
	for i, want := range []string{"0 0 3", "1 1 1", "1 0 0"} {
		if a := list[i]; fmt.Sprint(a.Accepted, a.Failed, a.Later) != want || strings.Contains(a.Hop+a.Host, "secret") {
			t.Errorf("attempt %d: got %+v, want %s", i, a, want)
		}
		if messages[i] != text || envelopes[i].Attempt != i+1 || envelopes[i].Item == "" || envelopes[i].Size != int64(len(text)) {
			t.Errorf("attempt %d: got %+v %q", i, envelopes[i], messages[i])
		}
	}
	if e := envelopes[0]; len(e.Recipients) != 3 || e.Recipients[0].Params["NOTIFY"] != "NEVER" || e.Sender.Address != "ann@example.org" || len(envelopes[2].Recipients) != 1 {
		t.Errorf("got %+v", e)
	}
}

// Retry-After is honoured, and a list that mixes URLs and mail servers waits for somebody to put it right, instead of getting lost.
func TestAWebhookCanBePutOff(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(429)
	}))
	defer srv.Close()
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	r := newRig(t, dns{}, nil)
	r.Webhook = func(url string) *webhook.Hook { return &webhook.Hook{Client: &http.Client{Transport: transport}} }
	put := func(hops ...string) {
		it := item("ann@example.org", "bob@example.net")
		it.NextHops = hops
		r.put(text, it)
	}
	put(srv.URL)
	a := r.run(1)[0]
	if wait := time.Until(a.Item.Due); a.Later != 1 || wait < 59*time.Minute || wait > 61*time.Minute {
		t.Errorf("got %+v, due in %v", a, wait)
	}
	mixed := newRig(t, dns{}, nil)
	mixed.Schedule.Retry = []time.Duration{time.Hour}
	it := item("ann@example.org", "bob@example.net")
	it.NextHops = []string{srv.URL, "mx.example.net"}
	mixed.put(text, it)
	if a := mixed.run(1)[0]; a.Later != 1 || a.Item.State != spool.Queued {
		t.Errorf("got %+v", a)
	}
}

// A message that is to stay in TLS is not posted in the clear, and its sender hears of it.
func TestAWebhookInTheClear(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was posted") }))
	defer srv.Close()
	r := newRig(t, dns{}, nil)
	it := item("ann@example.org", "bob@example.net")
	it.NextHops, it.Needs = []string{srv.URL}, spool.NeedsRequireTLS
	r.put(text, it)
	if a := r.run(1)[0]; a.Failed != 1 || !strings.HasPrefix(a.Reply, "550 5.7.30 ") {
		t.Errorf("got %+v", a)
	}
}

// A URL that nobody says how to post to gets nothing: what it needs to know us may be gone, and what it knows us by. Its mail waits, or goes to the next.
func TestAURLThatIsGoneGetsNothing(t *testing.T) {
	posted := make(chan string, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { posted <- r.URL.Path }))
	defer srv.Close()
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	gone, here := srv.URL+"/gone", srv.URL+"/here"
	r := newRig(t, dns{}, nil)
	r.Schedule.Retry = []time.Duration{time.Hour}
	r.Webhook = func(url string) *webhook.Hook {
		if url == gone {
			return nil
		}
		return &webhook.Hook{Client: &http.Client{Transport: transport}}
	}
	for want, hops := range [][]string{{gone}, {gone, here}} {
		it := item("ann@example.org", "bob@example.net")
		it.NextHops = hops
		r.put(text, it)
		a := r.run(1)[0]
		if a.Accepted != want || a.Later != 1-want || want == 0 && !strings.HasPrefix(a.Reply, "451 4.3.5 the URL ") {
			t.Errorf("%q: got %+v", hops, a)
		}
	}
	if path := <-posted; path != "/here" || len(posted) > 0 {
		t.Errorf("%s was posted to, and %d others", path, len(posted))
	}
}
