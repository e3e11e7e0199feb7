//go:build unix

package caddymodule

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// exitBlocks is where a process that is only there to exit finds its configs, one a file.
const exitBlocks = "ESMTP_TEST_EXIT"

// lingering is an app that isn't stopped before it is told to.
type lingering struct{}

var released = make(chan struct{})

func (*lingering) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "test_lingering", New: func() caddy.Module { return new(lingering) }}
}

func (*lingering) Start() error { return nil }

func (*lingering) Stop() error {
	<-released
	return nil
}

func init() { caddy.RegisterModule(new(lingering)) }

// TestMainExit is not a test: it is the Caddy of the tests below. It loads a config for each line that it is sent, and the line release
// releases the app that lingers.
func TestMainExit(t *testing.T) {
	dir := os.Getenv(exitBlocks)
	if dir == "" {
		t.Skip("only for a process of its own")
	}
	caddy.TrapSignals()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if lines.Text() == "release" {
			close(released)
			continue
		}
		config, err := os.ReadFile(filepath.Join(dir, lines.Text()))
		if err == nil {
			err = caddy.Load(config, true)
		}
		fmt.Println("loaded", err)
	}
	time.Sleep(time.Minute) // a signal ends it
}

// child is a process that runs Caddy.
type child struct {
	t   *testing.T
	dir string
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

func startChild(t *testing.T) *child {
	t.Helper()
	dir := tempDir(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestMainExit$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), exitBlocks+"="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &child{t, dir, cmd, in, bufio.NewScanner(out)}
}

// load has the process load a config of global options.
func (c *child) load(options string) {
	c.t.Helper()
	config, err := adapt("{\n" + private + options + "\n}\n")
	if err != nil {
		c.t.Fatal(err)
	}
	c.loadJSON(config)
}

func (c *child) loadJSON(config []byte) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, "config"), config, 0o600); err != nil {
		c.t.Fatal(err)
	}
	fmt.Fprintln(c.in, "config")
	for c.out.Scan() {
		if result, ok := strings.CutPrefix(c.out.Text(), "loaded "); ok {
			if result != "<nil>" {
				c.t.Fatal(result)
			}
			return
		}
	}
	c.t.Fatal("the process is gone")
}

// terminate sends SIGTERM.
func (c *child) terminate() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
}

// gone waits until the process has exited, and checks that it did so in order.
func (c *child) gone() {
	c.t.Helper()
	for c.out.Scan() {
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Error(err)
	}
}

// inMessage is a session within DATA.
func inMessage(t *testing.T, path string) *esmtptest.Client {
	t.Helper()
	c := dial(t, path)
	c.Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<a@b.example>\nS: 250 *\nC: DATA\nS: 354 *")
	c.Send("Subject: x")
	return c
}

// Idle sessions of the last config and of those before it get 421 at once, messages that are coming may come.
func TestExitEndsIdleSessionsAndLetsMessagesCome(t *testing.T) {
	for name, empty := range map[string]bool{"of a config with servers": false, "of one without": true} {
		t.Run(name, func(t *testing.T) {
			path := socket(t)
			process := startChild(t)
			block := "esmtp {\nexit_timeout 20s\nunix/" + path + " {\nhostname mx.example.org\ntest_counted\n}\n}\n"
			process.load(block)
			old, oldMessage := dial(t, path), inMessage(t, path)
			old.Expect("220 *")
			process.load(block)
			idle, message := dial(t, path), inMessage(t, path)
			idle.Expect("220 *")
			if empty {
				process.load("")
			}
			process.terminate()
			for _, c := range []*esmtptest.Client{idle, old} {
				c.Expect("421 4.3.2 *")
				c.ExpectClose()
			}
			for _, c := range []*esmtptest.Client{message, oldMessage} {
				c.Send("", "hello", ".")
				c.Expect("250 *", "421 4.3.2 *")
				c.ExpectClose()
			}
			process.gone()
		})
	}
}

// A message that doesn't come to its end is cut off in time: systemd waits for five seconds.
func TestExitIsBounded(t *testing.T) {
	path := socket(t)
	process := startChild(t)
	process.load("esmtp {\nexit_timeout 500ms\nunix/" + path + " {\nhostname mx.example.org\ntest_counted\n}\n}\n")
	message := inMessage(t, path)
	began := time.Now()
	process.terminate()
	process.gone()
	if d := time.Since(began); d < 500*time.Millisecond || d > 4*time.Second {
		t.Errorf("it took %s", d)
	}
	message.Conn.Close()
}

// Caddy stops its apps one after the other, and one with connections that don't end could be the first.
func TestExitDoesNotWaitForOtherApps(t *testing.T) {
	path := socket(t)
	process := startChild(t)
	process.loadJSON(withApp(t, "test_lingering", "esmtp {\nunix/"+path+" {\nhostname mx.example.org\ntest_counted\n}\n}\n"))
	idle := dial(t, path)
	idle.Expect("220 *")
	process.terminate()
	idle.Expect("421 4.3.2 *")
	idle.ExpectClose()
	fmt.Fprintln(process.in, "release")
	process.gone()
}
