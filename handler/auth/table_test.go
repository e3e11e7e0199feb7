package auth_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/handler/auth"
)

const all = "SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN"

// keys makes SCRAM keys of "secret".
func keys(t *testing.T, mechanism string) string {
	t.Helper()
	secret, err := auth.SCRAM(mechanism, "secret", 5000)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func table(t *testing.T, users ...string) *auth.Table {
	t.Helper()
	tab := auth.NewTable(reverse)
	for _, user := range users {
		name, secret, _ := strings.Cut(user, " ")
		if err := tab.Add(name, secret); err != nil {
			t.Fatal(err)
		}
	}
	return tab
}

// dovecotKeys are those of "pencil" in RFC 7677 §3, as Dovecot writes them.
const dovecotKeys = "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

// The mechanisms that are offered are those that all users can log in by, and by each of them they can.
func TestWhoCanLogInAndHow(t *testing.T) {
	for _, test := range []struct {
		users  []string
		offers string
	}{
		{[]string{"ann {PLAIN}secret", "bob {PLAIN}x"}, all},
		{[]string{"ann {PLAIN}secret", "bob " + keys(t, "SCRAM-SHA-256")}, "SCRAM-SHA-256 PLAIN LOGIN"},
		{[]string{"ann " + keys(t, "SCRAM-SHA-256")}, "SCRAM-SHA-256 PLAIN LOGIN"},
		{[]string{"ann " + keys(t, "SCRAM-SHA-1")}, "SCRAM-SHA-1 PLAIN LOGIN"},
		{[]string{"ann $r$terces", "bob {PLAIN}x"}, "PLAIN LOGIN"},
	} {
		synctest.Test(t, func(t *testing.T) {
			srv, log := serve(t, table(t, test.users...).NewLayer)
			_, offers := dial(t, srv)
			if offers != test.offers {
				t.Errorf("%q: offered are %s, want %s", test.users, offers, test.offers)
			}
			for mechanism := range strings.FieldsSeq(offers) {
				for _, who := range []struct{ user, password, want string }{
					{"ann", "secret", "235 2.7.0 *"}, {"ann", "terces", "535 5.7.8 *"}, {"eve", "secret", "535 5.7.8 *"},
				} {
					c, _ := dial(t, srv)
					login(t, c, mechanism, who.user, who.password, who.want)
				}
			}
			if text := log.String(); strings.Contains(text, "secret") || strings.Contains(text, "terces") || strings.Contains(text, b64("\x00ann\x00secret")) {
				t.Errorf("a password is in the log:\n%s", text)
			}
		})
	}
}

func login(t *testing.T, c *esmtptest.Client, mechanism, user, password, want string) {
	t.Helper()
	switch mechanism {
	case "PLAIN":
		c.Cmd(plain(user, password), want)
	case "LOGIN":
		c.Cmd("AUTH LOGIN", "334 *")
		c.Cmd(b64(user), "334 *")
		c.Cmd(b64(password), want)
	case "CRAM-MD5":
		cramMD5(c, user, password, want)
	default:
		scramLogin(t, c, mechanism, user, password, want)
	}
}

func TestNobodyActsAsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, _ := serve(t, table(t, "ann {PLAIN}secret", "bob {PLAIN}x").NewLayer)
		c, _ := dial(t, srv)
		c.Cmd("AUTH PLAIN "+b64("bob\x00ann\x00secret"), "535 5.7.8 *")
		c.Cmd("AUTH PLAIN "+b64("ann\x00ann\x00secret"), "235 2.7.0 *")
	})
}

func TestKeysOfTheRFC(t *testing.T) {
	srv, _ := serve(t, table(t, "user "+dovecotKeys).NewLayer)
	c, _ := dial(t, srv)
	scramLogin(t, c, "SCRAM-SHA-256", "user", "pencil", "235 *")
	c, _ = dial(t, srv)
	c.Cmd(plain("user", "pencil"), "235 *")
}

// An attacker can't tell from a challenge whether there is such a user.
func TestUsersWhoDoNotExistLookLikeOthers(t *testing.T) {
	srv, _ := serve(t, table(t, "ann "+keys(t, "SCRAM-SHA-256")).NewLayer)
	ask := func(user string) string {
		c, _ := dial(t, srv)
		c.Send("AUTH SCRAM-SHA-256 " + b64("n,,n="+user+",r=abc"))
		_, rest, _ := strings.Cut(challenge(c), ",s=")
		c.Cmd("*", "501 *")
		return rest
	}
	ann, eve := ask("ann"), ask("eve")
	if len(ann) != len(eve) || !strings.HasSuffix(ann, ",i=5000") || !strings.HasSuffix(eve, ",i=5000") || eve != ask("eve") || eve == ask("eva") {
		t.Errorf("got %q for ann and %q for eve, who does not exist", ann, eve)
	}
}

