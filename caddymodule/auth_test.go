package caddymodule

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/logging"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// login connects, and sends AUTH PLAIN.
func login(t *testing.T, path, user, password, want string) *esmtptest.Client {
	t.Helper()
	c := dial(t, path)
	c.Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...")
	c.Cmd("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)), want)
	return c
}

// line makes the line of a user, as "caddy esmtp user" does.
func line(t *testing.T, name, password, kind string, caddyfile bool) string {
	t.Helper()
	text, err := userLine(name, password, kind, caddyfile)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestUsersInTheCaddyfileLogIn(t *testing.T) {
	path := socket(t)
	var users string
	for _, kind := range secretKinds() {
		if kind != "bcrypt" { // a login would take a second
			users += line(t, kind, "secret of "+kind, kind, true) + "\n"
		}
	}
	t.Setenv("ESMTP_TEST_SECRET", "{PLAIN}secret of env")
	load(t, "unix/"+path+" {\nauth {\nallow_insecure\nrequired\nusers {\n"+users+"env {env.ESMTP_TEST_SECRET}\n}\n}\nlog debug\n}")
	dial(t, path).Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: MAIL FROM:<ann@example.org>\nS: 530 5.7.0 *")
	for _, user := range []string{"env", "argon2id", "scram-sha-1", "scram-sha-256"} {
		login(t, path, user, "secret of "+user, "235 *").Cmd("MAIL FROM:<ann@example.org>", "250 *")
	}
	login(t, path, "argon2id", "secret", "535 *")
}

func TestAFileOfUsersInCaddy(t *testing.T) {
	path, file := socket(t), filepath.Join(tempDir(t), "users")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hashed, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	write("ann:" + string(hashed) + "\n")
	load(t, "unix/"+path+" {\nauth {\nallow_insecure\nfile "+file+"\n}\nlog\n}")
	login(t, path, "ann", "secret", "235 *")
	write(line(t, "bob", "other", "scram-sha-256", false))
	login(t, path, "bob", "other", "235 *")
}

func TestAFileOfUsersThatIsNotThereIsAnError(t *testing.T) {
	file := filepath.Join(tempDir(t), "users")
	if err := tryLoad(t, "unix/"+socket(t)+" {\nauth {\nfile "+file+"\n}\n}"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
}

func TestAnApplicationAndDovecotInCaddy(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		body.ReadFrom(r.Body)
		if r.Header.Get("X-Key") != "7" || !strings.Contains(body.String(), `"password":"secret"`) {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(app.Close)
	a, b := socket(t), socket(t)
	load(t, "unix/"+a+" {\nauth {\nallow_insecure\nhttp "+app.URL+" {\nheader X-Key 7\ntimeout 5s\n}\n}\nlog\n}\n"+
		"unix/"+b+" {\nauth {\nallow_insecure\ndovecot "+tempDir(t)+"/none {\ntimeout 1s\n}\n}\nlog\n}\n")
	login(t, a, "ann", "secret", "235 *")
	login(t, a, "ann", "other", "454 *")
	login(t, b, "ann", "secret", "454 *")
}

// last is a handler that ends the stack; a login must reach the users all the same.
type last struct{ esmtp.Default }

// watcher is a handler that sees logins.
type watcher struct{ esmtp.Handler }

func (w *watcher) Authenticate(s *esmtp.Session, c esmtp.Credentials) esmtp.Reply {
	if c.User == "eve" {
		return esmtp.Deny(535, 5, 7, 8, "not you")
	}
	return w.Handler.Authenticate(s, c)
}

func init() {
	Register[last]("test_last")
	Register[watcher]("test_watcher")
}

func TestHandlersSeeLoginsAndTheEndOfTheStackDoesNotHideUsers(t *testing.T) {
	path := socket(t)
	load(t, "unix/"+path+" {\nauth {\nallow_insecure\nmechanisms plain\nusers {\nann {PLAIN}x\neve {PLAIN}x\n}\n}\ntest_watcher\ntest_last\nlog\n}")
	login(t, path, "ann", "x", "235 *")
	login(t, path, "eve", "x", "535 5.7.8 not you")
}

func TestSendersInCaddy(t *testing.T) {
	path := socket(t)
	load(t, "unix/"+path+" {\nauth {\nallow_insecure\nusers {\nann {PLAIN}x\n}\n}\nsenders {user}@example.org {\nann *@sales.example.org\n}\n}")
	login(t, path, "ann", "x", "235 *").Run("C: MAIL FROM:<bob@example.org>\nS: 553 5.7.1 *\nC: MAIL FROM:<ann@example.org>\nS: 250 *\n" +
		"C: RSET\nS: 250 *\nC: MAIL FROM:<x@sales.example.org>\nS: 250 *")
}

func TestClientCertificatesLogIn(t *testing.T) {
	path, dir := socket(t), tempDir(t)
	cert, _ := esmtptest.Certificate(t, "ann.example")
	if err := os.WriteFile(dir+"/ca.pem", certPEM(cert.Certificate[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	trust := tlsCaddy(t, tlsServer(path, "tls {\nconnection_policy {\nclient_auth {\nmode verify_if_given\ntrust_pool file "+dir+
		"/ca.pem\n}\n}\n}\nauth {\nusers {\nann.example {PLAIN}x\nclient_certificates\n}\n}"), "mx.example.internal")
	trust.Certificates = append(trust.Certificates, cert)
	c, err := upgrade(t, path, trust)
	if err != nil {
		t.Fatal(err)
	}
	c.Cmd("EHLO client.example", "250 HELP")
	c.Cmd("AUTH EXTERNAL =", "235 *")
}

// At debug level, with the handler log, after logins that went right and wrong, by names and passwords in places where they don't belong.
func TestPasswordsNeverReachALog(t *testing.T) {
	dir, path := tempDir(t), socket(t)
	logs := filepath.Join(dir, "log")
	config, err := adapt(fmt.Sprintf("{\n%sdebug\nlog {\noutput file %s {\nroll_disabled\n}\nlevel DEBUG\n}\nesmtp {\nunix/%s {\nlog debug\nauth {\nallow_insecure\n"+
		"users {\nann {PLAIN}letmein\n}\n}\n}\n}\n}\n", private, logs, path))
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString([]byte("\x00ann\x00letmein"))
	login(t, path, "ann", "letmein", "235 *").Cmd("QUIT", "221 *")
	login(t, path, "ann", "letmein2", "535 *").Cmd("QUIT", "221 *")
	c := dial(t, path)
	c.Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: AUTH PLAIN\nS: 334*")
	c.Cmd(b64+"!", "501 *")
	c.Cmd("AUTH PLAIN letmein", "501 *")
	c.Cmd("AUTH NONE "+b64, "504 *")
	c.Cmd("AUTHPLAIN "+b64, "500 *")
	c.Cmd(b64, "500 *")
	c.Cmd("PASS letmein", "500 *")
	c.Cmd("QUIT", "221 *")
	stop(t)
	text, err := os.ReadFile(logs)
	if err != nil || !bytes.Contains(text, []byte("PLAIN")) {
		t.Fatalf("got %s, %v", text, err)
	}
	if bytes.Contains(text, []byte("letmein")) || bytes.Contains(text, []byte(b64)) {
		t.Errorf("a password is in the log:\n%s", text)
	}
}

func TestUserLines(t *testing.T) {
	for _, test := range []struct{ name, password, kind, want string }{
		{"a:b", "x", "bcrypt", "can't be the name of a user"},
		{"ann", "x", "md5", `unrecognized hash "md5"; there are argon2id, bcrypt, scram-sha-1, scram-sha-256`},
		{"ann", "x", "scram-sha256", "did you mean scram-sha-256?"},
		{"ann", strings.Repeat("x", 73), "bcrypt", "72 octets at most"},
	} {
		if _, err := userLine(test.name, test.password, test.kind, false); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got %v", test, err)
		}
	}
	if text := line(t, "ann", "x", "bcrypt", false); !strings.HasPrefix(text, "ann:$2a$14$") {
		t.Errorf("got %s", text)
	}
}

func TestTheCommandReadsThePasswordFromItsInput(t *testing.T) {
	for in, want := range map[string]string{"secret\r\nmore\n": "ann {SCRAM-SHA-256}4096,", "secret": "ann {SCRAM-SHA-256}4096,", "": "", "\n": ""} {
		cmd := userCommand()
		var out bytes.Buffer
		cmd.SetIn(strings.NewReader(in))
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs([]string{"ann", "--caddyfile"})
		err := cmd.Execute()
		if (err == nil) != (want != "") || !strings.HasPrefix(out.String(), want) {
			t.Errorf("%q: got %q, %v", in, &out, err)
		}
	}
}
