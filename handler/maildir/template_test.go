package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

func TestTemplate(t *testing.T) {
	for _, test := range []struct{ path, local, domain, root, dir string }{
		{"/var/mail/{rcpt.domain}/{rcpt.local}", "User", "example.org", "/var/mail", "example.org/user"},
		{"./mail/{rcpt.local}@{rcpt.domain}", "user", "example.org", "mail", "user@example.org"},
		{"{rcpt.local}", "user", "example.org", ".", "user"},
		{"/{rcpt.local}/Maildir/", "user", "example.org", "/", "user/Maildir"},
		{"/home/x{rcpt.local}y/mail", "user", "example.org", "/home", "xusery/mail"},
		{"/var/mail/all", "user", "example.org", "/var/mail/all", "."},
		{"/var/../srv/{rcpt.local}", "{rcpt.domain}", "example.org", "/srv", "{rcpt.domain}"},
		{"/v/.{rcpt.local}", "a.b.", "example.org", "/v", ".a.b."},
		{"/v/{rcpt.local}", "a.b.", "example.org", "/v", "a.b."},
		{"/v/{rcpt.local}", strings.Repeat("x", 255), "example.org", "/v", strings.Repeat("x", 255)},
	} {
		tmpl, err := parseTemplate(test.path)
		if err != nil {
			t.Errorf("%s: %v", test.path, err)
			continue
		}
		dir, err := tmpl.expand(test.local, test.domain)
		if err != nil || tmpl.root != test.root || dir != test.dir {
			t.Errorf("%s: got %s and %s, %v; want %s and %s", test.path, tmpl.root, dir, err, test.root, test.dir)
		}
	}
}

func TestTemplateRefused(t *testing.T) {
	for _, path := range []string{"", "/x/{rcpt}", "/x/{rcpt.local", "/x/{rcpt.local}/rcpt.domain}", "/x/{rcpt.local}/../y", "/x/{rcpt.local}//y",
		"/x/{rcpt.local}/{}", "a\x00b"} {
		if tmpl, err := parseTemplate(path); err == nil {
			t.Errorf("%q: got %+v, want an error", path, tmpl)
		}
	}
}

func TestNamesRefused(t *testing.T) {
	tmpl, err := parseTemplate("/v/{rcpt.domain}/x{rcpt.local}")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		local, domain string
		want          error
	}{
		{"", "example.org", errEmpty},
		{"user", "", errEmpty},
		{".", "example.org", errDot},
		{"..", "example.org", errDot},
		{".user", "example.org", errDot},
		{"user", "..", errDot},
		{"a/b", "example.org", errSpecial},
		{"../a", "example.org", errDot},
		{"user", "example.org/..", errSpecial},
		{`a\b`, "example.org", errSpecial},
		{"a\x00b", "example.org", errSpecial},
		{"a\nb", "example.org", errSpecial},
		{"a\u0085b", "example.org", errSpecial},
		{"a\xffb", "example.org", errSpecial},
		{strings.Repeat("x", 256), "example.org", errLong},
		{strings.Repeat("x", 255), "example.org", errLong}, // with what stands before it
	} {
		if dir, err := tmpl.expand(test.local, test.domain); !errors.Is(err, test.want) {
			t.Errorf("%q, %q: got %q, %v; want %v", test.local, test.domain, dir, err, test.want)
		}
	}
}

// FuzzExpandStaysBelowTheRoot: whatever the address, its folder is below the root, as deep as the path says, and is no hidden one.
func FuzzExpandStaysBelowTheRoot(f *testing.F) {
	for _, local := range []string{"user", "..", "../../x", "a/b", `a\b`, ".", "a\x00", "{rcpt.domain}", "İ", "\xff"} {
		f.Add(local, "example.org")
		f.Add("user", local)
	}
	f.Fuzz(func(t *testing.T, local, domain string) {
		for _, path := range []string{"/v/{rcpt.domain}/{rcpt.local}", "/v/{rcpt.local}@{rcpt.domain}", "{rcpt.local}", "/v/{rcpt.domain}/m"} {
			tmpl, err := parseTemplate(path)
			if err != nil {
				t.Fatal(err)
			}
			dir, err := tmpl.expand(local, domain)
			if err != nil {
				continue
			}
			if parts := strings.Split(dir, "/"); len(parts) != len(tmpl.parts) || !filepath.IsLocal(dir) || filepath.Clean(dir) != dir {
				t.Fatalf("%q, %q: %q leads out of %s", local, domain, dir, path)
			}
			for part := range strings.SplitSeq(dir, "/") {
				if part == "" || part[0] == '.' || len(part) > maxName || strings.ContainsRune(part, 0) {
					t.Fatalf("%q, %q: %q has a bad part", local, domain, dir)
				}
			}
		}
	})
}

// The reply tells the client whether the disk, the mailbox or something else is at fault (RFC 3463 §3.3, §3.4).
func TestFailuresAndTheirReplies(t *testing.T) {
	for err, want := range map[error]string{
		syscall.ENOSPC:   "452 4.3.1 *",
		syscall.EFBIG:    "452 4.3.1 *",
		syscall.EDQUOT:   "452 4.2.2 *",
		syscall.EROFS:    "451 4.3.0 *",
		fs.ErrPermission: "451 4.3.0 *",
	} {
		h := func(*esmtp.Session) esmtp.Handler { return &failing{err: fmt.Errorf("write: %w", err)} }
		c := esmtptest.Dial(t, &esmtp.Server{NewHandler: h})
		c.Expect("220 *")
		c.Cmd("NOOP", want)
	}
}

// failing answers NOOP as a store answers a failure.
type failing struct {
	esmtp.Default
	err error
}

func (f *failing) NOOP(s *esmtp.Session, _ string) esmtp.Reply { return refuse(s, f.err) }
