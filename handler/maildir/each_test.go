package maildir_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/handler/maildir"
)

// serveEach is serve for LMTP or SMTP.
func serveEach(t *testing.T, lmtp bool) (*esmtptest.Server, string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "mail")
	store, err := maildir.New(root + byAddress)
	if err != nil {
		t.Fatal(err)
	}
	return esmtptest.NewServer(t, &esmtp.Server{Hostname: "mx.example.org", LMTP: lmtp, NewHandler: esmtp.Stack(store.NewLayer)}), root
}

// block puts a file where a folder should be.
func block(t *testing.T, target string) {
	t.Helper()
	if filepath.Base(target) == "new" {
		mkdir(t, filepath.Join(filepath.Dir(target), "tmp"))
	}
	mkdir(t, filepath.Dir(target))
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

const oneBad = "S: 354 *\nC: Subject: x\nC:\nC: text\nC: .\n"

// A mailbox that can't take the message fails alone, whichever it is and whenever that shows.
func TestOneMailboxFailsAlone(t *testing.T) {
	for _, lmtp := range []bool{true, false} {
		for _, bad := range []string{"a", "b", "c"} {
			for _, part := range []string{"", "/tmp", "/new"} {
				srv, root := serveEach(t, lmtp)
				block(t, filepath.Join(root, "example.org", bad+part))
				c := srv.Dial()
				hello, params, before, after := "LHLO", "", "", ""
				if !lmtp {
					hello, params, before, after = "EHLO", " PRDR", "S: 353 *\n", "S: 250 2.0.0 *\n"
				}
				script := "S: 220 *\nC: " + hello + " client.example\nS: 250-*\nS: ...\nC: MAIL FROM:<ann@client.example>" + params + "\nS: 250 *\n"
				replies := ""
				for _, rcpt := range []string{"a", "b", "c", "a"} {
					script += "C: RCPT TO:<" + rcpt + "@example.org>\nS: 250 *\n"
					if rcpt == bad {
						replies += "S: 451 4.3.0 *\n"
					} else {
						replies += "S: 250 2.0.0 *\n"
					}
				}
				c.Run(script + "C: DATA\n" + oneBad + before + replies + after + "C: QUIT\nS: 221 *")
				srv.Shutdown(context.Background())
				found := files(t, root)
				for _, rcpt := range []string{"a", "b", "c"} {
					texts := found["example.org/"+rcpt+"/new"]
					if rcpt != bad && (len(texts) != 1 || !strings.HasSuffix(texts[0], "\r\nSubject: x\r\n\r\ntext\r\n") ||
						!strings.Contains(texts[0], "Delivered-To: "+rcpt+"@")) {
						t.Errorf("%s%s is blocked: %s has %q", bad, part, rcpt, texts)
					}
					if left := found["example.org/"+rcpt+"/tmp"]; len(left) > 0 {
						t.Errorf("%s%s is blocked: left in tmp: %q", bad, part, left)
					}
				}
			}
		}
	}
}

func TestWhenAllMailboxesFailTheMessageDoes(t *testing.T) {
	srv, root := serveEach(t, true)
	block(t, filepath.Join(root, "example.org"))
	c := srv.Dial()
	c.Run("S: 220 *\nC: LHLO a\nS: 250-*\nS: ...\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<a@example.org>\nS: 250 *\n" +
		"C: RCPT TO:<b@example.org>\nS: 250 *\nC: DATA\n" + oneBad + "S: 451 4.3.0 *\nS: 451 4.3.0 *\nC: NOOP\nS: 250 *")
}

// Without PRDR the client gets one reply, and so all fail.
func TestPRDRIsOfferedAndNotForced(t *testing.T) {
	srv, root := serveEach(t, false)
	block(t, filepath.Join(root, "example.org/b"))
	c := srv.Dial()
	c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: 250-PIPELINING\nS: ...\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<a@example.org>\nS: 250 *\n" +
		"C: RCPT TO:<b@example.org>\nS: 250 *\nC: DATA\n" + oneBad + "S: 451 4.3.0 *\nC: QUIT\nS: 221 *")
	if found := files(t, root); len(found["example.org/a/new"]) > 0 {
		t.Errorf("got %q", found)
	}
}
