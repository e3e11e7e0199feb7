package esmtp_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// mailboxes delivers to some: "full@…" fails, "later@…" is put off, "never@…" too, and for ever. It offers PRDR.
type mailboxes struct {
	esmtp.Default
	per chan bool
}

func (m *mailboxes) EHLO(s *esmtp.Session, domain string) esmtp.Reply {
	r := m.Default.EHLO(s, domain)
	r.Lines = append(r.Lines, "PRDR")
	return r
}

func (m *mailboxes) EOM(s *esmtp.Session) esmtp.Reply {
	if m.per != nil {
		m.per <- s.PerRecipient()
	}
	tx := s.Transaction()
	for i, r := range tx.Recipients() {
		switch r.Path.Local() {
		case "full":
			tx.SetReply(i, esmtp.Deny(452, 4, 2, 2, "mailbox full"))
		case "gone":
			tx.SetReply(i, esmtp.Deny(550, 5, 1, 1, "no such mailbox"))
		case "drop":
			tx.SetReply(i, esmtp.Drop)
		case "later":
			finish := tx.Defer(i)
			go func() {
				finish(esmtp.OK("delivered later"))
				finish(esmtp.Deny(550, 5, 0, 0, "a second call counts for nothing"))
			}()
		case "never":
			tx.Defer(i)
		}
	}
	return m.Default.EOM(s)
}

func mailboxServer(lmtp bool) *esmtp.Server {
	return &esmtp.Server{Hostname: tlsHost, LMTP: lmtp, NewHandler: func(*esmtp.Session) esmtp.Handler { return new(mailboxes) }}
}

// RFC 2033 §4.2: a reply for each recipient that was accepted, in order; G29, G30.
func TestLMTPAnswersForEachRecipient(t *testing.T) {
	esmtptest.Run(t, mailboxServer(true), `
S: 220 mx.example.org LMTP Mail Server
C: EHLO a
S: 500 This is LMTP, say LHLO
C: HELO a
S: 500 This is LMTP, say LHLO
C: LHLO a
S: 250-*
S: ...
C: MAIL FROM:<ann@client.example>
S: 250 *
C: DATA
S: 503 5.5.1 *
C: RCPT TO:<a@example.org>
S: 250 *
C: RCPT TO:<full@example.org>
S: 250 *
C: RCPT TO:<>
S: 501 *
C: RCPT TO:<later@example.org>
S: 250 *
C: DATA
S: 354 *
C: text
C: .
S: 250 2.0.0 Message accepted for delivery
S: 452 4.2.2 mailbox full
S: 250 2.0.0 delivered later
C: MAIL FROM:<ann@client.example>
S: 250 *
C: RCPT TO:<a@example.org>
S: 250 *
C: RCPT TO:<b@example.org>
S: 250 *
C: BDAT 1
C| x
S: 250 2.0.0 1 octets received
C: BDAT 1 LAST
C| \n
S: 554 5.6.0 *
S: 554 5.6.0 *
C: HELP
S: 214-*
S: 214 2.0.0 MAIL RCPT DATA BDAT RSET VRFY EXPN HELP NOOP QUIT LHLO
C: QUIT
S: 221 *
`)
	esmtptest.Run(t, mailboxServer(false), "S: 220 *\nC: LHLO a\nS: 500 This is SMTP, say EHLO")
}

// What one reply can't say is 451, so that nobody loses the message; but not if it would only be repeated.
func TestOneReplyForRecipientsThatDiffer(t *testing.T) {
	for _, test := range []struct{ rcpts, want string }{
		{"a", "250 2.0.0 *"},
		{"later", "250 2.0.0 *"},
		{"full", "452 4.2.2 mailbox full"},
		{"full full", "452 4.2.2 mailbox full"},
		{"a full", "451 4.3.0 *"},
		{"a full gone", "451 4.3.0 *"},
		{"a gone drop", "451 4.3.0 *"},
		{"gone a", "550-5.1.1 Not delivered to <gone@example.org>, delivered to the others:\n550 5.1.1 no such mailbox"},
		{"gone a gone", "550-5.1.1 Not delivered to <gone@example.org> and 1 more, delivered to the others:\n550 5.1.1 no such mailbox"},
		{"gone gone", "550 5.1.1 no such mailbox"},
		{"gone full", "452 4.2.2 mailbox full"},
	} {
		c := esmtptest.Dial(t, mailboxServer(false))
		c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: MAIL FROM:<>\nS: 250 *")
		for rcpt := range strings.FieldsSeq(test.rcpts) {
			c.Cmd("RCPT TO:<"+rcpt+"@example.org>", "250 *")
		}
		c.Cmd("DATA", "354 *")
		c.Send("text", ".")
		c.Run("S: " + strings.ReplaceAll(test.want, "\n", "\nS: "))
		c.Cmd("NOOP", "250 *")
	}
}

