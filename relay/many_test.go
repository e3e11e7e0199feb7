package relay_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/spool"
)

// A server that takes fewer recipients in a transaction than there are gets several, whether it says so beforehand (RFC 9422) or not (RFC 5321
// §4.5.3.1.10), and on as many connections as it wants. One that takes nobody is not asked for ever.
func TestManyRecipientsTakeSeveralTransactions(t *testing.T) {
	const all = 7
	limits := func(text string) func(esmtp.Reply) esmtp.Reply {
		return func(r esmtp.Reply) esmtp.Reply {
			r.Lines = slices.DeleteFunc(slices.Clone(r.Lines), func(line string) bool { return len(line) > 6 && line[:6] == "LIMITS" })
			r.Lines = append(r.Lines, "LIMITS "+text)
			return r
		}
	}
	// full is said to every recipient after the first two of a transaction.
	full := func(r esmtp.Reply) *nextHops {
		h := new(nextHops)
		n, messages := 0, 0
		h.rcpt = func(esmtp.Path) esmtp.Reply {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.messages > messages {
				n, messages = 0, h.messages
			}
			if n++; n > 2 {
				return r
			}
			return esmtp.Reply{}
		}
		return h
	}
	refusing := func(h *nextHops) *nextHops {
		h.eom = func(int) esmtp.Reply { return esmtp.Deny(451, 4, 3, 0, "no") }
		return h
	}
	for name, test := range map[string]struct {
		hop                   *nextHops
		accepted, later       int
		messages, connections int
	}{
		"told, more than enough":      {&nextHops{ehlo: limits("RCPTMAX=100")}, all, 0, 1, 1},
		"told":                        {&nextHops{ehlo: limits("MAILMAX=50 RCPTMAX=2")}, all, 0, 4, 1},
		"told, a message each":        {&nextHops{ehlo: limits("rcptmax=3 mailmax=1")}, all, 0, 3, 3},
		"told nonsense":               {&nextHops{ehlo: limits("RCPTMAX=0 RCPTMAX=-1 MAILMAX=x RCPTMAX")}, all, 0, 1, 1},
		"452 4.5.3":                   {full(esmtp.Deny(452, 4, 5, 3, "too many")), all, 0, 4, 1},
		"552 5.5.3":                   {full(esmtp.Deny(552, 5, 5, 3, "too many")), all, 0, 4, 1},
		"452 of another meaning":      {full(esmtp.Deny(452, 4, 2, 2, "mailbox full")), 2, all - 2, 1, 1},
		"nobody is taken":             {&nextHops{rcpt: func(esmtp.Path) esmtp.Reply { return esmtp.Deny(452, 4, 5, 3, "too many") }}, 0, all, 0, 1},
		"too many, and then refused":  {refusing(full(esmtp.Deny(552, 5, 5, 3, "too many"))), 0, all, 0, 1},
		"all taken, and then refused": {&nextHops{ehlo: limits("RCPTMAX=3"), eom: func(int) esmtp.Reply { return esmtp.Deny(451, 4, 3, 0, "no") }}, 0, all, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			hop := test.hop.serve(t, nil, false)
			r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
			r.Schedule.Retry = []time.Duration{time.Hour}
			var to []string
			for i := range all {
				to = append(to, fmt.Sprintf("r%d@example.net", i))
			}
			r.put(text, item("ann@example.org", to...))
			a := r.run(1)[0]
			if a.Accepted != test.accepted || a.Later != test.later || a.Failed != 0 {
				t.Errorf("got %d accepted, %d later, %d failed; want %d, %d, 0 (%s)", a.Accepted, a.Later, a.Failed, test.accepted, test.later, a.Reply)
			}
			got := hop.letters()
			var took []string
			for _, l := range got {
				took = append(took, l.to...)
			}
			slices.Sort(took)
			if len(slices.Compact(took)) != test.accepted || len(got) != test.messages || hop.connections() != test.connections {
				t.Errorf("got %d messages on %d connections, want %d on %d: %v", len(got), hop.connections(), test.messages, test.connections, got)
			}
		})
	}
}

