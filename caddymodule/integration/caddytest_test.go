// Package integration runs the app esmtp in a Caddy of its own, by Caddy's own test tool: what an operator's config goes through, with the
// admin API. The tool never ends its Caddy, which ends with the test's process; what a Caddy leaves behind is tested in the package above.
package integration

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddytest"

	_ "github.com/caddy-esmtp/esmtp/caddymodule"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "esmtp")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME"} {
		os.Setenv(name, dir)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	caddytest.Default.AdminPort = l.Addr().(*net.TCPAddr).Port
	l.Close()
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// config is a Caddyfile with a block esmtp.
func config(block string) string {
	return fmt.Sprintf("{\n\tadmin localhost:%d\n\tskip_install_trust\n\tpersist_config off\n\tesmtp {\n%s\n\t}\n}\n", caddytest.Default.AdminPort, block)
}

func server(socket, text string) string {
	return config("unix/" + socket + " {\nhostname mx.example.org\nrespond NOOP 250 2.0.0 " + text + "\n}")
}

func dial(t *testing.T, socket string) *esmtptest.Client {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	return esmtptest.NewClient(t, conn)
}

// socket returns a path that is short enough for one.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "esmtp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// Every adapt file of the package above comes to the same with Caddy's own tool.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("../testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) < 10 {
		t.Fatalf("got %q, %v", files, err)
	}
	for name, value := range map[string]string{"PORT": "2525", "DOMAIN": "example.net", "MAIL": "/var/mail", "NETWORK": "172.16.0.0/12"} {
		t.Setenv("ESMTP_TEST_"+name, value)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		caddyfile, want, _ := strings.Cut(string(text), "----------\n")
		if !caddytest.CompareAdapt(t, file, caddyfile, "caddyfile", strings.TrimSuffix(want, "\n")) {
			t.Errorf("%s comes to something else", file)
		}
	}
}

// A reload through the admin API: new sessions get the new config, an open one keeps its own, and nobody is turned away.
func TestLoadAndReload(t *testing.T) {
	path := socket(t)
	tester := caddytest.NewTester(t)
	tester.InitServer(server(path, "one"), "caddyfile")
	old := dial(t, path)
	old.Run("S: 220 mx.example.org *\nC: NOOP\nS: 250 2.0.0 one")
	tester.InitServer(server(path, "two"), "caddyfile")
	dial(t, path).Run("S: 220 *\nC: NOOP\nS: 250 2.0.0 two\nC: QUIT\nS: 221 *\nclose\nleave")
	old.Run("C: NOOP\nS: 250 2.0.0 one\nC: QUIT\nS: 221 *\nclose\nleave")
	resp, body := tester.AssertGetResponse(fmt.Sprintf("http://localhost:%d/config/apps/esmtp/servers/srv0/hostname", caddytest.Default.AdminPort), 200, "\"mx.example.org\"\n")
	if resp == nil {
		t.Error(body)
	}
}

// What is wrong in a config is said, with file and line where the Caddyfile has it, and the config before it goes on.
func TestLoadErrors(t *testing.T) {
	path := socket(t)
	caddytest.NewTester(t).InitServer(server(path, "good"), "caddyfile")
	for block, want := range map[string]string{
		":25 {\nmaldir /x\n}":                          `unrecognized directive \"maldir\"; did you mean maildir?`,
		":25 {\nhostname a_b..c\n}":                    "is neither a domain name nor an address literal",
		"queue {\nnext_hop http://x\n}":                "the scheme is none of smtp",
		":25 {\nqueue {\nqueue nowhere\n}\n}":          `there is no queue \"nowhere\"`,
		":25 {\nhandle @x {\nrespond NOOP 250 x\n}\n}": "@x is not defined",
	} {
		caddytest.AssertLoadError(t, config(block), "caddyfile", want)
	}
	caddytest.AssertLoadError(t, `{"admin": {"listen": "localhost:`+fmt.Sprint(caddytest.Default.AdminPort)+`"}, "apps": {"esmtp": {"servers": {"a": {"lisen": [":0"]}}}}}`, "json",
		`unknown field \"lisen\"`)
	dial(t, path).Run("S: 220 *\nC: NOOP\nS: 250 2.0.0 good\nC: QUIT\nS: 221 *\nclose\nleave")
}
