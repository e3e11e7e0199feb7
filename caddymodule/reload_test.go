package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
)

// counted is a handler that counts the messages that it accepts, in all configs.
type counted struct{ esmtp.Handler }

var countedMessages atomic.Int64

func (*counted) EOM(*esmtp.Session) esmtp.Reply {
	countedMessages.Add(1)
	return esmtp.OK("kept")
}

func init() { Register[counted]("test_counted") }

// failing is an app that doesn't start.
type failing struct{}

var beforeFailing = func() {}

func (*failing) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "test_failing", New: func() caddy.Module { return new(failing) }}
}

func (*failing) Start() error {
	beforeFailing()
	return errors.New("as it should")
}

func (*failing) Stop() error { return nil }

func init() { caddy.RegisterModule(new(failing)) }

// Connections are neither refused nor reset, and no message is counted that wasn't answered.
func TestNoConnectionIsLostByAReload(t *testing.T) {
	path, addr, proxied := socket(t), freeAddress(t), freeAddress(t)
	for _, test := range []struct {
		name            string
		reloads         int
		traffic         *traffic
		listen, setting string
	}{
		{"TCP", 50, &traffic{network: "tcp", address: addr}, addr, ""},
		{"Unix", 20, &traffic{network: "unix", address: path}, "unix/" + path, ""},
		{"PROXY", 20, &traffic{network: "tcp", address: proxied, first: "PROXY TCP4 203.0.113.7 192.0.2.25 4711 25\r\n"}, proxied,
			"listener_wrappers {\nproxy_protocol {\nallow 127.0.0.0/8\n}\n}\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := func(n int) string {
				return fmt.Sprintf("%s {\nhostname mx%d.example.org\n%s\nlimits {\nconnections off\nconnections_per_address off\n}\ntest_counted\n}\n", test.listen, n, test.setting)
			}
			before := countedMessages.Load()
			load(t, config(0))
			tr := test.traffic
			tr.start(8)
			for n := range test.reloads {
				if err := tryLoad(t, config(n+1)); err != nil {
					t.Error(err)
				}
				tr.goOn(t)
			}
			tr.end(t)
			if got := countedMessages.Load() - before; got != tr.messages.Load() {
				t.Errorf("%d messages were kept, and %d accepted", got, tr.messages.Load())
			}
			stop(t)
			if n := openSockets(); n != 0 {
				t.Errorf("%d sockets are open", n)
			}
		})
	}
}

// openSockets returns how many sockets there are.
func openSockets() (n int) {
	sockets.Range(func(any, any) bool {
		n++
		return true
	})
	return n
}

// A config of which another app doesn't start leaves nothing behind, and answers nobody, as often as it is tried.
func TestARejectedConfigAnswersNobody(t *testing.T) {
	addr, other := freeAddress(t), freeAddress(t)
	load(t, addr+" {\nhostname good.example\nlog\n}\n")
	rejected := withApp(t, "test_failing", "esmtp {\n"+addr+" "+other+" {\nhostname rejected.example\nlog\n}\n}\n")
	try := func() {
		if err := caddy.Load(rejected, true); err == nil || !strings.Contains(err.Error(), "as it should") {
			t.Errorf("got %v", err)
		}
	}
	try() // whatever is made once is made
	files, routines := openFiles(t), runtime.NumGoroutine()
	tr := &traffic{network: "tcp", address: addr, hostname: "good.example "}
	tr.start(4)
	beforeFailing = func() { tr.goOn(t) }
	defer func() { beforeFailing = func() {} }()
	for range 20 { // the app is the first one to start, or the last
		try()
	}
	tr.end(t)
	if conn, err := net.Dial("tcp", other); err == nil {
		conn.Close()
		t.Error("its socket is open")
	}
	draining.all.Wait()
	eventually(t, func() string {
		if f, r := openFiles(t), runtime.NumGoroutine(); f > files || r > routines {
			return fmt.Sprintf("%d files are open and %d goroutines run, before there were %d and %d", f, r, files, routines)
		}
		return ""
	})
}

