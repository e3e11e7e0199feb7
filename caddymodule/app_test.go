package caddymodule

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// tracked is a handler that tells whether its module is still there.
type tracked struct {
	esmtp.Handler
	Text string `json:"text"`

	alive *atomic.Bool
}

// trackedAlive counts the modules that were provisioned and not yet cleaned up.
var trackedAlive atomic.Int32

func (m *tracked) Provision(caddy.Context) error {
	m.alive = new(atomic.Bool)
	m.alive.Store(true)
	trackedAlive.Add(1)
	return nil
}

func (m *tracked) Cleanup() error {
	m.alive.Store(false)
	trackedAlive.Add(-1)
	return nil
}

func (m *tracked) NOOP(*esmtp.Session, string) esmtp.Reply {
	if !m.alive.Load() {
		return esmtp.Say(451, "my module is gone")
	}
	return esmtp.OK(m.Text)
}

func init() {
	Register[tracked]("test_tracked")
}

func server(socket, text string) string {
	return "unix/" + socket + " {\nhostname mx.example.org\ntest_tracked {\ntext " + text + "\n}\n}\n"
}

func TestMailComesThroughCaddyIntoAMaildir(t *testing.T) {
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	path, mail := socket(t), filepath.Join(tempDir(t), "mail")
	text := strings.NewReplacer("127.0.0.1:2525", "unix/"+path, "./mail", mail).Replace(string(example))
	config, err := adapt(text)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t) })
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	dial(t, path).Run(`
		S: 220 mx.example.org *
		C: EHLO client.example
		S: ...
		C: MAIL FROM:<ann@client.example>
		S: 250 *
		C: RCPT TO:<bob@elsewhere.example>
		S: 550 5.7.1 *
		C: RCPT TO:<User@example.org>
		S: 250 *
		C: DATA
		S: 354 *
		C: Subject: hello
		C:
		C: ..a dot
		C: .
		S: 250 *
		C: QUIT
		S: 221 *
		close
	`)
	files, err := filepath.Glob(mail + "/example.org/user/new/*")
	if err != nil || len(files) != 1 {
		t.Fatalf("got %q, %v, want one file", files, err)
	}
	got, err := os.ReadFile(files[0])
	if err != nil || !strings.HasPrefix(string(got), "Return-Path: <ann@client.example>\r\nDelivered-To: User@example.org\r\nReceived: ") ||
		!strings.HasSuffix(string(got), "\r\nSubject: hello\r\n\r\n.a dot\r\n") {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestManyServersAndAddresses(t *testing.T) {
	a, b, c := socket(t), socket(t), socket(t)
	load(t, "unix/"+a+"|0660 unix/"+b+" {\nhostname one.example\nlog\n}\nunix/"+c+" {\nhostname two.example\nlog\n}\n")
	for path, name := range map[string]string{a: "one", b: "one", c: "two"} {
		dial(t, path).Expect("220 " + name + ".example *")
	}
	if info, err := os.Stat(a); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("got %v, %v, want permissions 0660", info, err)
	}
}

func TestServesTCP(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		l, err := net.Listen("tcp", host+":0") // as good as any: a port that is free
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		l.Close()
		load(t, addr+" {\nhostname mx.example.org\nlog\n}")
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c := esmtptest.NewClient(t, conn)
		c.Expect("220 mx.example.org *")
		c.Cmd("QUIT", "221 *")
	}
}

func TestLimitsArriveAtTheEngine(t *testing.T) {
	path := socket(t)
	load(t, "unix/"+path+` {
		hostname mx.example.org
		max_size 1KiB
		limits {
			recipients 1
			errors 2
		}
		strict
		allow_no_helo
		log
	}`)
	c := dial(t, path)
	c.Expect("220 *")
	c.Cmd("MAIL FROM: <a@b.example>", "501 *") // strict
	c.Cmd("MAIL FROM:<a@b.example>", "250 *")  // no HELO
	c.Cmd("RCPT TO:<a@b.example>", "250 *")
	c.Cmd("RCPT TO:<b@b.example>", "452 4.5.3 *")
	c.Cmd("XYZZY", "500 *")
	c.Cmd("XYZZY", "421 *")
	c.ExpectClose()
	c = dial(t, path)
	c.Expect("220 *")
	c.Send("EHLO client.example")
	lines, err := c.ReadReply()
	if text := strings.Join(lines, "\n"); err != nil || !strings.Contains(text, "SIZE 1024\n") || !strings.Contains(text, "RCPTMAX=1\n") {
		t.Errorf("got %q, %v", lines, err)
	}
}

