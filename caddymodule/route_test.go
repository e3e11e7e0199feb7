package caddymodule

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// dialFrom connects from an address: all of 127.0.0.0/8 is ours.
func dialFrom(t *testing.T, from, to string) *esmtptest.Client {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	return esmtptest.NewClient(t, conn)
}

// ehlo returns the lines of the reply to EHLO, joined.
func ehlo(t *testing.T, c *esmtptest.Client) string {
	t.Helper()
	c.Send("EHLO client.example")
	lines, err := c.ReadReply()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n") + "\n"
}

func TestTheFirstRouteThatMatchesIsTaken(t *testing.T) {
	addr := freeAddress(t)
	load(t, addr+` {
		hostname mx.example.org
		max_size 1000
		limits {
			recipients 7
		}
		@one remote_ip 127.0.0.1
		@two remote_ip 127.0.0.2/32
		@loopback remote_ip 127.0.0.0/30
		test_layered common
		handle @two {
			hostname two.example.org
			max_size 2000
			strict
			test_layered two
		}
		handle @one {
			limits {
				recipients 1
			}
			test_layered one
			test_layered one-again
		}
		handle @loopback {
			test_layered loopback
		}
	}`)
	for from, want := range map[string]struct{ hostname, size, rcptmax, noop, rcpt string }{
		"127.0.0.1": {"mx", "1000", "1", "one-again|one|common", "250 *"},
		"127.0.0.2": {"two", "2000", "7", "two|common", "501 *"},
		"127.0.0.3": {"mx", "1000", "7", "loopback|common", "250 *"},
		"127.0.0.4": {"mx", "1000", "7", "common", "250 *"}, // no route: the server's own settings and handlers
	} {
		c := dialFrom(t, from, addr)
		c.Expect("220 " + want.hostname + ".example.org *")
		if got := ehlo(t, c); !strings.Contains(got, "SIZE "+want.size+"\n") || !strings.Contains(got, "RCPTMAX="+want.rcptmax+"\n") {
			t.Errorf("%s: got %q", from, got)
		}
		c.Send("NOOP")
		lines, err := c.ReadReply()
		if got := strings.Join(lines, "|"); err != nil || strings.NewReplacer("250-2.0.0 ", "", "250 2.0.0 ", "").Replace(got) != "OK|"+want.noop {
			t.Errorf("%s: got %q, %v, want OK|%s", from, got, err, want.noop)
		}
		c.Cmd("MAIL FROM:<a@b.example>", "250 *")
		c.Cmd("RCPT TO: <a@b.example>", want.rcpt) // strict
		c.Cmd("QUIT", "221 *")
	}
}

// Without handlers of the server's own the mail of those whom no route matches would be lost.
func TestWhomNoRouteMatchesIsRefusedIfNobodyWouldKeepHisMail(t *testing.T) {
	addr := freeAddress(t)
	load(t, addr+" {\nhostname mx.example.org\n@one remote_ip 127.0.0.1\nhandle @one {\nlog\n}\n}")
	c := dialFrom(t, "127.0.0.2", addr)
	c.Run("S: 554 No service for you here\nC: EHLO a\nS: 503 *\nC: QUIT\nS: 221 *\nclose")
	dialFrom(t, "127.0.0.1", addr).Run("S: 220 *\nC: QUIT\nS: 221 *\nclose")
	load(t, addr+" {\nhostname mx.example.org\n@one remote_ip 127.0.0.1\nhandle @one {\nlog\n}\nhandle {\nrespond CONNECT 554 5.7.1 \"Ask first\"\n}\n}")
	dialFrom(t, "127.0.0.2", addr).Run("S: 554 Ask first\nC: QUIT\nS: 221 *\nclose")
}

// An open session stays on its route, with the modules of that, whatever a new config says.
func TestSessionsStayOnTheirRouteOverAReload(t *testing.T) {
	addr := freeAddress(t)
	config := addr + " {\nhostname mx.example.org\n@a remote_ip 127.0.0.%d\nhandle @a {\ntest_tracked {\ntext route\n}\n}\nhandle {\ntest_tracked {\ntext rest\n}\n}\n}"
	load(t, fmt.Sprintf(config, 1))
	old := dialFrom(t, "127.0.0.1", addr)
	old.Expect("220 *")
	load(t, fmt.Sprintf(config, 2))
	fresh := dialFrom(t, "127.0.0.1", addr)
	fresh.Expect("220 *")
	fresh.Cmd("NOOP", "250 2.0.0 rest")
	old.Cmd("NOOP", "250 2.0.0 route")
	if n := trackedAlive.Load(); n != 4 {
		t.Errorf("%d modules are alive, want 4", n)
	}
	old.Cmd("QUIT", "221 *")
	old.ExpectClose()
	draining.all.Wait()
	if n := trackedAlive.Load(); n != 2 {
		t.Errorf("%d modules are alive after the last session of the old config, want 2", n)
	}
}

