package senders_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/handler/senders"
)

// anyone lets everybody in, by any password.
type anyone struct{ esmtp.Handler }

func (anyone) Mechanisms(*esmtp.Session) []string { return []string{"PLAIN"} }
func (anyone) Authenticate(*esmtp.Session, esmtp.Credentials) esmtp.Reply {
	return esmtp.Say(235, "in")
}

func newAnyone(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler { return anyone{next} }

func TestUsersSendOnlyAsThemselves(t *testing.T) {
	rules := senders.New()
	for _, r := range []string{"* {user}@example.org", "* {user}", "ann *@sales.example.org", "ann office@example.org", "bob *.bob.example"} {
		user, pattern, _ := strings.Cut(r, " ")
		if err := rules.Add(user, pattern); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		user, from string
		ok         bool
	}{
		{"ann", "ann@example.org", true},
		{"ann", "Ann@EXAMPLE.org", true},
		{"ann", "office@example.org", true},
		{"ann", "x@sales.example.org", true},
		{"ann", "", true},
		{"ann", "bob@example.org", false},
		{"ann", "ann@example.net", false},
		{"ann", "ann@sub.example.org", false},
		{"bob", "x@mail.bob.example", true},
		{"bob", "x@bob.example", false},
		{"bob", "office@example.org", false},
		{"bob", "x@sales.example.org", false},
		{"eve@evil.example", "eve@evil.example", true},
		{"eve@evil.example", "ann@evil.example", false},
		{"evil.example", "ann@evil.example", false}, // a name without @ is no domain
		{"*", "ann@example.org", false},
		{"*@example.org", "ann@example.org", false},
		{"<>", "ann@example.org", false},
		{"", "ann@example.org", true}, // not logged in
	} {
		c := esmtptest.Dial(t, &esmtp.Server{AllowInsecureAuth: true, NewHandler: esmtp.Stack(newAnyone, rules.NewLayer)})
		c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...")
		if test.user != "" {
			c.Cmd("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+test.user+"\x00x")), "235 *")
		}
		want := "553 5.7.1 *"
		if test.ok {
			want = "250 *"
		}
		c.Cmd("MAIL FROM:<"+test.from+">", want)
	}
}

func TestWrongPatternsAreErrors(t *testing.T) {
	rules := senders.New()
	for _, r := range [][2]string{{"", "a@b"}, {"ann", ""}, {"ann", "@b"}, {"ann", "x{user}@b"}, {"*", "{user}{user}"}, {"*", "{user}example.org"},
		{"*", "{user}@*.example.org"}, {"*", "{user}@"}} {
		if err := rules.Add(r[0], r[1]); err == nil || !strings.HasPrefix(err.Error(), "senders: ") {
			t.Errorf("%q: got %v", r, err)
		}
	}
}
