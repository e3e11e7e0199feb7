package webhook

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// Answer is what a program can say of a message, as application/json. All of it can be left out: then the status of the answer counts.
//
//	{"code": 550, "enhanced": "5.7.1", "text": "not wanted"}
//	{"recipients": [{"address": "bob@example.org", "code": 452, "text": "full"}]}
//
// With a status other than 2xx a code can't accept.
type Answer struct {
	Verdict

	// Recipients has those for whom something else holds, by their address as it was in the [Envelope].
	Recipients []RecipientAnswer `json:"recipients"`
}

// Verdict is a reply: its code, one of 2xx, 42x, 45x, 52x or 55x; its enhanced status code; and a text, for the sender to read in a report.
type Verdict struct {
	Code     int    `json:"code"`
	Enhanced string `json:"enhanced"`
	Text     string `json:"text"`
}

// RecipientAnswer is the verdict for one recipient.
type RecipientAnswer struct {
	Address string `json:"address"`
	Verdict
}

// Bounds of an answer.
const (
	maxAnswer     = 256 << 10
	maxText       = 400
	maxRetryAfter = 24 * time.Hour
)

// read makes a result of an answer.
func read(resp *http.Response, rcpts []Address) Result {
	result := Result{RetryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	all := derived(resp.StatusCode)
	byAddress := make(map[string]esmtp.Reply)
	if answer, ok := parse(resp); ok && all.Code/100 != 4 {
		accepted := all.Accepted()
		all = answer.reply(all, accepted)
		for _, r := range answer.Recipients {
			byAddress[r.Address] = r.reply(all, accepted)
		}
	}
	for _, rcpt := range rcpts {
		r, ok := byAddress[rcpt.Address]
		if !ok {
			r = all
		}
		result.Replies = append(result.Replies, r)
	}
	return result
}

// passing are the statuses among 4xx that say nothing about the message: the program is busy, or somebody has yet to put something right, a token or a URL.
var passing = []int{
	http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired, http.StatusRequestTimeout,
	http.StatusTooEarly, http.StatusTooManyRequests,
}

// derived is the reply that a status stands for.
func derived(status int) esmtp.Reply {
	text := "the web server answered " + strconv.Itoa(status)
	switch {
	case status/100 == 2:
		return esmtp.Deny(250, 2, 0, 0, text)
	case status/100 != 4, slices.Contains(passing, status):
		return esmtp.Deny(451, 4, 3, 0, text)
	}
	return esmtp.Deny(554, 5, 3, 0, text)
}

// parse reads the JSON of an answer, if there is any.
func parse(resp *http.Response) (a Answer, ok bool) {
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return a, false
	}
	p, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return a, err == nil && json.Unmarshal(p, &a) == nil
}

// reply is the verdict as a reply; otherwise counts if there is none. Whether the status is a success decides whether it can accept.
func (v Verdict) reply(otherwise esmtp.Reply, canAccept bool) esmtp.Reply {
	class, second := v.Code/100, v.Code/10%10
	switch {
	case class == 2 && canAccept && second <= 5:
	case (class == 4 || class == 5) && (second == 2 || second == 5): // 404 is no reply to a message, but an error of some server's
	default:
		return otherwise
	}
	r := esmtp.Say(v.Code, clean(v.Text))
	if n, err := fmt.Sscanf(v.Enhanced, "%d.%d.%d", &r.Enh[0], &r.Enh[1], &r.Enh[2]); err != nil || n != 3 || int(r.Enh[0]) != class {
		r.Enh = esmtp.Enhanced{uint16(class), 0, 0}
	}
	if v.Text == "" {
		r.Lines = nil
	}
	return r
}

// clean makes a text fit for a report: a line, of a bounded length.
func clean(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || 0x7f <= c && c < 0xa0 {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return strings.TrimSpace(s)
}

// retryAfter reads the header field of that name: seconds or a date (RFC 9110 §10.2.3).
func retryAfter(text string, now time.Time) time.Duration {
	d := time.Duration(0)
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// stoppable is the body of a request. The transport can read it even when the answer is there; after stop it can't, and what it reads from can be
// closed.
type stoppable struct {
	mu      sync.Mutex
	r       io.Reader
	stopped bool
}

func (b *stoppable) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return 0, errStopped
	}
	return b.r.Read(p)
}

func (b *stoppable) Close() error {
	b.stop()
	return nil
}

func (b *stoppable) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
}
