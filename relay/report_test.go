package relay_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/internal/mailtext"
	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/relay/webhook"
)

// RFC 3464 §2.3.5: a report names mail servers that have a name or an address. Strangers learn nothing of sockets and of programs on the web.
func TestAReportNamesMailServersOnly(t *testing.T) {
	refuses := func() *nextHops {
		return &nextHops{rcpt: func(esmtp.Path) esmtp.Reply { return esmtp.Deny(550, 5, 1, 1, "unknown") }}
	}
	tcp := refuses().serve(t, nil, false)
	socket := refuses().listen(t, "unix", filepath.Join(t.TempDir(), "secret"), nil, true)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) }))
	defer web.Close()
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	for _, test := range []struct{ name, hop, says, hides string }{
		{"address", tcp.addr, "Remote-MTA: dns; [127.0.0.1]\r\nDiagnostic-Code: smtp; 550 5.1.1 unknown\r\n", tcp.addr},
		{"socket", "unix/" + socket.addr, "Status: 5.1.1\r\nDiagnostic-Code: x-local; 550 5.1.1 unknown\r\n", "secret"},
		{"web", web.URL + "/secret", "Status: 5.3.0\r\nDiagnostic-Code: x-local; 554 5.3.0 the web server answered 422", strings.TrimPrefix(web.URL, "http://")},
		{"web by a name", "http://localhost:" + web.URL[strings.LastIndexByte(web.URL, ':')+1:] + "/secret", "Diagnostic-Code: x-local; 554 5.3.0 ", "localhost"},
	} {
		t.Run(test.name, func(t *testing.T) {
			sender := new(nextHops).serve(t, nil, false)
			r := newRig(t, mx("example.org", public[0]), map[string]string{public[0]: sender.addr})
			r.Webhook = func(string) *webhook.Hook { return &webhook.Hook{Client: &http.Client{Transport: transport}} }
			it := item("ann@example.org", "bob@example.net")
			it.NextHops = []string{test.hop}
			r.put(text, it)
			r.run(2)
			body := sender.letters()[0].body
			if !strings.Contains(body, test.says) || strings.Contains(body, test.hides) {
				t.Errorf("want %q without %q:\n%s", test.says, test.hides, body)
			}
		})
	}
}

// A warning says until when there will be attempts, where that is known: an item's own schedule can end before, frozen, or after.
func TestAWarningPromisesWhatIsKept(t *testing.T) {
	const expire = 48 * time.Hour
	for _, test := range []struct {
		name, params string
		retry        []time.Duration
		want         time.Duration // zero: nothing is said
	}{
		{"the queue's schedule", "", nil, expire},
		{"DELIVERBY", " BY=3600;R", nil, time.Hour},
		{"its own goes on, then frozen", "", []time.Duration{time.Hour, relay.Stop}, 0},
		{"frozen", "", []time.Duration{relay.Stop}, 0},
		{"its own goes on, then the queue's", "", []time.Duration{time.Hour, time.Hour}, 0},
		{"its own is over, then the queue's", "", []time.Duration{time.Hour}, expire},
		{"its own ends later", "", []time.Duration{2 * expire}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			sender := new(nextHops).serve(t, nil, false)
			d := mx("example.org", public[0])
			for k, v := range mx("example.net", public[1]) {
				d[k] = v
			}
			r := newRig(t, d, map[string]string{public[0]: sender.addr, public[1]: ""})
			r.Schedule = relay.Schedule{Retry: []time.Duration{time.Hour}, Warn: time.Nanosecond, Expire: expire}
			it := item("ann@example.org"+test.params, "bob@example.net")
			it.Retry = test.retry
			r.put(text, it)
			created := r.run(2)[0].Item.Created()
			body := sender.letters()[0].body
			want := "Action: delayed\r\nStatus: 4.4.1\r\nDiagnostic-Code: x-local; 451 4.4.1 no answer from the next host\r\n"
			if _, field, said := strings.Cut(body, "Will-Retry-Until: "); said != (test.want != 0) || said != strings.Contains(body, "go on trying") ||
				said && !strings.HasPrefix(field, created.Add(test.want).Format(mailtext.DateTime)) || !strings.Contains(body, want) {
				t.Errorf("got\n%s", body)
			}
		})
	}
}
