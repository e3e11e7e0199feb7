package caddymodule

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"
)

// The rows of the ancestors that only a web server can show. A48: where the log goes is a setting. A49: several servers in one, each with
// handlers of its own. A50: all in the process of a web server, which goes on serving the web.
func TestA48A49A50MailInAWebServer(t *testing.T) {
	first, second, web := socket(t), socket(t), socket(t)
	log := filepath.Join(tempDir(t), "log")
	config, err := adapt("{\n" + private + "log mail {\noutput file " + log + " {\nroll_disabled\n}\ninclude esmtp\n}\nesmtp {\n" +
		"unix/" + first + " {\nhostname first.example.org\nrespond MAIL 550 5.7.1 \"not here\"\n}\n" +
		"unix/" + second + " {\nhostname second.example.org\nlog\n}\n}\n}\n" +
		"http://web.example.org {\nbind unix/" + web + "\nrespond \"the web\"\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t) })
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	dial(t, first).Run("S: 220 first.example.org *\nC: HELO a\nS: 250 *\nC: MAIL FROM:<>\nS: 550 5.7.1 not here\nC: QUIT\nS: 221 *\nclose")
	dial(t, second).Run("S: 220 second.example.org *\nC: HELO a\nS: 250 *\nC: MAIL FROM:<>\nS: 250 *\nC: QUIT\nS: 221 *\nclose")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", web) }}}
	resp, err := client.Get("http://web.example.org/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "the web" {
		t.Errorf("the web server says %q", body)
	}
	stop(t)
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"logger":"esmtp"`, `"server":"srv0"`, `"session":"`, `"reply":"250 2.1.0 <>, sender ok"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in the log:\n%s", want, text)
		}
	}
}