// Mail for many domains that waits for one busy hop doesn't hold up that for others.
func TestABusyHopHoldsUpNobodyElse(t *testing.T) {
	release := make(chan struct{})
	busy := (&nextHops{eom: func(int) esmtp.Reply { <-release; return esmtp.Reply{} }}).serve(t, nil, false)
	other := new(nextHops).serve(t, nil, false)
	r := newRig(t, nil, nil)
	r.Table, r.NextHops, r.Concurrency, r.PerRoute = tableOf(t, "other.example", other.addr), []route.Hop{hopAt(t, busy.addr)}, 4, 2
	for i := range 20 {
		r.put(text, item("ann@example.org", fmt.Sprintf("bob@d%d.example", i)))
	}
	for i := range 3 {
		r.put(text, item("ann@example.org", fmt.Sprintf("bob%d@other.example", i)))
	}
	released := make(chan struct{})
	go func() {
		defer close(released)
		for deadline := time.Now().Add(20 * time.Second); len(other.letters()) < 3 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		if n := len(other.letters()); n != 3 || r.Active() > 4 {
			t.Errorf("%d messages have passed the busy hop, want 3; %d attempts", n, r.Active())
		}
		close(release)
	}()
	if list := r.run(23); len(list) != 23 || len(busy.letters()) != 20 {
		t.Errorf("got %d attempts, %d messages", len(list), len(busy.letters()))
	}
	<-released
}

// tableOf is a table with one domain, and where its mail goes.
func tableOf(t *testing.T, domain, addr string) *route.Table {
	t.Helper()
	table, err := route.NewTable([]route.Rule{{Domain: domain, Hops: []route.Hop{hopAt(t, addr)}}})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// However much waits for a busy hop, other mail goes at once: what is more than may wait there is left in the spool, and forgotten by nobody.
func TestWhatIsTooMuchForAHopStaysInTheSpool(t *testing.T) {
	for name, test := range map[string]struct{ waiting, domains int }{
		"as many as there can be": {250, 3000},
		"few, again and again":    {4, 150},
	} {
		t.Run(name, func(t *testing.T) {
			defer relay.SetMaxWaiting(test.waiting)()
			busy := new(nextHops)
			release := make(chan struct{})
			busy.eom = func(int) esmtp.Reply {
				busy.mu.Unlock() // all who are there wait together
				<-release
				busy.mu.Lock()
				return esmtp.Reply{}
			}
			busy.serve(t, nil, false)
			other := new(nextHops).serve(t, nil, false)
			r := newRig(t, nil, nil)
			r.Logger = slog.New(slog.DiscardHandler)
			r.Table, r.NextHops = tableOf(t, "other.example", other.addr), []route.Hop{hopAt(t, busy.addr)}
			r.attempts = make(chan relay.Attempt, test.domains+1)
			var items []*spool.Item
			for i := range test.domains {
				items = append(items, item("ann@example.org", fmt.Sprintf("bob@d%d.example", i)))
			}
			r.put(text, items...)
			released := make(chan struct{})
			go func() {
				defer close(released)
				defer close(release)
				eventually(t, "all that may wait does", func() bool {
					hops := r.Hops()
					return len(hops) > 0 && hops[0].Active == 10 && hops[0].Waiting >= test.waiting
				})
				r.put(text, item("ann@example.org", "bob@other.example"))
				begun := time.Now()
				eventually(t, "other mail passes", func() bool { return len(other.letters()) == 1 })
				t.Log("other mail took", time.Since(begun))
				if hops := r.Hops(); hops[0].Waiting > test.waiting+100 {
					t.Errorf("got %+v", hops[0])
				}
			}()
			for _, a := range r.run(test.domains + 1) {
				if a.Accepted != 1 || a.Item.Attempts != 1 {
					t.Fatalf("got %+v", a)
				}
			}
			<-released
			if n := len(busy.letters()); n != test.domains {
				t.Errorf("got %d messages, want %d", n, test.domains)
			}
		})
	}
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%s: not in 20 seconds", what)
			return
		}
	}
}
