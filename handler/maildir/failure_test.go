package maildir_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// Whatever ends a message before its 250, nothing of it is left.
func TestNothingIsLeftOfAMessageThatWasNotKept(t *testing.T) {
	no := esmtp.Deny(550, 5, 7, 1, "no")
	for name, test := range map[string]struct {
		below esmtp.Layer
		talk  func(c *esmtptest.Client)
	}{
		"refused below at EOM":    {refuseAt("EOM", no), bdatLast("550 5.7.1 no")},
		"refused below in BODY":   {refuseAt("BODY", no), bdatLast("550 5.7.1 no")},
		"refused below at EOH":    {refuseAt("EOH", no), bdatLast("550 5.7.1 no")},
		"refused below in HEADER": {refuseAt("HEADER", no), bdatLast("550 5.7.1 no")},
		"hung up below":           {refuseAt("EOM", esmtp.Drop), func(c *esmtptest.Client) { c.SendRaw("BDAT 3 LAST\r\na\r\n"); c.ExpectClose() }},
		"RSET within BDAT":        {nil, func(c *esmtptest.Client) { bdat(c); c.Cmd("RSET", "250 *") }},
		"EHLO within BDAT":        {nil, func(c *esmtptest.Client) { bdat(c); c.Cmd("EHLO x.example", "250 *") }},
		"bad BDAT":                {nil, func(c *esmtptest.Client) { bdat(c); c.Cmd("BDAT x", "501 *") }},
		"client gone":             {nil, func(c *esmtptest.Client) { bdat(c); c.Conn.Close() }},
		"client gone in a chunk":  {nil, func(c *esmtptest.Client) { c.SendRaw("BDAT 99\r\nSubject: x\r\n"); c.Conn.Close() }},
	} {
		t.Run(name, func(t *testing.T) {
			var below []esmtp.Layer
			if test.below != nil {
				below = append(below, test.below)
			}
			srv, root := serve(t, byAddress, below...)
			c := srv.Dial()
			begin(c)
			c.Cmd("RCPT TO:<b@example.org>", "250 *")
			c.Cmd("RCPT TO:<c@example.org>", "250 *")
			test.talk(c)
			srv.Shutdown(context.Background())
			if found := files(t, root); len(found) > 0 {
				t.Errorf("left behind: %q", found)
			}
		})
	}
}

func bdat(c *esmtptest.Client) {
	c.SendRaw("BDAT 18\r\nSubject: x\r\n\r\nabcd")
	c.Expect("250 *")
}

func bdatLast(want string) func(c *esmtptest.Client) {
	return func(c *esmtptest.Client) {
		c.SendRaw("BDAT 18 LAST\r\nSubject: x\r\n\r\nabcd")
		c.Expect(want)
	}
}

// refuser refuses in one verb.
type refuser struct {
	esmtp.Handler
	verb  string
	reply esmtp.Reply
}

func refuseAt(verb string, reply esmtp.Reply) esmtp.Layer {
	return func(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler { return &refuser{next, verb, reply} }
}

func (r *refuser) at(verb string) esmtp.Reply {
	if verb == r.verb {
		return r.reply
	}
	return esmtp.Reply{}
}

func (r *refuser) HEADER(*esmtp.Session, string, string) esmtp.Reply { return r.at("HEADER") }
func (r *refuser) EOH(*esmtp.Session, esmtp.HeaderEnd) esmtp.Reply   { return r.at("EOH") }
func (r *refuser) BODY(*esmtp.Session, []byte) esmtp.Reply           { return r.at("BODY") }
func (r *refuser) EOM(*esmtp.Session) esmtp.Reply                    { return r.at("EOM") }

// What the file system refuses is 451, for all recipients: those that went well are taken back.
func TestAFailureTakesBackAllCopies(t *testing.T) {
	for name, blocked := range map[string]string{
		"root is a file":           ".",
		"domain is a file":         "example.net",
		"maildir is a file":        "example.net/c",
		"tmp is a file":            "example.net/c/tmp",
		"new of the last a file":   "example.net/c/new",
		"new of the first a file":  "example.org/b/new",
		"link out of the root":     "link/example.net/c",
		"link out of the root new": "link/example.net/c/new",
	} {
		t.Run(name, func(t *testing.T) {
			srv, root := serve(t, byAddress)
			target, isLink := strings.CutPrefix(blocked, "link/")
			target = filepath.Join(root, target)
			outside := t.TempDir()
			if filepath.Base(target) == "new" {
				mkdir(t, filepath.Join(filepath.Dir(target), "tmp")) // a maildir that isn't whole
			}
			mkdir(t, filepath.Dir(target))
			if isLink {
				if err := os.Symlink(outside, target); err != nil {
					t.Fatal(err)
				}
			} else if err := os.WriteFile(target, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			deliver(srv.Dial(), "Subject: x\r\n", "451 4.3.0 *", "b@example.org", "c@example.net")
			srv.Shutdown(context.Background())
			found := files(t, root)
			for dir, texts := range found {
				if slices.ContainsFunc(texts, func(s string) bool { return s != "" }) {
					t.Errorf("left behind in %s: %q", dir, texts)
				}
			}
			if found := files(t, outside); len(found) > 0 {
				t.Errorf("written outside of the root: %q", found)
			}
		})
	}
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}