// withApp is a config of global options, and with one more app.
func withApp(t *testing.T, name, options string) []byte {
	t.Helper()
	config, err := adapt("{\n" + private + options + "}\n")
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(config, &v); err != nil {
		t.Fatal(err)
	}
	v["apps"].(map[string]any)[name] = struct{}{}
	config, err = json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// An address that the new config doesn't have is closed at once, though sessions of the old one go on; a new one is opened.
func TestAddressesComeAndGoWithAReload(t *testing.T) {
	stays, goes, comes := freeAddress(t), freeAddress(t), freeAddress(t)
	block := " {\nhostname mx.example.org\nlog\n}\n"
	load(t, stays+" "+goes+block)
	c := dialTCP(t, goes, "")
	c.Expect("220 *")
	load(t, stays+" "+comes+block)
	for _, addr := range []string{stays, comes} {
		dialTCP(t, addr, "").Run("S: 220 *\nC: QUIT\nS: 221 *")
	}
	if conn, err := net.Dial("tcp", goes); err == nil {
		conn.Close()
		t.Error("the address that is gone is still open")
	}
	c.Cmd("NOOP", "250 *")
	c.Cmd("QUIT", "221 *")
}

// The port that the kernel has chosen stays, though two servers ask for one in the same words.
func TestAPortOfTheKernelsStaysOverAReload(t *testing.T) {
	config := "127.0.0.1:0 127.0.0.1:0 {\nhostname one.example\nlog\n}\n127.0.0.1:0 {\nhostname two.example\nlog\n}\n"
	load(t, config)
	before := ports()
	if len(before) != 3 {
		t.Fatalf("got %v, want three ports", before)
	}
	load(t, config)
	for key, addr := range ports() {
		if before[key] != addr {
			t.Errorf("%v: got %s, want %s", key, addr, before[key])
		}
		want := map[string]string{"srv0": "220 one.example *", "srv1": "220 two.example *"}[key.server]
		c := dialTCP(t, addr, "")
		c.Expect(want)
		c.Cmd("QUIT", "221 *")
	}
}

// ports returns the addresses of all sockets.
func ports() map[socketKey]string {
	m := make(map[socketKey]string)
	sockets.Range(func(key, s any) bool {
		m[key.(socketKey)] = s.(*sharedSocket).l.Addr().String()
		return true
	})
	return m
}

// A Unix socket has the permissions of the config that serves, and its file is gone when nobody does.
func TestAUnixSocketOverAReload(t *testing.T) {
	path := socket(t)
	check := func(want fs.FileMode) {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("got %v, %v, want permissions %o", info, err, want)
		}
		dial(t, path).Run("S: 220 *\nC: QUIT\nS: 221 *")
	}
	block := " {\nhostname mx.example.org\nlog\n}\n"
	load(t, "unix/"+path+"|0660"+block)
	check(0o660)
	load(t, "unix/"+path+"|0600"+block)
	check(0o600)
	if err := caddy.Load(withApp(t, "test_failing", "esmtp {\nunix/"+path+"|0666"+block+"}\n"), true); err == nil {
		t.Error("it started")
	}
	check(0o600)
	load(t, "unix/"+path+"2"+block)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

// A session keeps its config over many of them, and all of these end at the exit.
func TestExitEndsTheSessionsOfManyConfigs(t *testing.T) {
	path := socket(t)
	var clients []interface {
		Expect(...string)
		ExpectClose()
	}
	for n := range 5 {
		load(t, server(path, fmt.Sprint(n)))
		c := dial(t, path)
		c.Expect("220 *")
		c.Cmd("NOOP", fmt.Sprintf("250 2.0.0 %d", n))
		clients = append(clients, c)
	}
	load(t, "unix/"+filepath.Join(tempDir(t), "s")+" {\nhostname mx.example.org\nlog\n}\n")
	finishAll()
	for _, c := range clients {
		c.Expect("421 4.3.2 *")
		c.ExpectClose()
	}
}