func TestEachRouteHasItsOwnAUTH(t *testing.T) {
	addr := freeAddress(t)
	users := func(name string) string {
		return "auth {\nallow_insecure\nrequired\nusers {\n" + name + " {PLAIN}x\n}\n}\n"
	}
	load(t, addr+" {\nhostname mx.example.org\n"+users("ann")+"@one remote_ip 127.0.0.1\n@two remote_ip 127.0.0.2\ntest_layered\n"+
		"handle @one {\n"+users("bob")+"test_counter\n}\nhandle @two {\nlog\n}\n}")
	const ann, bob = "AUTH PLAIN AGFubgB4", "AUTH PLAIN AGJvYgB4"
	for from, good := range map[string]string{"127.0.0.1": bob, "127.0.0.2": ann, "127.0.0.3": ann} { // the last two have the server's
		c := dialFrom(t, from, addr)
		c.Expect("220 *")
		if got := ehlo(t, c); !strings.Contains(got, "AUTH ") {
			t.Errorf("%s: got %q", from, got)
		}
		c.Cmd("MAIL FROM:<>", "530 5.7.0 *")
		for _, line := range []string{ann, bob} {
			if line != good {
				c.Cmd(line, "535 *")
			}
		}
		c.Cmd(good, "235 *")
	}
}

// What belongs to the addresses holds in every route, and a snippet can be imported into one.
func TestLMTPHasRoutesToo(t *testing.T) {
	path := socket(t)
	config, err := adapt("(policy) {\ntest_layered one\nlimits {\nrecipients 1\n}\n}\n{\n" + private + "esmtp {\nunix/" + path +
		" {\nlmtp\n@local unix\nhandle @local {\nimport policy\n}\n}\n}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t) })
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	dial(t, path).Run("S: 220 *\nC: LHLO a\nS: 250-*\nS: ...\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<a@b>\nS: 250 *\nC: RCPT TO:<b@b>\nS: 452 *\n" +
		"C: DATA\nS: 354 *\nC: .\nS: 250 *\nC: NOOP\nS: 250-*\nS: 250 2.0.0 one\nC: EHLO a\nS: 500 *")
}

func TestTheRouteStandsInTheLog(t *testing.T) {
	path, log := socket(t), filepath.Join(tempDir(t), "log")
	config, err := adapt("{\n" + private + "log mail {\noutput file " + log + " {\nroll_disabled\n}\ninclude esmtp\n}\nesmtp {\nunix/" + path +
		" {\nhostname mx.example.org\n@local unix\nhandle @local {\nlog\n}\n}\n}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t) })
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	dial(t, path).Run("S: 220 *\nC: QUIT\nS: 221 *\nclose")
	stop(t)
	text, err := os.ReadFile(log)
	if want := `"msg":"session ended","server":"srv0","route":"local"`; err != nil || !strings.Contains(string(text), want) {
		t.Errorf("%s is not in the log:\n%s%v", want, text, err)
	}
}

// Each limit counts for itself, auth and lists as a whole.
func TestRoutesInherit(t *testing.T) {
	auth := new(Auth)
	server := Settings{Hostname: "a.example", Limits: Limits{Errors: 5, Junk: 6}, Timeouts: Timeouts{Data: 7}, Rates: Rates{Messages: off},
		XCLIENT: []string{"::1"}, Strict: true, Auth: auth}
	got := Settings{Limits: Limits{Junk: off, Messages: 9}, XCLIENT: []string{"::2"}, Rates: Rates{Messages: 8}, BadHeader: "keep"}
	got.inherit(&server)
	want := Settings{Hostname: "a.example", Limits: Limits{Errors: 5, Junk: off, Messages: 9}, Timeouts: Timeouts{Data: 7}, Rates: Rates{Messages: 8},
		XCLIENT: []string{"::2"}, BadHeader: "keep", Strict: true, Auth: auth}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// explosive is a matcher with a mistake in it.
type explosive struct{}

func (*explosive) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.matchers.test_explosive", New: func() caddy.Module { return new(explosive) }}
}

func (*explosive) Match(*esmtp.Session) bool { panic("boom") }

func init() { caddy.RegisterModule(new(explosive)) }

// A matcher that panics takes one session with it, and no route is taken by mistake.
func TestAMatcherThatPanicsEndsTheSession(t *testing.T) {
	path := socket(t)
	config := `{"admin":{"disabled":true,"config":{"persist":false}},"apps":{"esmtp":{"servers":{"a":{"listen":["unix/` + path +
		`"],"routes":[{"match":[{"test_explosive":{}}],"handlers":[{"handler":"log"}]}]}}}}}`
	t.Cleanup(func() { stop(t) })
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c := dial(t, path)
		c.Expect("421 *")
		c.ExpectClose()
	}
	if _, err := adapt("{\nesmtp {\n:25 {\n@x test_explosive\nlog\n}\n}\n}\n"); err == nil ||
		!strings.Contains(err.Error(), "the matcher test_explosive can be given in JSON only, at Caddyfile:4") {
		t.Errorf("got %v", err)
	}
}
