package relay_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/smtpclient"
	"github.com/caddy-esmtp/esmtp/spool"
)

// scripted is a next hop that says what it is told to: for each command, by its verb, a reply; "." stands for the end of the message. "" is silence,
// and the connection is closed after "421" and "drop". Without an entry it says 250, or what the verb needs.
func scripted(t *testing.T, replies func(session int, verb string) (string, bool)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for n := 1; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go play(conn, func(verb string) (string, bool) { return replies(n, verb) })
		}
	}()
	return l.Addr().String()
}

func play(conn net.Conn, replies func(verb string) (string, bool)) {
	defer conn.Close()
	usual := map[string]string{"": "220 next.example", "EHLO": "250-next.example\r\n250 PIPELINING", "DATA": "354 go on", "QUIT": "221 bye"}
	say := func(verb string) bool {
		reply, ok := replies(verb)
		if !ok {
			if reply, ok = usual[verb]; !ok {
				reply = "250 ok"
			}
		}
		if reply == "drop" {
			return false
		}
		if reply != "" {
			conn.Write([]byte(reply + "\r\n"))
		}
		return !strings.HasPrefix(reply, "421") && !strings.HasPrefix(reply, "221")
	}
	if !say("") {
		return
	}
	data := false
	for in := bufio.NewScanner(conn); in.Scan(); {
		verb, _, _ := strings.Cut(in.Text(), " ")
		if data && verb != "." {
			continue
		}
		data = false
		if !say(verb) {
			return
		}
		if verb == "DATA" {
			reply, ok := replies(verb)
			data = !ok || strings.HasPrefix(reply, "354")
		}
	}
}

// replies of a next hop that is scripted, whatever the session.
func always(replies map[string]string) func(int, string) (string, bool) {
	return func(_ int, verb string) (string, bool) {
		reply, ok := replies[verb]
		return reply, ok
	}
}

// RFC 1047: a server that took the message and said nothing may have it, and a second one must not get it at once.
func TestWhatMayHaveArrivedIsNotSentElsewhereAtOnce(t *testing.T) {
	for name, reply := range map[string]string{"closed": "drop", "silent": "", "nonsense": "what?"} {
		t.Run(name, func(t *testing.T) {
			first, second := scripted(t, always(map[string]string{".": reply})), new(nextHops).serve(t, nil, false)
			r := newRig(t, mx("example.net", public[:2]...), map[string]string{public[0]: first, public[1]: second.addr})
			r.Timeouts.Final = 50 * time.Millisecond
			r.Schedule.Retry = []time.Duration{time.Hour}
			r.put(text, item("ann@example.org", "bob@example.net"))
			if a := r.run(1)[0]; a.Later != 1 || len(second.letters()) != 0 {
				t.Errorf("got %+v, and the second host %d messages", a, len(second.letters()))
			}
		})
	}
}

// A server may end a connection that waited, or had enough messages (RFC 5321 §3.8): that is no answer to the next one.
func TestAConnectionThatTheServerEndsIsReplaced(t *testing.T) {
	mails := 0 // one session after the other
	addr := scripted(t, func(session int, verb string) (string, bool) {
		if verb == "MAIL" {
			if mails++; session == 1 && mails == 2 {
				return "421 4.7.0 enough for this connection", true
			}
		}
		return "", false
	})
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: addr})
	r.Concurrency = 1
	r.put(text, item("ann@example.org", "a@example.net"))
	r.put(text, item("ann@example.org", "b@example.net"))
	for _, a := range r.run(2) {
		if a.Accepted != 1 {
			t.Errorf("got %+v", a)
		}
	}
	if n := len(r.dials()); n != 2 {
		t.Errorf("got %d connections, want 2", n)
	}
}

