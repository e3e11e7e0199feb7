package proxy_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// Whatever stands between lone CRs and LFs and dots, one message is one message behind us too, and nothing in it is a command.
func TestNothingIsSmuggledThroughTheChain(t *testing.T) {
	policies := map[string]esmtp.BareNewlines{"reject": esmtp.RejectBare, "fix": esmtp.FixBare, "strip": esmtp.StripBare, "pass": esmtp.PassBare}
	ends := []string{"\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\r\n.\r\r\n", "\n\n.\r\n", "\x00\r\n.\n", "\r\n.\x00\r\n", "\r\n..\n", "\n..\r\n"}
	const evil = "MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nSubject: evil\r\n\r\nsmuggled\r\n.\r\n"
	for name, policy := range policies {
		for _, end := range ends {
			for _, lmtp := range []bool{false, true} {
				b := (&box{lmtp: lmtp}).serve(t)
				srv := front(t, to(t, b), func(s *esmtp.Server) { s.BareNewlines = policy })
				message := "Subject: x\r\n\r\nbegin" + end + evil
				out := say(t, srv, "EHLO c.example\r\nMAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n"+message+"\r\n.\r\nQUIT\r\n")
				for _, l := range b.got() {
					if l.from != "ann@example.org" || fmt.Sprint(l.to) != "[bob@example.net]" {
						t.Errorf("%s, %q, LMTP %v: smuggled: %+v\n%s", name, end, lmtp, l, out)
					}
				}
				if len(b.got()) > 1 {
					t.Errorf("%s, %q: %d messages", name, end, len(b.got()))
				}
				binary := fmt.Sprintf("EHLO c.example\r\nMAIL FROM:<ann@example.org> BODY=BINARYMIME\r\nRCPT TO:<bob@example.net>\r\nBDAT %d LAST\r\n%sQUIT\r\n", len(message), message)
				say(t, srv, binary)
				for _, l := range b.got() {
					if l.from != "ann@example.org" {
						t.Errorf("%s, %q: smuggled by BDAT: %+v", name, end, l)
					}
				}
			}
		}
	}
}

// Over LMTP each recipient has a reply. Clients that can hear them all do; others try again if they differ.
func TestRepliesForEachRecipient(t *testing.T) {
	full, gone := esmtp.Deny(452, 4, 2, 2, "full"), esmtp.Deny(550, 5, 2, 1, "disabled")
	for _, test := range []struct {
		name   string
		each   map[string]esmtp.Reply
		lmtp   bool
		params string
		want   string
	}{
		{"LMTP", map[string]esmtp.Reply{"b": full}, true, "", "250 2.0.0 Message accepted for delivery|452 4.2.2 full"},
		{"PRDR", map[string]esmtp.Reply{"b": full}, false, " PRDR", "353 |250 2.0.0 Message accepted for delivery|452 4.2.2 full|250 2.0.0 Message accepted"},
		{"SMTP", map[string]esmtp.Reply{"b": full}, false, "", "451 4."},
		{"SMTP, all good", nil, false, "", "250 2.0.0 Message accepted"},
		{"SMTP, none good", map[string]esmtp.Reply{"a": gone, "b": full}, false, "", "452 4.2.2 full"},
		{"SMTP, all for good", map[string]esmtp.Reply{"a": gone, "b": gone}, false, "", "550 5.2.1 disabled"},
		{"LMTP, 421", map[string]esmtp.Reply{"a": esmtp.Deny(421, 4, 3, 2, "going down")}, true, "", "451 4.3.2 going down|451 4.4.2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := (&box{lmtp: true, each: test.each}).serve(t)
			srv := front(t, to(t, b), func(s *esmtp.Server) { s.LMTP = test.lmtp })
			hello := "EHLO"
			if test.lmtp {
				hello = "LHLO"
			}
			out := say(t, srv, hello+" c.example\r\nMAIL FROM:<ann@example.org>"+test.params+"\r\nRCPT TO:<a@example.net>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n\r\nx\r\n.\r\nQUIT\r\n")
			_, rest, _ := strings.Cut(out, "\r\n354 ")
			lines := strings.Split(rest, "\r\n")[1:]
			want := strings.Split(test.want, "|")
			for i, line := range append(want, "221 ") {
				if i >= len(lines) || !strings.HasPrefix(lines[i], line) {
					t.Errorf("got %q, want %q", lines, want)
					break
				}
			}
		})
	}
}