// An open session goes on with the config that it began with, and with that config's modules.
func TestSessionsSurviveAReload(t *testing.T) {
	path := socket(t)
	load(t, server(path, "old"))
	old := dial(t, path)
	old.Expect("220 *")
	load(t, server(path, "new"))
	fresh := dial(t, path)
	fresh.Expect("220 *")
	fresh.Cmd("NOOP", "250 2.0.0 new")
	old.Cmd("NOOP", "250 2.0.0 old")
	if n := trackedAlive.Load(); n != 2 {
		t.Errorf("%d modules are alive, want 2", n)
	}
	old.Cmd("QUIT", "221 *")
	old.ExpectClose()
	draining.all.Wait()
	if n := trackedAlive.Load(); n != 1 {
		t.Errorf("%d modules are alive after the last session of the old config, want 1", n)
	}
	fresh.Cmd("NOOP", "250 2.0.0 new")
	fresh.Cmd("QUIT", "221 *")
	stop(t)
	if n := trackedAlive.Load(); n != 0 {
		t.Errorf("%d modules are alive after the end, want 0", n)
	}
}

// After the grace period an idle session of an old config gets 421; one within a message may finish that first.
func TestSessionsOfAnOldConfigEndAfterTheGracePeriod(t *testing.T) {
	path := socket(t)
	load(t, "grace_period 1ms\n"+server(path, "old"))
	idle, busy := dial(t, path), dial(t, path)
	idle.Expect("220 *")
	busy.Expect("220 *")
	busy.Cmd("EHLO client.example", "250 *")
	busy.Cmd("MAIL FROM:<>", "250 *")
	busy.Cmd("RCPT TO:<a@b.example>", "250 *")
	busy.Cmd("DATA", "354 *")
	load(t, server(path, "new"))
	idle.Expect("421 4.3.2 *")
	idle.ExpectClose()
	busy.Send("Subject: x", ".")
	busy.Expect("250 *", "421 4.3.2 *")
	busy.ExpectClose()
	draining.all.Wait()
}

// After the drain timeout what is left is cut off.
func TestSessionsOfAnOldConfigAreCutOffAtLast(t *testing.T) {
	path := socket(t)
	load(t, "grace_period 1ms\ndrain_timeout 1ms\n"+server(path, "old"))
	c := dial(t, path)
	c.Expect("220 *")
	c.Cmd("EHLO client.example", "250 *")
	c.Cmd("MAIL FROM:<>", "250 *")
	c.Cmd("RCPT TO:<a@b.example>", "250 *")
	c.Cmd("DATA", "354 *")
	load(t, server(path, "new"))
	draining.all.Wait()
	if line, err := c.ReadLine(); err == nil && !strings.HasPrefix(line, "421 ") {
		t.Errorf("got %q, want the end", line)
	}
}

// When Caddy exits it waits for all generations, for as long as exit_timeout says.
func TestExitEndsTheSessionsOfAllConfigs(t *testing.T) {
	path := socket(t)
	load(t, server(path, "old"))
	c := dial(t, path)
	c.Expect("220 *")
	load(t, server(path, "new"))
	finishAll()
	c.Expect("421 4.3.2 *")
	c.ExpectClose()
}

// A config that can't be started leaves no socket and no module behind, and the one before it goes on.
func TestAFailedStartLeavesTheOldConfigAlone(t *testing.T) {
	path, other := socket(t), socket(t)
	load(t, server(path, "old"))
	blocked := filepath.Join(other, "missing", "s")
	if err := tryLoad(t, server(path, "new")+server(other, "new")+server(blocked, "new")); err == nil {
		t.Fatal("it started")
	}
	for range 5 {
		c := dial(t, path)
		c.Expect("220 *")
		c.Cmd("NOOP", "250 2.0.0 old")
		c.Cmd("QUIT", "221 *")
	}
	if conn, err := net.Dial("unix", other); err == nil {
		conn.Close()
		t.Error("a socket of the config that failed is still open")
	}
	draining.all.Wait()
	if n := trackedAlive.Load(); n != 1 {
		t.Errorf("%d modules are alive, want 1", n)
	}
}

// To look at a config opens nothing.
func TestValidateOpensNothing(t *testing.T) {
	path := socket(t)
	config, err := adapt("{\n" + private + "esmtp {\n" + server(path, "x") + "}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	validate(t, config)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a socket: %v", err)
	}
	if n := trackedAlive.Load(); n != 0 {
		t.Errorf("%d modules are alive, want 0", n)
	}
}
