package webhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const text = "From: <ann@example.org>\r\n\r\n--boundary\r\nüber \x00\xff\r\n.\r\n"

// app is a program that gets mail.
type app struct {
	envelope webhook.Envelope
	raw      []byte
	message  []byte
	header   http.Header
	length   int64
	requests int
	answer   func(w http.ResponseWriter)
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.requests++
	a.header, a.length = r.Header.Clone(), r.ContentLength
	form, err := r.MultipartReader()
	if err != nil {
		http.Error(w, err.Error(), 400)
		return
	}
	for {
		part, err := form.NextPart()
		if err != nil {
			break
		}
		p, _ := io.ReadAll(part)
		switch part.FormName() {
		case "envelope":
			a.raw = p
			json.Unmarshal(p, &a.envelope)
		case "message":
			a.message = p
			if part.FileName() == "" || part.Header.Get("Content-Type") != "message/rfc822" {
				a.message = nil
			}
		}
	}
	if a.answer != nil {
		a.answer(w)
	}
}

// client is one whose connections end with the test.
func client(t *testing.T) *http.Client {
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func envelope(to ...string) webhook.Envelope {
	e := webhook.Envelope{Item: "i1", Attempt: 2, Size: int64(len(text)), Sender: webhook.Address{Address: "ann@example.org"}, Client: webhook.Client{IP: "192.0.2.1", Port: 5}}
	for _, a := range to {
		e.Recipients = append(e.Recipients, webhook.Address{Address: a})
	}
	return e
}

func TestTheMessageArrivesOctetForOctet(t *testing.T) {
	a := &app{}
	srv := httptest.NewServer(a)
	defer srv.Close()
	hook := &webhook.Hook{Client: client(t), Secret: []byte("key"), Header: http.Header{"Authorization": {"Bearer x"}}}
	e := envelope("bob@example.net")
	from, err := esmtp.NewPath("ann@example.org", "RET=HDRS SMTPUTF8")
	if err != nil {
		t.Fatal(err)
	}
	e.Sender = webhook.AddressOf(from)
	result := hook.Post(t.Context(), srv.URL, e, strings.NewReader(text))
	if result.Err != nil || len(result.Replies) != 1 || result.Replies[0].Code != 250 {
		t.Errorf("%+v", result)
	}
	if string(a.message) != text || a.length <= int64(len(text)) || a.header.Get("Authorization") != "Bearer x" {
		t.Errorf("got %q, %d octets, %v", a.message, a.length, a.header)
	}
	if got := a.envelope; got.Item != "i1" || got.Attempt != 2 || got.Recipients[0].Address != "bob@example.net" || got.Client.IP != "192.0.2.1" ||
		fmt.Sprint(got.Sender) != "{ann@example.org map[RET:HDRS SMTPUTF8:]}" {
		t.Errorf("got %+v", a.envelope)
	}
	sum := sha256.Sum256(a.message)
	stamp, sig, _ := strings.Cut(strings.TrimPrefix(a.header.Get("X-Esmtp-Signature"), "t="), ",v1=")
	mac := hmac.New(sha256.New, []byte("key"))
	fmt.Fprintf(mac, "%s.%s", stamp, a.raw)
	if a.envelope.SHA256 != hex.EncodeToString(sum[:]) || sig != hex.EncodeToString(mac.Sum(nil)) {
		t.Errorf("signature %q, hash %q", a.header.Get("X-Esmtp-Signature"), a.envelope.SHA256)
	}
}

func TestAnswers(t *testing.T) {
	const js = "application/json"
	for _, test := range []struct {
		name, kind, body string
		status           int
		want             string
	}{
		{"200", "", "", 200, "250 2.0.0; 250 2.0.0"},
		{"204", "", "", 204, "250 2.0.0; 250 2.0.0"},
		{"301", "", "", 301, "451 4.3.0; 451 4.3.0"},
		{"400", "", "", 400, "554 5.3.0; 554 5.3.0"},
		{"401", "", "", 401, "451 4.3.0; 451 4.3.0"},
		{"403", "", "", 403, "554 5.3.0; 554 5.3.0"},
		{"404", "", "", 404, "451 4.3.0; 451 4.3.0"},
		{"408", "", "", 408, "451 4.3.0; 451 4.3.0"},
		{"425", "", "", 425, "451 4.3.0; 451 4.3.0"},
		{"429", "", "", 429, "451 4.3.0; 451 4.3.0"},
		{"500", "", "", 500, "451 4.3.0; 451 4.3.0"},
		{"refused", js, `{"code":550,"enhanced":"5.7.1","text":"no"}`, 200, "550 5.7.1 no; 550 5.7.1 no"},
		{"accepted", js, `{"code":250,"enhanced":"2.6.0","text":"yes\r\n550 no"}`, 200, "250 2.6.0 yes  550 no; 250 2.6.0 yes  550 no"},
		{"one of them", js + "; charset=utf-8", `{"recipients":[{"address":"b@x.example","code":452,"text":"full"}]}`, 200, "250 2.0.0; 452 4.0.0 full"},
		{"later, with 4xx", js, `{"code":451,"enhanced":"4.7.1"}`, 422, "451 4.7.1; 451 4.7.1"},
		{"accepted, with 4xx", js, `{"code":250}`, 422, "554 5.3.0; 554 5.3.0"},
		{"recipient accepted, with 4xx", js, `{"recipients":[{"address":"b@x.example","code":250}]}`, 422, "554 5.3.0; 554 5.3.0"},
		{"a gateway's error", js, `{"code":404,"text":"no route"}`, 422, "554 5.3.0; 554 5.3.0"},
		{"a gateway that finds nobody", js, `{"code":550}`, 404, "451 4.3.0; 451 4.3.0"},
		{"a server's error", js, `{"code":550}`, 500, "451 4.3.0; 451 4.3.0"},
		{"no code", js, `{"text":"thanks"}`, 200, "250 2.0.0; 250 2.0.0"},
		{"enhanced of another class", js, `{"code":550,"enhanced":"2.0.0"}`, 200, "550 5.0.0; 550 5.0.0"},
		{"enhanced is none", js, `{"code":550,"enhanced":"x"}`, 200, "550 5.0.0; 550 5.0.0"},
		{"no JSON", js, `{"code":550`, 200, "250 2.0.0; 250 2.0.0"},
		{"text", "text/plain", `{"code":550}`, 200, "250 2.0.0; 250 2.0.0"},
		{"endless", js, `{"code":550,"text":"` + strings.Repeat("x", 1<<20) + `"}`, 200, "250 2.0.0; 250 2.0.0"},
		{"long", js, `{"code":550,"text":"` + strings.Repeat("x", 1000) + `"}`, 200, "550 5.0.0 " + strings.Repeat("x", 400) + "; 550 5.0.0 " + strings.Repeat("x", 400)},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := &app{answer: func(w http.ResponseWriter) {
				w.Header().Set("Location", "http://192.0.2.1/")
				w.Header().Set("Retry-After", "120")
				if test.kind != "" {
					w.Header().Set("Content-Type", test.kind)
				}
				w.WriteHeader(test.status)
				io.WriteString(w, test.body)
			}}
			srv := httptest.NewServer(a)
			defer srv.Close()
			hook := &webhook.Hook{Client: client(t)}
			result := hook.Post(t.Context(), srv.URL, envelope("a@x.example", "b@x.example"), strings.NewReader(text))
			var got []string
			for _, r := range result.Replies {
				line := fmt.Sprint(r.Code, " ", r.Enh)
				if len(r.Lines) > 0 && !strings.HasPrefix(r.Lines[0], "the web server answered ") {
					line += " " + r.Lines[0]
				}
				got = append(got, line)
			}
			if strings.Join(got, "; ") != test.want || a.requests != 1 || result.RetryAfter != 2*time.Minute {
				t.Errorf("got %s, %d requests, %v; want %s", got, a.requests, result, test.want)
			}
		})
	}
}