// A message with too many Received fields is going round in circles.
func TestALoopEnds(t *testing.T) {
	b := new(box).serve(t)
	srv := front(t, to(t, b), nil)
	for n, want := range map[int]string{100: "\r\n250 2.0.0 Message", 101: "\r\n554 5.4.6 "} {
		out := say(t, srv, "EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n"+strings.Repeat("Received: x\r\n", n)+"\r\nx\r\n.\r\nQUIT\r\n")
		if !strings.Contains(out, want) {
			t.Errorf("%d: got %q", n, out)
		}
	}
	if len(b.got()) != 1 {
		t.Errorf("%d messages", len(b.got()))
	}
}

// watch is a layer above that decides otherwise.
type watch struct {
	esmtp.Handler
	rcpt func(s *esmtp.Session, r esmtp.Reply) esmtp.Reply
	body esmtp.Reply
	eom  func(s *esmtp.Session) esmtp.Reply
}

func (w *watch) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	r := w.Handler.RCPT(s, to)
	if w.rcpt != nil {
		return w.rcpt(s, r)
	}
	return r
}

func (w *watch) BODY(s *esmtp.Session, chunk []byte) esmtp.Reply {
	if !w.body.IsZero() {
		return w.body
	}
	return w.Handler.BODY(s, chunk)
}

func (w *watch) EOM(s *esmtp.Session) esmtp.Reply {
	if w.eom != nil {
		if r := w.eom(s); !r.IsZero() {
			return r
		}
	}
	return w.Handler.EOM(s)
}

// What a layer above decides is obeyed: the next hop doesn't deliver what the client was told is not delivered.
func TestWhatLayersAboveDecide(t *testing.T) {
	no, later := esmtp.Deny(550, 5, 7, 1, "no"), esmtp.Deny(452, 4, 2, 2, "later")
	verdict := func(set func(*esmtp.Transaction)) watch {
		return watch{eom: func(s *esmtp.Session) esmtp.Reply { set(s.Transaction()); return esmtp.Reply{} }}
	}
	for name, test := range map[string]struct {
		layer     watch
		want      string
		delivered int
	}{
		"nothing":         {watch{}, "250 2.0.0 ", 1},
		"refused in body": {watch{body: no}, "550 5.7.1 no", 0},
		"refused at end":  {watch{eom: func(*esmtp.Session) esmtp.Reply { return no }}, "550 5.7.1 no", 0},
		"panic":           {watch{eom: func(*esmtp.Session) esmtp.Reply { panic("on purpose") }}, "451 4.3.0", 0},
		"discarded":       {verdict(func(tx *esmtp.Transaction) { tx.Discard("spam") }), "250 2.0.0", 0},
		"consumed":        {verdict(func(tx *esmtp.Transaction) { tx.Consume(esmtp.OK("mine")) }), "250 2.0.0 mine", 0},
		"quarantined":     {verdict(func(tx *esmtp.Transaction) { tx.Quarantine("virus", esmtp.Reply{}) }), "451 4.3.0", 0},
		"held":            {verdict(func(tx *esmtp.Transaction) { tx.Hold("later") }), "451 4.3.0", 0},
		"sent elsewhere":  {verdict(func(tx *esmtp.Transaction) { tx.Send(esmtp.Envelope{}) }), "451 4.3.0", 0},
		"one has failed":  {verdict(func(tx *esmtp.Transaction) { tx.SetReply(0, no) }), "550 5.7.1 no", 0},
		"one for now":     {verdict(func(tx *esmtp.Transaction) { tx.SetReply(1, later) }), "452 4.2.2 later", 0},
		"one each way":    {verdict(func(tx *esmtp.Transaction) { tx.SetReply(0, no); tx.SetReply(1, later) }), "452 4.2.2 later", 0},
		"all have failed": {verdict(func(tx *esmtp.Transaction) { tx.SetReply(0, no); tx.SetReply(1, no) }), "550 5.7.1 no", 0},
		"refused too late": {watch{rcpt: func(s *esmtp.Session, r esmtp.Reply) esmtp.Reply {
			return pick(len(s.Transaction().Recipients()) == 1, no, r)
		}}, "451 4.3.0", 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := new(box).serve(t)
			srv := front(t, to(t, b), nil, func(s *esmtp.Session, next esmtp.Handler) esmtp.Handler {
				layer := test.layer
				layer.Handler = next
				return &layer
			})
			c := begin(t, srv)
			c.cmd("MAIL FROM:<ann@example.org>", "250")
			c.cmd("RCPT TO:<a@example.net>", "250")
			c.cmd("RCPT TO:<b@example.net>", pick(name == "refused too late", "550", "250"))
			c.send("DATA\r\n")
			got := c.reply()
			if strings.HasPrefix(got, "354") {
				c.send("Subject: x\r\n\r\nbody\r\n.\r\n")
				got = c.reply()
			}
			if !strings.HasPrefix(got, test.want) || len(b.got()) != test.delivered {
				t.Errorf("got %q, %d messages; want %s, %d", got, len(b.got()), test.want, test.delivered)
			}
			c.cmd("RSET", "250")
			c.cmd("MAIL FROM:<ann@example.org>", "250") // and the session goes on
		})
	}
}