func TestPRDR(t *testing.T) {
	esmtptest.Run(t, mailboxServer(false), `
S: 220 *
C: EHLO a
S: 250-*
S: ...
C: MAIL FROM:<ann@client.example> PRDR
S: 250 *
C: RCPT TO:<a@example.org>
S: 250 *
C: RCPT TO:<full@example.org>
S: 250 *
C: DATA
S: 354 *
C: text
C: .
S: 353 *
S: 250 2.0.0 *
S: 452 4.2.2 mailbox full
S: 250 2.0.0 *
C: MAIL FROM:<ann@client.example> PRDR=x
S: 501 5.5.4 *
C: MAIL FROM:<ann@client.example> PRDR
S: 250 *
C: RCPT TO:<a@example.org>
S: 250 *
C: DATA
S: 354 *
C: .
S: 250 2.0.0 *
C: QUIT
S: 221 *
`)
}

// A recipient whose reply is to hang up without a word is the last that is answered: the next one's reply would be taken for its own.
func TestDropForARecipientEndsTheReplies(t *testing.T) {
	const envelope = "S: 250 *\nC: RCPT TO:<a@example.org>\nS: 250 *\nC: RCPT TO:<drop@example.org>\nS: 250 *\nC: RCPT TO:<b@example.org>\nS: 250 *\nC: DATA\nS: 354 *"
	c := esmtptest.Dial(t, mailboxServer(true))
	c.Run("S: 220 *\nC: LHLO a\nS: 250-*\nS: ...\nC: MAIL FROM:<>\n" + envelope)
	c.Send(".")
	c.Expect("250 *")
	c.ExpectClose()
	c = esmtptest.Dial(t, mailboxServer(false))
	c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: MAIL FROM:<> PRDR\n" + envelope)
	c.Send(".")
	c.Expect("353 *")
	c.Expect("250 *")
	c.ExpectClose()
}

// A chunk that is refused is one error, for however many recipients it is answered.
func TestLMTPRefusedLastBDATIsOneError(t *testing.T) {
	srv := mailboxServer(true)
	srv.Limits.Errors, srv.BareNewlines = 2, esmtp.RejectBare
	c := esmtptest.Dial(t, srv)
	c.Run("S: 220 *\nC: LHLO a\nS: 250-*\nS: ...\nC: MAIL FROM:<>\nS: 250 *")
	for range 3 {
		c.Cmd("RCPT TO:<a@example.org>", "250 *")
	}
	c.SendRaw("BDAT 4\r\na\nb\nBDAT 1 LAST\r\nx")
	for _, want := range []string{"554 5.6.0 *", "503 5.5.1 *", "503 5.5.1 *", "503 5.5.1 *"} {
		c.Expect(want)
	}
	c.Cmd("NOOP", "250 *")
}

func TestDeferredReplyHasABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := esmtptest.Dial(t, mailboxServer(true))
		c.Patience = 0
		c.Run("S: 220 *\nC: LHLO a\nS: 250-*\nS: ...\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<never@example.org>\nS: 250 *\nC: RCPT TO:<later@example.org>\nS: 250 *\nC: DATA\nS: 354 *")
		begin := time.Now()
		c.Send(".")
		c.Expect("451 4.4.7 *")
		c.Expect("250 2.0.0 delivered later")
		if d := time.Since(begin); d != 5*time.Minute {
			t.Errorf("waited %v, want 5 minutes", d)
		}
	})
}

// RFC 2033 §5; G31.
func TestLMTPNotOnPort25(t *testing.T) {
	l := esmtptest.Listen() // at port 25
	if err := mailboxServer(true).Serve(l); err == nil || !strings.Contains(err.Error(), "port 25") {
		t.Errorf("LMTP on port 25: %v", err)
	}
}
