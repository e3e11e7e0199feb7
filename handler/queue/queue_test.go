package queue_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/handler/queue"
	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// above is a layer that decides.
type above struct {
	esmtp.Handler
	eom        func(s *esmtp.Session) esmtp.Reply
	mechanisms []string
}

func (a *above) Mechanisms(*esmtp.Session) []string { return a.mechanisms }

func (a *above) Authenticate(*esmtp.Session, esmtp.Credentials) esmtp.Reply { return esmtp.Say(235) }

func (a *above) EOM(s *esmtp.Session) esmtp.Reply {
	if a.eom != nil {
		if r := a.eom(s); !r.IsZero() {
			return r
		}
	}
	return a.Handler.EOM(s)
}

// rig is a server with a queue.
type rig struct {
	t     *testing.T
	spool spool.Spool
	queue *queue.Queue
	above above
	lmtp  bool
	local net.Addr // that clients connect to; nil: port 25
}

func newRig(t *testing.T) *rig {
	s, err := spool.Open(context.Background(), t.TempDir(), &spool.Options{Logger: esmtptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &rig{t: t, spool: s, queue: &queue.Queue{Spool: s}}
}

func (r *rig) run(script string) {
	r.t.Helper()
	srv := &esmtp.Server{
		Hostname: "mx.example.org", LMTP: r.lmtp, AllowInsecureAuth: true, TrustXFORWARD: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
		NewHandler: esmtp.Stack(func(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler {
			a := r.above
			a.Handler = next
			return &a
		}, r.queue.NewLayer),
	}
	if r.local == nil {
		esmtptest.Run(r.t, srv, script)
		return
	}
	client, conn := esmtptest.PipeAddr(esmtptest.ClientAddr, r.local)
	done := make(chan error)
	go func() { done <- srv.ServeConn(conn) }()
	esmtptest.NewClient(r.t, client).Run(script)
	client.Close()
	<-done
}

// items lists what is in the spool: state, sender, route, hops, recipients with their state.
func (r *rig) items() string {
	r.t.Helper()
	items, _, err := r.spool.List(context.Background(), spool.Filter{})
	if err != nil {
		r.t.Fatal(err)
	}
	var lines []string
	for _, it := range items {
		line := fmt.Sprintf("%s <%s> %s %v", it.State, it.Sender.Address, it.Route, it.NextHops)
		for _, to := range it.Recipients {
			line += " " + to.Address
			if to.State != spool.Remaining {
				line += ":" + to.State.String() + " " + to.Reply
			}
		}
		if it.Reason != "" {
			line += " (" + it.Reason + ")"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// body is the body of the first item.
func (r *rig) first() (*spool.Item, string) {
	r.t.Helper()
	items, _, err := r.spool.List(context.Background(), spool.Filter{})
	if err != nil || len(items) == 0 {
		r.t.Fatalf("got %d items, %v", len(items), err)
	}
	body, err := r.spool.OpenBody(context.Background(), items[0])
	if err != nil {
		r.t.Fatal(err)
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		r.t.Fatal(err)
	}
	return items[0], string(text)
}

const (
	hello = "S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\n"
	mail  = hello + "C: MAIL FROM:<ann@example.org>\nS: 250 *\n"
	two   = mail + "C: RCPT TO:<bob@example.net>\nS: 250 *\nC: RCPT TO:<eve@example.com>\nS: 250 *\n"
	three = mail + "C: RCPT TO:<a@example.net>\nS: 250 *\nC: RCPT TO:<b@example.com>\nS: 250 *\nC: RCPT TO:<c@example.net>\nS: 250 *\n"
	data  = "C: DATA\nS: 354 *\nC: Subject: hi\nC:\nC: ..dot\nC: .\n"
	quit  = "C: QUIT\nS: 221 *\nclose"
)

func TestQueuesAnItemForEachDestination(t *testing.T) {
	r := newRig(t)
	r.run(three + data + "S: 250 2.0.0 queued as *\n" + quit)
	want := "queued <ann@example.org> example.net [] a@example.net c@example.net\nqueued <ann@example.org> example.com [] b@example.com"
	if got := r.items(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	it, body := r.first()
	trace, rest, _ := strings.Cut(body, "; ")
	if !strings.HasPrefix(trace, "Received: from client.example (") || strings.Contains(trace, "for <") || !strings.HasSuffix(rest, "\r\nSubject: hi\r\n\r\n.dot\r\n") {
		t.Errorf("got the body %q", body)
	}
	if it.Origin.Helo != "client.example" || it.Origin.Protocol != "ESMTP" || it.Origin.Session == "" || !strings.HasPrefix(it.Origin.Transaction, it.Origin.Session) || it.Needs != 0 {
		t.Errorf("got %+v", it)
	}
}

// RFC 8689 §3: the field has one value.
func TestTLSRequiredNo(t *testing.T) {
	for field, want := range map[string]bool{"TLS-Required: No": true, "tls-required:  no ": true, "TLS-Required: Yes": false, "X-TLS-Required: No": false} {
		r := newRig(t)
		r.run(mail + "C: RCPT TO:<bob@example.net>\nS: 250 *\nC: DATA\nS: 354 *\nC: " + field + "\nC:\nC: x\nC: .\nS: 250 *\n" + quit)
		if it, _ := r.first(); it.WaivesTLS != want {
			t.Errorf("%s: got %t", field, it.WaivesTLS)
		}
	}
}

// Of a message that a filter has passed on it is kept where the filter had it from.
func TestOriginIsWhatXFORWARDSays(t *testing.T) {
	r := newRig(t)
	r.run(hello + "C: XFORWARD NAME=client.example ADDR=203.0.113.7 PORT=4711 HELO=first.example PROTO=ESMTPS IDENT=abc SOURCE=REMOTE\nS: 250 *\n" +
		"C: MAIL FROM:<ann@example.org>\nS: 250 *\nC: RCPT TO:<bob@example.net>\nS: 250 *\n" + data + "S: 250 *\n" + quit)
	it, _ := r.first()
	o := it.Origin
	o.Session, o.Transaction = "", ""
	if want := (spool.Origin{Client: "203.0.113.7", Port: 4711, Name: "client.example", Helo: "first.example", Protocol: "ESMTPS"}); o != want || it.Origin.Session == "" {
		t.Errorf("got %+v, want %+v", it.Origin, want)
	}
}

// What the layers above decide is done, and the client hears what they say.
func TestObeysVerdicts(t *testing.T) {
	path := func(address string) esmtp.Path {
		p, err := esmtp.NewPath(address, "")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, test := range []struct {
		name  string
		eom   func(s *esmtp.Session) esmtp.Reply
		reply string
		want  string
	}{
		{"hold", func(s *esmtp.Session) esmtp.Reply { s.Transaction().Hold("look at it"); return esmtp.Reply{} }, "250 2.0.0 queued as *",
			"frozen <ann@example.org> example.net [] bob@example.net (look at it)\nfrozen <ann@example.org> example.com [] eve@example.com (look at it)"},
		{"quarantine", func(s *esmtp.Session) esmtp.Reply {
			s.Transaction().Quarantine("virus", esmtp.Reply{})
			return esmtp.Reply{}
		}, "250 *",
			"quarantined <ann@example.org> example.net [] bob@example.net (virus)\nquarantined <ann@example.org> example.com [] eve@example.com (virus)"},
		{"quarantine and refuse", func(s *esmtp.Session) esmtp.Reply {
			s.Transaction().Quarantine("virus", esmtp.Deny(550, 5, 7, 1, "no"), esmtp.Envelope{To: []esmtp.Path{path("x@example.org")}})
			return esmtp.Reply{}
		}, "550 5.7.1 no", "quarantined <> example.org [] x@example.org (virus)"},
		{"discard", func(s *esmtp.Session) esmtp.Reply { s.Transaction().Discard("boring"); return esmtp.Reply{} }, "250 *", ""},
		{"consume", func(s *esmtp.Session) esmtp.Reply { s.Transaction().Consume(esmtp.OK("mine")); return esmtp.Reply{} }, "250 2.0.0 mine", ""},
		{"reject", func(s *esmtp.Session) esmtp.Reply { return esmtp.Deny(550, 5, 7, 1, "no") }, "550 5.7.1 no", ""},
		{"send", func(s *esmtp.Session) esmtp.Reply {
			s.Transaction().Send(esmtp.Envelope{From: path("list@example.org"), To: []esmtp.Path{path("m1@example.net"), path("m2@example.com")}},
				esmtp.Envelope{To: []esmtp.Path{path("archive@example.org")}, NextHops: []string{"lmtp://127.0.0.1:24", "127.0.0.1"}, Retry: []time.Duration{time.Second}})
			return esmtp.Reply{}
		}, "250 *", "queued <list@example.org> example.net [] m1@example.net\nqueued <list@example.org> example.com [] m2@example.com\n" +
			"queued <> lmtp://127.0.0.1:24 [lmtp://127.0.0.1:24 127.0.0.1] archive@example.org"},
		{"send to nobody", func(s *esmtp.Session) esmtp.Reply {
			s.Transaction().Send(esmtp.Envelope{From: path("list@example.org")})
			return esmtp.Reply{}
		}, "451 4.3.0 *", ""},
		{"one failed: it is reported by mail", func(s *esmtp.Session) esmtp.Reply {
			s.Transaction().SetReply(0, esmtp.Deny(550, 5, 2, 2, "full"))
			return esmtp.Reply{}
		}, "250 2.0.0 queued as *", "queued <ann@example.org> example.com [] eve@example.com\nqueued <ann@example.org> example.org [] bob@example.net:failed 550 5.2.2 full"},
		{"one failed, and the message is refused: the client hears it", func(s *esmtp.Session) esmtp.Reply {
			s.Transaction().SetReply(0, esmtp.Deny(550, 5, 2, 2, "full"))
			s.Transaction().Quarantine("virus", esmtp.Deny(550, 5, 7, 1, "no"))
			return esmtp.Reply{}
		}, "550 *", "quarantined <ann@example.org> example.com [] eve@example.com (virus)"},
		{"all failed, and it is sent elsewhere: that is reported by mail", func(s *esmtp.Session) esmtp.Reply {
			s.Transaction().SetReply(0, esmtp.Deny(550, 5, 2, 2, "full"))
			s.Transaction().SetReply(1, esmtp.Deny(550, 5, 2, 1, "gone"))
			s.Transaction().Send(esmtp.Envelope{To: []esmtp.Path{path("archive@example.org")}})
			return esmtp.Reply{}
		}, "250 2.0.0 queued as *", "queued <> example.org [] archive@example.org\n" +
			"queued <ann@example.org> example.org [] bob@example.net:failed 550 5.2.2 full eve@example.com:failed 550 5.2.1 gone"},
		{"one failed for now: the client sends all of it again", func(s *esmtp.Session) esmtp.Reply {
			s.Transaction().SetReply(1, esmtp.Deny(451, 4, 3, 0, "not today"))
			return esmtp.Reply{}
		}, "451 4.3.0 not today", ""},
		{"one failed for now, one for good", func(s *esmtp.Session) esmtp.Reply {
			s.Transaction().SetReply(0, esmtp.Deny(550, 5, 2, 2, "full"))
			s.Transaction().SetReply(1, esmtp.Deny(451, 4, 3, 0, "not today"))
			return esmtp.Reply{}
		}, "451 4.3.0 not today", ""},
		{"held, and one failed for now", func(s *esmtp.Session) esmtp.Reply {
			s.Transaction().Hold("look at it")
			s.Transaction().SetReply(0, esmtp.Deny(452, 4, 2, 2, "full"))
			return esmtp.Reply{}
		}, "452 4.2.2 full", ""},
		{"one failed for now, and the message is refused", func(s *esmtp.Session) esmtp.Reply {
			s.Transaction().SetReply(0, esmtp.Deny(452, 4, 2, 2, "full"))
			s.Transaction().Quarantine("virus", esmtp.Deny(550, 5, 7, 1, "no"))
			return esmtp.Reply{}
		}, "550 *", "quarantined <ann@example.org> example.com [] eve@example.com (virus)"},
		{"all failed: the client hears it", func(s *esmtp.Session) esmtp.Reply {
			s.Transaction().SetReply(0, esmtp.Deny(550, 5, 2, 2, "full"))
			s.Transaction().SetReply(1, esmtp.Deny(550, 5, 2, 1, "gone"))
			return esmtp.Reply{}
		}, "550 5.2.2 full", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.above.eom = test.eom
			r.run(two + data + "S: " + test.reply + "\n" + quit)
			if got := r.items(); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// LMTP tells each recipient's fate to the client: then one that failed, for good or for now, keeps nobody else from the message.
func TestLMTPRepliesForEach(t *testing.T) {
	for _, reply := range []esmtp.Reply{esmtp.Deny(550, 5, 2, 2, "full"), esmtp.Deny(452, 4, 2, 2, "full")} {
		r := newRig(t)
		r.lmtp = true
		r.above.eom = func(s *esmtp.Session) esmtp.Reply {
			s.Transaction().SetReply(0, reply)
			return esmtp.Reply{}
		}
		r.run(strings.Replace(two, "EHLO", "LHLO", 1) + data + "S: " + reply.Error() + "\nS: 250 2.0.0 queued as *\n" + quit)
		if got, want := r.items(), "queued <ann@example.org> example.com [] eve@example.com"; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

// A message that did not come whole is not in the spool.
func TestHalfAMessageLeavesNothing(t *testing.T) {
	for _, end := range []string{
		"C: DATA\nS: 354 *\nC: half\nleave",
		"C: BDAT 4\nC| half\nS: 250 *\nC: RSET\nS: 250 *\n" + quit,
		"C: DATA\nS: 354 *\n" + `C| a\nb\r\n` + "\nC: .\nS: 554 *\n" + quit,
	} {
		r := newRig(t)
		r.run(two + end)
		if got := r.items(); got != "" {
			t.Errorf("%s: got %s", end, got)
		}
	}
}

func TestNeedsAreFoundInTheMessage(t *testing.T) {
	for _, test := range []struct {
		name, mail, data string
		want             spool.Needs
	}{
		{"plain", "", "C: hi", 0},
		{"8-bit, though not declared", "", "C: Subject: x\nC:\nC: grüße", spool.Needs8Bit},
		{"an 8-bit header, though not declared", "", "C: Subject: grüße\nC:\nC: x", spool.Needs8Bit},
		{"a header in UTF-8", " SMTPUTF8", "C: Subject: grüße\nC:\nC: x", spool.NeedsUTF8 | spool.Needs8Bit},
		{"SMTPUTF8 that needs none", " SMTPUTF8", "C: Subject: x\nC:\nC: x", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.run(hello + "C: MAIL FROM:<ann@example.org>" + test.mail + "\nS: 250 *\nC: RCPT TO:<bob@example.net>\nS: 250 *\nC: DATA\nS: 354 *\n" + test.data + "\nC: .\nS: 250 *\n" + quit)
			if it, _ := r.first(); it.Needs != test.want {
				t.Errorf("got %b, want %b", it.Needs, test.want)
			}
		})
	}
}

// RFC 5321 §6.3.
func TestLoopsAreStopped(t *testing.T) {
	r := newRig(t)
	r.queue.MaxHops = 2
	r.run(two + "C: DATA\nS: 354 *\nC: Received: a\nC: received: b\nC: RECEIVED: c\nC: .\nS: 554 5.4.6 *\n" +
		"C: MAIL FROM:<a@example.org>\nS: 250 *\nC: RCPT TO:<bob@example.net>\nS: 250 *\nC: DATA\nS: 354 *\nC: Received: a\nC: Received: b\nC: .\nS: 250 *\n" + quit)
	if n := strings.Count(r.items(), "queued"); n != 1 {
		t.Errorf("got %d items, want the one of the message that came straight", n)
	}
}

// RFC 4865, RFC 6710: only who is logged in can have mail held, or put before that of others. On port 25 the first isn't offered at all.
func TestHoldAndPriorityAreForUsers(t *testing.T) {
	r := newRig(t)
	r.above.mechanisms = []string{"PLAIN"}
	r.local = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 25), Port: 587}
	const held = "C: MAIL FROM:<ann@example.org> HOLDFOR=3600\n"
	r.run(hello + held + "S: 550 5.7.1 *\nC: MAIL FROM:<ann@example.org> MT-PRIORITY=4\nS: 250 *\nC: RCPT TO:<bob@example.net>\nS: 250 *\n" + data + "S: 250 *\n" + quit)
	if it, _ := r.first(); it.Priority != 0 {
		t.Errorf("somebody got the priority %d", it.Priority)
	}
	r = newRig(t)
	r.above.mechanisms = []string{"PLAIN"}
	r.local = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 25), Port: 587}
	r.run(hello + "C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 235 *\nC: MAIL FROM:<ann@example.org> HOLDFOR=3600 MT-PRIORITY=4\nS: 250 *\n" +
		"C: RCPT TO:<bob@example.net>\nS: 250 *\n" + data + "S: 250 *\n" + quit)
	it, _ := r.first()
	if wait := time.Until(it.Due); wait < 59*time.Minute || wait > time.Hour || it.Priority != 4 || it.Origin.User != "ann" || !it.Entered().Equal(it.NotBefore) || !it.Expires.IsZero() {
		t.Errorf("got %+v", it)
	}
}

// RFC 4865 §4: what was held or quarantined here keeps the time before which it isn't to be sent. To report what has failed can't wait for it.
func TestTheReleaseIsKeptWhateverIsDecided(t *testing.T) {
	for name, eom := range map[string]func(tx *esmtp.Transaction){
		"queued":      func(*esmtp.Transaction) {},
		"frozen":      func(tx *esmtp.Transaction) { tx.Hold("look at it") },
		"quarantined": func(tx *esmtp.Transaction) { tx.Quarantine("virus", esmtp.Reply{}) },
	} {
		r := newRig(t)
		r.above.mechanisms = []string{"PLAIN"}
		r.above.eom = func(s *esmtp.Session) esmtp.Reply {
			eom(s.Transaction())
			s.Transaction().SetReply(1, esmtp.Deny(550, 5, 2, 2, "full"))
			return esmtp.Reply{}
		}
		r.local = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 25), Port: 587}
		r.run(hello + "C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 235 *\nC: MAIL FROM:<ann@example.org> HOLDFOR=3600\nS: 250 *\n" +
			"C: RCPT TO:<bob@example.net>\nS: 250 *\nC: RCPT TO:<eve@example.com>\nS: 250 *\n" + data + "S: 250 *\n" + quit)
		items, _, err := r.spool.List(t.Context(), spool.Filter{})
		if err != nil || len(items) != 2 || items[0].State.String() != name || time.Until(items[0].NotBefore) < 59*time.Minute ||
			!items[1].NotBefore.IsZero() || items[1].Due.After(time.Now()) {
			t.Errorf("%s: got %+v, %v", name, items, err)
		}
	}
}

// Whoever is nobody has no priority to give, and vouches for nobody.
func TestStrangersVouchForNobody(t *testing.T) {
	for user, want := range map[string]string{"": "RET=HDRS", "C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 235 *\n": "AUTH=boss@example.org RET=HDRS mt-priority=4"} {
		r := newRig(t)
		r.above.mechanisms = []string{"PLAIN"}
		r.local = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 25), Port: 587}
		r.run(hello + user + "C: MAIL FROM:<ann@example.org> AUTH=boss@example.org RET=HDRS mt-priority=4\nS: 250 *\nC: RCPT TO:<bob@example.net>\nS: 250 *\n" + data + "S: 250 *\n" + quit)
		if it, _ := r.first(); it.Sender.Params != want {
			t.Errorf("got %q, want %q", it.Sender.Params, want)
		}
	}
}

func TestOwnScheduleEndsWithStop(t *testing.T) {
	r := newRig(t)
	r.queue.Retry = []time.Duration{time.Minute}
	r.queue.NextHops = []string{"127.0.0.1:24"}
	r.run(two + data + "S: 250 *\n" + quit)
	if it, _ := r.first(); fmt.Sprint(it.Retry) != fmt.Sprint([]time.Duration{time.Minute, relay.Stop}) || it.Route != "127.0.0.1:24" || len(it.Recipients) != 2 {
		t.Errorf("got %+v", it)
	}
}

// RFC 5321 §4.5.3.1.8: an item has no more recipients than every server takes.
func TestManyRecipientsAreSplit(t *testing.T) {
	r := newRig(t)
	script := mail
	for i := range 250 {
		script += fmt.Sprintf("C: RCPT TO:<u%d@example.net>\nS: 250 *\n", i)
	}
	r.run(script + data + "S: 250 *\n" + quit)
	items, _, _ := r.spool.List(context.Background(), spool.Filter{})
	if len(items) != 3 || len(items[0].Recipients) != 100 || len(items[2].Recipients) != 50 {
		t.Errorf("got %d items", len(items))
	}
}

// fullSpool has room for no more than so many octets.
type fullSpool struct {
	spool.Spool
	octets int64
}

func (f fullSpool) Room(n int64) error {
	if n <= f.octets {
		return nil
	}
	return fmt.Errorf("%w: the test says so", spool.ErrFull)
}

// RFC 1870 §6.1: what there is no room for is refused before it comes.
func TestSizeIsHeldAgainstTheRoom(t *testing.T) {
	r := newRig(t)
	r.queue.Spool = fullSpool{r.spool, 1000}
	r.run(hello + "C: MAIL FROM:<ann@example.org> SIZE=1001\nS: 452 4.3.1 *\nC: MAIL FROM:<ann@example.org> SIZE=1000\nS: 250 *\nC: RSET\nS: 250 *\n" +
		"C: MAIL FROM:<ann@example.org>\nS: 250 *\n" + quit)
	r.queue.Spool = fullSpool{r.spool, -1} // nothing is taken
	r.run(hello + "C: MAIL FROM:<ann@example.org>\nS: 452 4.3.1 *\n" + quit)
}

func TestAClosedSpoolIs451(t *testing.T) {
	r := newRig(t)
	r.spool.Close()
	r.run(two + data + "S: 451 4.3.0 *\n" + quit)
}