func pick[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

// Over LMTP a recipient for whom a layer above has failed hears that, and the others try again without him.
func TestOneRecipientFailsAbove(t *testing.T) {
	b := new(box).serve(t)
	failing := func(s *esmtp.Session, next esmtp.Handler) esmtp.Handler {
		return &watch{Handler: next, eom: func(s *esmtp.Session) esmtp.Reply {
			s.Transaction().SetReply(0, esmtp.Deny(550, 5, 7, 1, "no"))
			return esmtp.Reply{}
		}}
	}
	out := say(t, front(t, to(t, b), func(s *esmtp.Server) { s.LMTP = true }, failing), "LHLO c.example\r\nMAIL FROM:<ann@example.org>\r\nRCPT TO:<a@example.net>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n\r\nx\r\n.\r\nQUIT\r\n")
	if !strings.Contains(out, "\r\n550 5.7.1 no\r\n451 4.3.0 ") || len(b.got()) != 0 {
		t.Errorf("got %q", out)
	}
}

// A next hop that says no before the message is over is heard at once, and one that takes its time is waited for.
func TestAnEarlyNoAndALateYes(t *testing.T) {
	b := &box{answers: map[string]esmtp.Reply{"BODY": esmtp.Deny(552, 5, 3, 4, "too big for me").Hangup()}}
	var slow atomic.Int32
	b.hook = func(verb string, s *esmtp.Session) esmtp.Reply {
		if verb == "EOM" || verb == "RCPT" || verb == "BODY" && slow.Add(1) < 5 {
			time.Sleep(20 * time.Millisecond)
		}
		return esmtp.Reply{}
	}
	b.serve(t)
	srv := front(t, to(t, b), nil)
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 20000)
	for _, want := range []string{"\r\n552 5.3.4 too big for me", "\r\n250 2.0.0 Message accepted"} {
		out := say(t, srv, "EHLO c.example\r\n"+strings.Replace(one, "body\r\n", body, 1)+"QUIT\r\n")
		if !strings.Contains(out, want) {
			t.Errorf("got %q, want %q", out, want)
		}
		b.set(func() { b.answers = nil })
	}
	if got := b.got(); len(got) != 1 || cutTrace(t, got[0].body) != "\r\n"+body {
		t.Errorf("%d messages", len(got))
	}
}

// lone is a layer that answers a verb on its own account, and asks nobody.
type lone struct {
	esmtp.Handler
	verb string
}

func (l *lone) MAIL(s *esmtp.Session, from esmtp.Path) esmtp.Reply {
	if l.verb == "MAIL" {
		return esmtp.OK("mine")
	}
	return l.Handler.MAIL(s, from)
}

func (l *lone) DATA(s *esmtp.Session) esmtp.Reply {
	if l.verb == "DATA" {
		return esmtp.Say(354, "go")
	}
	return l.Handler.DATA(s)
}

// What the next hop was not asked it can't have said: such a message is refused, for now, and not lost.
func TestALayerThatAsksNobody(t *testing.T) {
	for verb, want := range map[string]string{"MAIL": "\r\n451 4.3.0 The next host hasn't heard", "DATA": "\r\n451 4.3.0 Message can't be handed on"} {
		b := new(box).serve(t)
		above := func(s *esmtp.Session, next esmtp.Handler) esmtp.Handler { return &lone{next, verb} }
		mail := "MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.net>\r\n"
		if verb == "DATA" {
			mail += "DATA\r\n" + strings.Repeat("Received: x\r\n", 120) + "\r\nbody\r\n.\r\n"
		}
		if out := say(t, front(t, to(t, b), nil, above), "EHLO c.example\r\n"+mail+"QUIT\r\n"); !strings.Contains(out, want) || len(b.got()) != 0 {
			t.Errorf("%s: got %q", verb, out)
		}
	}
}
