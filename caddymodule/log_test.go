package caddymodule

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/logging" // for the docs
)

// loadLogs runs Caddy with two logs, each in a file: one of all that the app writes, at a level, the other of esmtp.access alone.
func loadLogs(t *testing.T, level, socket, settings string) (all, access func() string) {
	t.Helper()
	dir := tempDir(t)
	config, err := adapt("{\n" + private + "log default {\noutput discard\n}\n" +
		"log all {\noutput file " + filepath.Join(dir, "all") + " {\nroll_disabled\n}\nformat json\nlevel " + level + "\ninclude esmtp\n}\n" +
		"log access {\noutput file " + filepath.Join(dir, "access") + " {\nroll_disabled\n}\nformat json\ninclude esmtp.access\n}\n" +
		"esmtp {\nunix/" + socket + " {\nhostname mx.example.org\n" + settings + "\n}\n}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t) })
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	read := func(name string) func() string {
		return func() string {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Error(err)
			}
			return string(text)
		}
	}
	return read("all"), read("access")
}

var outputFile = regexp.MustCompile(`output file [^\n{]*(\{[^}]*\})?`)

// The Caddyfiles of the page on logs work, but their files are not to be made here.
func TestLogsPage(t *testing.T) {
	text, err := os.ReadFile("../docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := codeBlock.FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 3 {
		t.Fatalf("got %d Caddyfiles", len(blocks))
	}
	for _, block := range blocks {
		if _, err := adapt(block[2]); err != nil {
			t.Errorf("%v\n%s", err, block[2])
			continue
		}
		config, err := adapt(outputFile.ReplaceAllString(block[2], "output discard"))
		if err != nil {
			t.Fatal(err)
		}
		validate(t, config)
	}
}

// The access log has a logger name of its own, so that it can have a file of its own.
func TestAccessLogCanBeHadAlone(t *testing.T) {
	path := socket(t)
	all, access := loadLogs(t, "INFO", path, "")
	dial(t, path).Run(oneMessage + goodbye)
	settle(t)
	got := strings.Split(strings.TrimSpace(access()), "\n")
	if len(got) != 2 || !strings.Contains(got[0], `"message accepted"`) || !strings.Contains(got[1], `"session ended"`) {
		t.Fatalf("got %q", got)
	}
	for _, want := range []string{`"logger":"esmtp.access"`, `"server":"srv0"`, `"from":"a@b"`, `"to":["c@d"]`, `"octets":6`, `"verdict":"accepted"`, `"helo":"client.example"`, `"session":"`} {
		if !strings.Contains(got[0], want) {
			t.Errorf("%s lacks %s", got[0], want)
		}
	}
	if text := all(); !strings.Contains(text, `"logger":"esmtp"`) || !strings.Contains(text, got[0]) || strings.Contains(text, `"command"`) {
		t.Errorf("got\n%s", text)
	}
}

// Level DEBUG of Caddy's log turns the transcript on, and no password is in it: neither what a client logs in with, nor what comes out of place.
func TestTranscriptHasNoPasswords(t *testing.T) {
	path := socket(t)
	all, access := loadLogs(t, "DEBUG", path, "auth {\nallow_insecure\nusers {\nann {PLAIN}secret\n}\n}\nlog debug")
	const plain, user, word = "AGFubgBzZWNyZXQ=", "YW5u", "c2VjcmV0"
	dial(t, path).Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: " + plain + "\nS: 500 *\n" +
		"C: AUTH PLAIN\nS: 334*\nC: AGFubgB3cm9uZw==\nS: 535 *\nC: AUTH LOGIN\nS: 334 *\nC: " + user + "\nS: 334 *\nC: " + word + "\nS: 235 *\n" +
		"C: " + word + "\nS: 500 *\nC: AUTH PLAIN " + plain + "\nS: 503 *\n" + goodbye)
	settle(t)
	text := all() + access()
	for _, secret := range []string{plain, word, "AGFubgB3cm9uZw", "wrong", "secret"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log has %q:\n%s", secret, text)
		}
	}
	for _, want := range []string{`"line":"EHLO client.example"`, `"line":"AUTH LOGIN"`, `"line":"235 2.7.0 `, `"user":"ann"`, `"line":"QUIT"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %s:\n%s", want, text)
		}
	}
}

// A session that has outlived its config writes where that said, and the new one's file gets what is new.
func TestLogsOfADrainingSession(t *testing.T) {
	path := socket(t)
	_, before := loadLogs(t, "INFO", path, "")
	old := dial(t, path)
	old.Run("S: 220 *")
	_, after := loadLogs(t, "INFO", path, "")
	old.Run(goodbye)
	dial(t, path).Run("S: 220 *\n" + goodbye)
	settle(t)
	if a, b := strings.Count(before(), "session ended"), strings.Count(after(), "session ended"); a != 1 || b != 1 {
		t.Errorf("got %d lines in the old log and %d in the new one, want one each", a, b)
	}
}
