package relay_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
)

// attemptLine is what the log says of an attempt.
type attemptLine struct {
	Msg, Reply   string
	To, Refusals []string
	Accepted     int
}

// logged delivers a message in one attempt, and returns its line.
func logged(t *testing.T, rcpt func(esmtp.Path) esmtp.Reply, to ...string) (l attemptLine) {
	t.Helper()
	hops := new(nextHops)
	hops.rcpt = rcpt
	hops.serve(t, nil, false)
	r := newRig(t, mx("c.example", "192.0.2.1"), map[string]string{"192.0.2.1": hops.addr})
	var log bytes.Buffer // read when Run has returned
	r.Logger = slog.New(slog.NewJSONHandler(&log, nil))
	r.put(text, item("", to...))
	a := r.run(1)[0]
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, `"attempts":1`) {
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
		}
	}
	if kept := a.Item.LastError; len(kept) > 2<<10 {
		t.Errorf("the item keeps %d octets of it", len(kept))
	}
	if a.Reply != l.Reply {
		t.Errorf("the observer hears %q, the log says %q", a.Reply, l.Reply)
	}
	return l
}

func TestTheLogSaysWhoWasRefusedAndWhy(t *testing.T) {
	rcpt := func(to esmtp.Path) esmtp.Reply {
		switch to.Local() {
		case "never":
			return esmtp.Deny(550, 5, 1, 1, "no such user")
		case "later":
			return esmtp.Deny(451, 4, 2, 1, "busy")
		}
		return esmtp.Reply{}
	}
	never, later := "never@c.example: 550 5.1.1 no such user", "later@c.example: 451 4.2.1 busy"
	for _, c := range []struct {
		to       []string
		msg      string
		reply    string
		refusals []string
	}{
		{[]string{"a@c.example", "b@c.example"}, "delivered", "250 2.0.0 taken", nil},
		{[]string{"never@c.example"}, "failed", "550 5.1.1 no such user", nil},
		{[]string{"never@c.example", "a@c.example"}, "failed", "550 5.1.1 no such user", []string{never}},
		{[]string{"later@c.example", "a@c.example"}, "delayed", "451 4.2.1 busy", []string{later}},
		{[]string{"later@c.example", "never@c.example", "a@c.example"}, "delayed", "550 5.1.1 no such user", []string{later, never}},
	} {
		got := logged(t, rcpt, c.to...)
		if got.Msg != c.msg || got.Reply != c.reply || !slices.Equal(got.Refusals, c.refusals) || !slices.Equal(got.To, c.to) {
			t.Errorf("to %s: got %+v", c.to, got)
		}
	}
}

func TestTheLineOfAnAttemptIsBounded(t *testing.T) {
	to := make([]string, 150)
	for i := range to {
		to[i] = fmt.Sprintf("u%d@c.example", i)
	}
	got := logged(t, func(esmtp.Path) esmtp.Reply { return esmtp.Deny(550, 5, 1, 1, "no") }, to...)
	if len(got.To) != 100 || len(got.Refusals) != 100 {
		t.Errorf("%d recipients, %d refusals", len(got.To), len(got.Refusals))
	}
}

// A reply can be as long as a server likes. What of it is kept, told and logged is not.
func TestALongReplyIsCut(t *testing.T) {
	long := esmtp.Deny(550, 5, 1, 1)
	for range 50 {
		long.Lines = append(long.Lines, strings.Repeat("x", 800))
	}
	got := logged(t, func(esmtp.Path) esmtp.Reply { return long }, "a@c.example", "b@c.example")
	const most = 2 << 10
	if len(got.Reply) != most {
		t.Errorf("the reply has %d octets, want %d", len(got.Reply), most)
	}
	if len(got.Refusals) != 2 || got.Refusals[0] != "a@c.example: "+got.Reply {
		t.Errorf("%d refusals: %.100q", len(got.Refusals), got.Refusals)
	}
}