func TestRestrict(t *testing.T) {
	srv, _ := serve(t, auth.Restrict("scram-sha-256", "PLAIN", "XOAUTH2"), table(t, "ann {PLAIN}secret").NewLayer)
	c, offers := dial(t, srv)
	if offers != "SCRAM-SHA-256 PLAIN" {
		t.Errorf("offered are %s", offers)
	}
	c.Cmd("AUTH LOGIN", "504 5.5.4 *")
}

func TestAnEmptyTableLetsNobodyIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, _ := serve(t, table(t).NewLayer)
		c, offers := dial(t, srv)
		if offers != "PLAIN" {
			t.Errorf("offered are %s", offers)
		}
		c.Cmd(plain("ann", "secret"), "535 5.7.8 *")
	})
}

func TestAHashThatIsBrokenIsTemporary(t *testing.T) {
	srv, _ := serve(t, table(t, "ann $r$broken").NewLayer)
	c, _ := dial(t, srv)
	c.Cmd(plain("ann", "secret"), "454 4.7.0 *")
}

func TestWrongUsersAreErrorsThatHideTheSecret(t *testing.T) {
	for line, want := range map[string]string{
		" {PLAIN}x":                            `"" can't be the name of a user`,
		"a:b {PLAIN}x":                         `"a:b" can't be the name of a user`,
		"#a {PLAIN}x":                          `"#a" can't be the name of a user`,
		"ann {PLAIN}x":                         `user "ann" is given twice`,
		"bob letmein":                          `user "bob": the secret is of no kind that is known here`,
		"bob {PLAIN}":                          `user "bob": the password is empty`,
		"bob $r$":                              `user "bob": the hash is cut off`,
		"bob {SCRAM-SHA-256}letmein":           "SCRAM-SHA-256: want iterations,salt,stored key,server key",
		"bob {SCRAM-SHA-256}1,letmein,a,b":     "the iterations are to be 4096 to 10000000",
		"bob {SCRAM-SHA-256}4096,letmein,a,b":  "salt and keys are to be in base64",
		"bob {SCRAM-SHA-256}4096,,letmein=,,":  "want iterations",
		"bob {SCRAM-SHA-1}4096,bGV0bWVpbg==,,": "the keys are to have 20 octets",
	} {
		name, secret, _ := strings.Cut(line, " ")
		err := table(t, "ann {PLAIN}secret").Add(name, secret)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "letmein") {
			t.Errorf("%q: got %v, want %s", line, err, want)
		}
	}
	if _, err := auth.SCRAM("SCRAM-SHA-512", "x", 0); err == nil {
		t.Error("SCRAM-SHA-512 is no error")
	}
}

func TestAFileIsReadAgainWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "users")
		write := func(text string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("# users\r\n\r\n ann:$r$terces\r\nbob:{PLAIN}with:colon")
		file, err := auth.OpenFile(path, false, reverse)
		if err != nil {
			t.Fatal(err)
		}
		srv, log := serve(t, file.NewLayer)
		try := func(user, password, want string) {
			t.Helper()
			c, _ := dial(t, srv)
			c.Cmd(plain(user, password), want)
		}
		try("ann", "secret", "235 *")
		try("bob", "with:colon", "235 *")
		write("ann:{PLAIN}other!") // as long as before, for all that the file system may know
		try("ann", "other!", "235 *")
		try("ann", "secret", "535 *")
		write("ann {PLAIN}letmein")
		try("ann", "other!", "235 *")
		if text := log.String(); !strings.Contains(text, path+":1: auth: a line is a name, a colon, and a secret") || strings.Contains(text, "letmein") {
			t.Errorf("got %s", text)
		}
		os.Remove(path)
		try("ann", "other!", "235 *")
		write("ann:{PLAIN}new")
		try("ann", "new", "235 *")
		old := time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)
		os.Chtimes(path, old, old)
		try("ann", "new", "235 *")
	})
}

func TestAFileWithAMistakeCanNotBeOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if _, err := auth.OpenFile(path, false); err == nil {
		t.Error("there is no file, and no error")
	}
	os.WriteFile(path, []byte("ann:{PLAIN}x\n\nbob:x\n"), 0o600)
	if _, err := auth.OpenFile(path, false); err == nil || !strings.HasPrefix(err.Error(), path+":3: auth: ") {
		t.Errorf("got %v", err)
	}
}