// A connection whose server lacks what a message needs goes back into the pool, and is not taken from there again and again.
func TestAConnectionThatLacksSomethingIsTriedOnce(t *testing.T) {
	addr := scripted(t, always(nil)) // no SMTPUTF8
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: addr})
	r.Concurrency = 1
	r.put(text, item("ann@example.org", "bob@example.net"))
	it := item("", "bob@example.net")
	it.Needs = spool.NeedsUTF8
	r.put(text, it)
	if list := r.run(2); list[0].Accepted != 1 || list[1].Failed != 1 || !strings.Contains(list[1].Reply, "5.6.7") {
		t.Errorf("got %+v", list)
	}
}

// A next hop that the operator has set is there again when the DNS is put right: no mail is returned for it.
func TestANextHopThatCanNotBeFoundIsWaitedFor(t *testing.T) {
	second := new(nextHops).serve(t, nil, false)
	for _, hops := range []string{"nowhere.example", "mx://nowhere.example"} {
		r := newRig(t, dns{}, nil)
		r.Schedule.Retry = []time.Duration{time.Hour}
		first, err := route.ParseHop(hops)
		if err != nil {
			t.Fatal(err)
		}
		r.NextHops = []route.Hop{first}
		r.put(text, item("ann@example.org", "bob@example.net"))
		if a := r.run(1)[0]; a.Later != 1 || !strings.HasPrefix(a.Reply, "451 4.3.5") {
			t.Errorf("got %+v", a)
		}
		r = newRig(t, dns{}, nil)
		it := item("ann@example.org", "bob@example.net")
		it.NextHops = []string{hops, second.addr}
		r.put(text, it)
		if a := r.run(1)[0]; a.Accepted != 1 {
			t.Errorf("with another hop: got %+v", a)
		}
	}
}

// A password is for the server that it is meant for.
func TestAPasswordIsNotForWhoeverAnswers(t *testing.T) {
	cert, _ := esmtptest.Certificate(t, "elsewhere.example")
	hop := new(nextHops).serve(t, tlsConfig(cert), false)
	r := newRig(t, dns{}, nil)
	r.Schedule.Retry = []time.Duration{time.Hour}
	smart, err := route.ParseHop("ann@" + hop.addr)
	if err != nil {
		t.Fatal(err)
	}
	r.NextHops = []route.Hop{smart}
	r.Auth = func(route.Hop) *smtpclient.Auth { return &smtpclient.Auth{User: "ann", Password: "secret"} }
	r.put(text, item("ann@example.org", "bob@example.net"))
	if a := r.run(1)[0]; a.Later != 1 || !strings.Contains(a.Reply, "4.7.5") {
		t.Errorf("got %+v", a)
	}
}

// A hook that panics costs nobody a second copy.
func TestAPanicOfAHookIsNoReasonToSendAgain(t *testing.T) {
	hop := &nextHops{rcpt: func(to esmtp.Path) esmtp.Reply {
		if to.Local() == "b" {
			return esmtp.Deny(550, 5, 1, 1, "unknown")
		}
		return esmtp.Reply{}
	}}
	hop.serve(t, nil, false)
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
	r.Schedule.Retry = []time.Duration{time.Hour}
	r.OnFailure = func(*spool.Item, relay.Failure) relay.Fate { panic("on purpose") }
	r.put(text, item("ann@example.org", "a@example.net", "b@example.net"))
	if a := r.run(1)[0]; a.Accepted != 1 || a.Later != 1 || r.left() != "queued a@example.net:accepted b@example.net:remaining" {
		t.Errorf("got %+v, left %q", a, r.left())
	}
}

// What a recipient was refused with is kept, and not what another was accepted with.
func TestTheLastErrorIsAnError(t *testing.T) {
	hop := &nextHops{rcpt: func(to esmtp.Path) esmtp.Reply {
		if to.Local() == "a" {
			return esmtp.Deny(450, 4, 2, 1, "busy")
		}
		return esmtp.Reply{}
	}}
	hop.serve(t, nil, false)
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
	r.Schedule.Retry = []time.Duration{time.Hour}
	id := r.put(text, item("ann@example.org", "a@example.net", "b@example.net"))[0]
	r.run(1)
	if it, err := r.Spool.Get(t.Context(), id); err != nil || !strings.HasPrefix(it.LastError, "450 4.2.1") {
		t.Errorf("got %q, %v", it.LastError, err)
	}
}

