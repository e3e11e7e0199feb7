package maildir_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/handler/maildir"
)

// judge is a layer that decides about the message in one verb.
type judge struct {
	esmtp.Handler
	verb   string
	decide func(*esmtp.Transaction)
}

func (j *judge) at(verb string, s *esmtp.Session) {
	if verb == j.verb {
		j.decide(s.Transaction())
	}
}

func (j *judge) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	j.at("RCPT", s)
	return j.Handler.RCPT(s, to)
}

func (j *judge) BODY(s *esmtp.Session, chunk []byte) esmtp.Reply {
	j.at("BODY", s)
	return j.Handler.BODY(s, chunk)
}

func (j *judge) EOM(s *esmtp.Session) esmtp.Reply {
	j.at("EOM", s)
	return j.Handler.EOM(s)
}

// taker stands for a spool: it does what the verdict says, and notes what that was.
type taker struct {
	esmtp.Default
	took *esmtp.Disposition
}

func (k *taker) EOM(s *esmtp.Session) esmtp.Reply {
	*k.took = s.Transaction().TakeVerdict().Disposition
	return esmtp.OK("taken")
}

// A message that a layer above has other plans for is not kept, whenever it was decided.
func TestVerdictsAreObeyed(t *testing.T) {
	for name, test := range map[string]struct {
		decide      func(*esmtp.Transaction)
		want, below string // the reply, and the one with a spool below
	}{
		"discard":    {func(t *esmtp.Transaction) { t.Discard("junk") }, "250 2.0.0 *", "250 2.0.0 *"},
		"consume":    {func(t *esmtp.Transaction) { t.Consume(esmtp.OK("mine")) }, "250 2.0.0 mine", "250 2.0.0 mine"},
		"send":       {func(t *esmtp.Transaction) { t.Send() }, "451 4.3.0 *", "250 2.0.0 taken"},
		"hold":       {func(t *esmtp.Transaction) { t.Hold("wait") }, "451 4.3.0 *", "250 2.0.0 taken"},
		"quarantine": {func(t *esmtp.Transaction) { t.Quarantine("odd", esmtp.Reply{}) }, "451 4.3.0 *", "250 2.0.0 taken"},
	} {
		for _, verb := range []string{"RCPT", "BODY", "EOM"} {
			for _, spool := range []bool{false, true} {
				root := filepath.Join(t.TempDir(), "mail")
				store, err := maildir.New(root + byAddress)
				if err != nil {
					t.Fatal(err)
				}
				var took esmtp.Disposition
				stack := []esmtp.Layer{func(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler { return &judge{next, verb, test.decide} }, store.NewLayer}
				want := test.want
				if spool {
					want = test.below
					stack = append(stack, func(*esmtp.Session, esmtp.Handler) esmtp.Handler { return &taker{took: &took} })
				}
				srv := esmtptest.NewServer(t, &esmtp.Server{Hostname: "mx.example.org", NewHandler: esmtp.Stack(stack...)})
				deliver(srv.Dial(), "Subject: x\r\n\r\ntext\r\n", want, "b@example.org", "c@example.org")
				srv.Shutdown(context.Background())
				if found := files(t, root); len(found) > 0 {
					t.Errorf("%s in %s: kept %q", name, verb, found)
				}
				if reaches := spool && want == "250 2.0.0 taken"; reaches != (took != esmtp.Keep) {
					t.Errorf("%s in %s: the spool below was asked for %v", name, verb, took)
				}
			}
		}
	}
}

// What a verdict says of one message doesn't touch the next.
func TestAVerdictIsForOneMessage(t *testing.T) {
	root := filepath.Join(t.TempDir(), "mail")
	store, err := maildir.New(root + byAddress)
	if err != nil {
		t.Fatal(err)
	}
	first := true
	above := func(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler {
		return &judge{next, "EOM", func(tx *esmtp.Transaction) {
			if first {
				tx.Discard("the first")
			}
			first = false
		}}
	}
	c := esmtptest.Dial(t, &esmtp.Server{NewHandler: esmtp.Stack(above, store.NewLayer)})
	c.Run("S: 220 *\nC: HELO a\nS: 250 *")
	for range 2 {
		c.Run("C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<b@example.org>\nS: 250 *\nC: DATA\nS: 354 *\nC: Subject: x\nC: .\nS: 250 *")
	}
	if found := files(t, root); len(found["example.org/b/new"]) != 1 || len(found["example.org/b/tmp"]) != 0 {
		t.Errorf("got %q, want one message", found)
	}
}
