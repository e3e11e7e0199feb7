package auth_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/xdg-go/scram"
	"go.uber.org/goleak"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/handler/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reverse is a password hash that is easy on tests: the password backwards, behind "$r$".
var reverse = auth.Hash{
	Prefix: "$r$",
	Check: func(hashed []byte) error {
		if len(hashed) == 3 {
			return errors.New("the hash is cut off")
		}
		return nil
	},
	Compare: func(hashed, password []byte) (bool, error) {
		if string(hashed) == "$r$broken" {
			return false, errors.New("the hash is broken")
		}
		b := bytes.Clone(password)
		for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
		return "$r$"+string(b) == string(hashed), nil
	},
}

// log is a log that a test looks into.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// serve starts a server with a layer that offers all in the clear, and logs at debug level.
func serve(t *testing.T, layers ...esmtp.Layer) (*esmtptest.Server, *log) {
	t.Helper()
	l := new(log)
	logger := slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return esmtptest.NewServer(t, &esmtp.Server{Hostname: "mx.example.org", AllowInsecureAuth: true, Logger: logger,
		NewHandler: esmtp.Stack(layers...)}), l
}

// dial connects, and returns what is offered too.
func dial(t *testing.T, srv *esmtptest.Server) (c *esmtptest.Client, mechanisms string) {
	t.Helper()
	c = srv.Dial()
	c.Expect("220 *")
	c.Send("EHLO client.example")
	lines, err := c.ReadReply()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if m, ok := strings.CutPrefix(line, "250-AUTH "); ok {
			mechanisms = m
		}
	}
	return c, mechanisms
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func plain(user, password string) string { return "AUTH PLAIN " + b64("\x00"+user+"\x00"+password) }

// challenge reads a 334.
func challenge(c *esmtptest.Client) string {
	lines, err := c.ReadReply()
	if err != nil || len(lines) != 1 || !strings.HasPrefix(lines[0], "334 ") {
		c.Fatalf("got %q, %v; want a challenge", lines, err)
	}
	text, err := base64.StdEncoding.DecodeString(lines[0][4:])
	if err != nil {
		c.Fatalf("challenge %q: %v", lines[0], err)
	}
	return string(text)
}

func cramMD5(c *esmtptest.Client, user, password, want string) {
	c.Send("AUTH CRAM-MD5")
	mac := hmac.New(md5.New, []byte(password))
	mac.Write([]byte(challenge(c)))
	c.Cmd(b64(user+" "+hex.EncodeToString(mac.Sum(nil))), want)
}

func scramLogin(t *testing.T, c *esmtptest.Client, mechanism, user, password, want string) {
	t.Helper()
	hash := map[string]scram.HashGeneratorFcn{"SCRAM-SHA-1": scram.SHA1, "SCRAM-SHA-256": scram.SHA256}[mechanism]
	client, err := hash.NewClient(user, password, "")
	if err != nil {
		t.Fatal(err)
	}
	conv := client.NewConversation()
	first, _ := conv.Step("")
	c.Send("AUTH " + mechanism + " " + b64(first))
	final, err := conv.Step(challenge(c))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(want, "235") {
		c.Cmd(b64(final), want)
		return
	}
	c.Send(b64(final))
	if _, err := conv.Step(challenge(c)); err != nil || !conv.Valid() {
		t.Fatalf("the server's signature is wrong: %v", err)
	}
	c.Cmd("", want)
}
