package maildir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// breaker has the disk fail in the middle of a message: the file in the lead can't be written any more.
type breaker struct {
	*layer
	t      *testing.T
	chunks int
}

func (b *breaker) BODY(s *esmtp.Session, chunk []byte) esmtp.Reply {
	if b.chunks++; b.chunks == 3 {
		d := b.layer.mail
		f, err := d.root.Open(d.copies[d.lead].tmp())
		if err != nil {
			b.t.Error(err)
		}
		d.first.Close()
		d.first = f
	}
	return b.layer.BODY(s, chunk)
}

func TestAnotherLetterTakesTheLead(t *testing.T) {
	root := filepath.Join(t.TempDir(), "mail")
	store, err := New(root + "/{rcpt.local}")
	if err != nil {
		t.Fatal(err)
	}
	c := esmtptest.Dial(t, &esmtp.Server{LMTP: true, NewHandler: func(s *esmtp.Session) esmtp.Handler {
		s.SetChunkSize(40000)
		return &breaker{layer: store.NewLayer(s, esmtp.Default{}).(*layer), t: t}
	}})
	body := strings.Repeat("0123456789abcdef\r\n", 20000)
	c.Run("S: 220 *\nC: LHLO a\nS: 250-*\nS: ...\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<a@x>\nS: 250 *\nC: RCPT TO:<b@x>\nS: 250 *\n" +
		"C: RCPT TO:<c@x>\nS: 250 *\nC: DATA\nS: 354 *")
	c.SendRaw("Subject: x\r\n\r\n" + body + ".\r\n")
	c.Expect("451 4.3.0 *", "250 *", "250 *")
	for _, rcpt := range []string{"a", "b", "c"} {
		names, _ := filepath.Glob(filepath.Join(root, rcpt, "*", "*"))
		if rcpt == "a" {
			if len(names) > 0 {
				t.Errorf("left behind: %s", names)
			}
			continue
		}
		if len(names) != 1 {
			t.Fatalf("%s has %q", rcpt, names)
		}
		text, err := os.ReadFile(names[0])
		_, got, _ := strings.Cut(string(text), "\r\nSubject: x\r\n\r\n")
		if err != nil || got != body || !strings.Contains(string(text), "Delivered-To: "+rcpt+"@x") {
			t.Errorf("%s has %d octets, %v; want %d", rcpt, len(got), err, len(body))
		}
	}
}
