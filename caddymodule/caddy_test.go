package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/certmagic"
	"go.uber.org/goleak"

	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// All tests that run Caddy are in this package, and none is parallel: there is one Caddy in a process.

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "esmtp")
	if err != nil {
		panic(err)
	}
	caddy.DefaultStorage = &certmagic.FileStorage{Path: dir} // a config that is only provisioned makes an authority too
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"), // sleeps for seconds before it ends
		goleak.Cleanup(func(code int) {
			os.RemoveAll(dir)
			os.Exit(code)
		}))
}

// adapt turns a Caddyfile into JSON. Global options that keep Caddy to itself are added.
func adapt(caddyfile string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// private are the options of a Caddy that leaves the machine alone.
const private = "admin off\npersist_config off\n"

// load runs Caddy with a block esmtp, until the test is over.
func load(t *testing.T, block string) {
	t.Helper()
	if err := tryLoad(t, block); err != nil {
		t.Fatal(err)
	}
}

func tryLoad(t *testing.T, block string) error {
	t.Helper()
	config, err := adapt("{\n" + private + "esmtp {\n" + block + "\n}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t) })
	return caddy.Load(config, true)
}

// stop stops Caddy, and waits for the last session.
func stop(t *testing.T) {
	t.Helper()
	if err := caddy.Stop(); err != nil {
		t.Error(err)
	}
	draining.all.Wait()
}

// tempDir makes a folder whose name is short: that of a socket can't be long.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "esmtp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// socket returns the path of a socket to listen on.
func socket(t *testing.T) string { return filepath.Join(tempDir(t), "s") }

func dial(t *testing.T, socket string) *esmtptest.Client {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	return esmtptest.NewClient(t, conn)
}

// indent makes JSON readable.
func indent(t *testing.T, config []byte) string {
	t.Helper()
	var text bytes.Buffer
	if err := json.Indent(&text, config, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return text.String() + "\n"
}

var update = flag.Bool("update", false, "write what Caddyfiles come to into testdata/adapt")

// TestAdapt compares what the Caddyfiles in testdata/adapt come to with the JSON that stands in the same file, behind a line of dashes,
// and has Caddy provision it.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %q, %v", files, err)
	}
	t.Setenv("ESMTP_TEST_PORT", "2525")
	t.Setenv("ESMTP_TEST_DOMAIN", "example.net")
	t.Setenv("ESMTP_TEST_MAIL", "/var/mail")
	t.Setenv("ESMTP_TEST_NETWORK", "172.16.0.0/12")
	t.Setenv("KEY", "key")
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			caddyfile, want, _ := strings.Cut(string(text), "----------\n")
			config, err := adapt(caddyfile)
			if err != nil {
				t.Fatal(err)
			}
			got := indent(t, config)
			if *update {
				os.WriteFile(file, []byte(caddyfile+"----------\n"+got), 0o644)
			} else if got != want {
				t.Errorf("got\n%s", got)
			}
			validate(t, config)
		})
	}
}

// validate does what "caddy validate" does: it provisions the config, but doesn't start it.
func validate(t *testing.T, config []byte) {
	t.Helper()
	if err := tryValidate(config); err != nil {
		t.Error(err)
	}
}

func tryValidate(config []byte) error {
	var cfg caddy.Config
	if err := json.Unmarshal(config, &cfg); err != nil {
		return err
	}
	return caddy.Validate(&cfg)
}