// What could not be written down is tried again: the next hop has the message.
func TestASpoolThatFailsForAMomentCostsNoSecondCopy(t *testing.T) {
	hop := &nextHops{rcpt: func(to esmtp.Path) esmtp.Reply {
		if to.Local() == "b" {
			return esmtp.Deny(450, 4, 2, 1, "busy")
		}
		return esmtp.Reply{}
	}}
	hop.serve(t, nil, false)
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
	r.Schedule.Retry = []time.Duration{time.Hour}
	r.Spool = &forgetful{Spool: r.Spool}
	r.put(text, item("ann@example.org", "a@example.net", "b@example.net"))
	r.run(1)
	if len(hop.letters()) != 1 || r.left() != "queued a@example.net:accepted b@example.net:remaining" {
		t.Errorf("got %d messages, left %q", len(hop.letters()), r.left())
	}
}

// forgetful is a spool that doesn't settle the first time.
type forgetful struct {
	spool.Spool
	once sync.Once
}

func (s *forgetful) Settle(ctx context.Context, it *spool.Item, reports ...spool.Report) (err error) {
	s.once.Do(func() { err = errors.New("input/output error") })
	if err == nil {
		err = s.Spool.Settle(ctx, it, reports...)
	}
	return err
}

// A report about a message with REQUIRETLS is not lost for that (RFC 8689 §5).
func TestAReportIsNotLostForWantOfTLS(t *testing.T) {
	hop := new(nextHops).serve(t, nil, false)
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
	r.put(text, item(" REQUIRETLS", "bob@example.net"))
	if a := r.run(1)[0]; a.Accepted != 1 {
		t.Errorf("got %+v", a)
	}
}

// What a server with bare newlines "pass" has taken goes out as mail: with CRLF, and dots where they belong (RFC 5321 §2.3.8).
func TestBareNewlinesDoNotLeave(t *testing.T) {
	hop := new(nextHops).serve(t, nil, false)
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
	r.put("Subject: hi\r\n\r\na\nb\rc\n.\nMAIL FROM:<eve@example.org>\n", item("ann@example.org", "bob@example.net"))
	a := r.run(1)[0]
	if got := hop.letters(); a.Accepted != 1 || len(got) != 1 || got[0].body != "Subject: hi\r\n\r\na\r\nb\r\nc\r\n.\r\nMAIL FROM:<eve@example.org>\r\n" {
		t.Errorf("got %+v, %+v", a, got)
	}
}

// Each domain gets what is for it, and nothing else, whatever somebody has made of an item.
func TestMailGoesToItsDomainOnly(t *testing.T) {
	net, com := new(nextHops).serve(t, nil, false), new(nextHops).serve(t, nil, false)
	d := mx("example.net", public[0])
	for k, v := range mx("example.com", public[1]) {
		d[k] = v
	}
	r := newRig(t, d, map[string]string{public[0]: net.addr, public[1]: com.addr})
	r.put(text, item("ann@example.org", "a@example.net", "b@EXAMPLE.com", "c@Example.NET", "d@example.com"))
	r.run(1)
	for hop, want := range map[*nextHops]string{net: "a@example.net c@example.net", com: "b@example.com d@example.com"} {
		if got := hop.letters(); len(got) != 1 || !strings.EqualFold(strings.Join(got[0].to, " "), want) {
			t.Errorf("got %+v, want one for %s", got, want)
		}
	}
}