// What goes wrong before there is an answer is no reply, and leaves nothing running.
func TestNoAnswer(t *testing.T) {
	stop := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	}))
	defer slow.Close()
	defer close(stop)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx  context.Context
		url  string
		size int64
	}{
		"timeout": {t.Context(), slow.URL, int64(len(text))}, "refused": {t.Context(), gone.URL, int64(len(text))}, "cancelled": {cancelled, slow.URL, int64(len(text))},
		"too short": {t.Context(), slow.URL, int64(len(text)) + 9}, "too long": {t.Context(), slow.URL, int64(len(text)) - 9},
		"no URL": {t.Context(), "http://[", int64(len(text))}, "no scheme": {t.Context(), "app.example", int64(len(text))},
	} {
		e := envelope("bob@example.net")
		e.Size = test.size
		hook := &webhook.Hook{Client: client(t), Timeout: 300 * time.Millisecond}
		result := hook.Post(test.ctx, test.url+"?token=s3same", e, strings.NewReader(text))
		if result.Err == nil || result.Replies != nil || strings.Contains(result.Err.Error(), "s3same") {
			t.Errorf("%s: got %+v", name, result)
		}
		if name == "timeout" && !errors.Is(result.Err, context.DeadlineExceeded) {
			t.Errorf("got %v", result.Err)
		}
	}
}

// An answer can come before the message has gone out; then nothing is read any more, and what it was read from can be closed.
func TestAnEarlyAnswerEndsTheReading(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(413) }))
	defer srv.Close()
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	e := envelope("bob@example.net")
	e.Size = int64(len(body))
	result := (&webhook.Hook{Client: client(t)}).Post(t.Context(), srv.URL, e, bytes.NewReader(body))
	clear(body) // the race detector looks whether somebody still reads it
	if result.Err == nil && result.Replies[0].Code != 554 {
		t.Errorf("got %+v", result)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(200, `{"code":550,"enhanced":"5.7.1","text":"no","recipients":[{"address":"a@x.example","code":250}]}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 999 {
			return
		}
		transport := roundTrip(func(r *http.Request) (*http.Response, error) {
			io.Copy(io.Discard, r.Body)
			return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}, "Retry-After": {body}}, Body: io.NopCloser(strings.NewReader(body))}, nil
		})
		hook := &webhook.Hook{Client: &http.Client{Transport: transport}}
		result := hook.Post(t.Context(), "http://app.example/", envelope("a@x.example", "b@x.example"), strings.NewReader(text))
		if result.Err != nil || len(result.Replies) != 2 || result.RetryAfter < 0 || result.RetryAfter > 24*time.Hour {
			t.Fatalf("got %+v", result)
		}
		for _, r := range result.Replies {
			if class := r.Code / 100; class != 2 && class != 4 && class != 5 || class == 2 && status/100 != 2 || len(r.Error()) > 600 || strings.ContainsAny(r.Error(), "\r\n") {
				t.Fatalf("status %d, %q: got %v", status, body, r)
			}
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