// RFC 2852: with T the sender hears of each server on the way, with N of a delay when the time is over, not hours later.
func TestDeliverByTellsTheSender(t *testing.T) {
	d := mx("example.net", public[1])
	for k, v := range mx("example.org", public[0]) {
		d[k] = v
	}
	for params, want := range map[string]string{"BY=1000;NT": "Action: relayed", "BY=1;N": "Action: delayed"} {
		home := new(nextHops).serve(t, nil, false)
		to := &nextHops{ehlo: func(r esmtp.Reply) esmtp.Reply { r.Lines = append(r.Lines, "DELIVERBY"); return r }}
		if want == "Action: delayed" {
			to.rcpt = func(esmtp.Path) esmtp.Reply { return esmtp.Deny(450, 4, 2, 1, "busy") }
		}
		to.serve(t, nil, false)
		r := newRig(t, d, map[string]string{public[0]: home.addr, public[1]: to.addr})
		r.Schedule.Retry = []time.Duration{time.Hour}
		r.put(text, item("ann@example.org "+params, "bob@example.net", "eve@example.net NOTIFY=NEVER"))
		n := 2
		if want == "Action: delayed" {
			n = 3
		}
		r.run(n)
		if got := home.letters(); len(got) != 1 || !strings.Contains(got[0].body, want) || strings.Contains(got[0].body, "eve@") {
			t.Errorf("%s: got %+v", params, got)
		}
	}
}

// Extra tries that somebody asked for are made, however old the message is.
func TestExtraTriesAreMadeThoughTheMessageIsOld(t *testing.T) {
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: ""})
	r.Schedule.Expire = time.Nanosecond
	it := item("ann@example.org", "bob@example.net")
	it.State = spool.Frozen
	id := r.put(text, it)[0]
	if err := r.Spool.SendNow(t.Context(), spool.SendNow{Retry: []time.Duration{time.Millisecond, time.Millisecond}}, id); err != nil {
		t.Fatal(err)
	}
	for i, a := range r.run(3) {
		if a.Later != 1 && i < 2 || a.Failed != 1 && i == 2 {
			t.Errorf("attempt %d: %+v", i, a)
		}
	}
}

// One attempt finds out that a hop is silent; the others don't each wait for it, nor does other mail.
func TestASilentHopIsNotWaitedForByEverybody(t *testing.T) {
	defer relay.SetSlow(20 * time.Millisecond)()
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: ""})
	r.Schedule.Retry = []time.Duration{time.Hour}
	dial := r.Dial
	r.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		time.Sleep(30 * time.Millisecond)
		return dial(ctx, network, address)
	}
	r.Concurrency = 1
	for range 5 {
		r.put(text, item("ann@example.org", "bob@example.net"))
	}
	for i, a := range r.run(5) {
		if a.Later != 1 || strings.Contains(a.Reply, "a moment ago") != (i > 0) {
			t.Errorf("got %+v", a)
		}
	}
	if n := len(r.dials()); n != 1 {
		t.Errorf("got %d connections, want one", n)
	}
}

// A smarthost has no more connections than one destination may have, however many domains it takes mail for.
func TestASmarthostIsOneDestination(t *testing.T) {
	var now, most atomic.Int32
	hop := new(nextHops)
	hop.rcpt = func(esmtp.Path) esmtp.Reply {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(20 * time.Millisecond)
		now.Add(-1)
		return esmtp.Reply{}
	}
	hop.serve(t, nil, false)
	r := newRig(t, dns{}, nil)
	smart, err := route.ParseHop(hop.addr)
	if err != nil {
		t.Fatal(err)
	}
	r.NextHops, r.PerRoute = []route.Hop{smart}, 2
	for i := range 12 {
		r.put(text, item("ann@example.org", fmt.Sprintf("bob@d%d.example", i)))
	}
	for _, a := range r.run(12) {
		if a.Accepted != 1 {
			t.Errorf("got %+v", a)
		}
	}
	if most.Load() > 2 || len(r.dials()) > 3 {
		t.Errorf("got %d at a time, %d connections", most.Load(), len(r.dials()))
	}
}
