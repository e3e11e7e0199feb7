package esmtptest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
)

// Run serves srv and has a dialogue with it. See the package comment for the format.
func Run(t testing.TB, srv *esmtp.Server, script string) {
	t.Helper()
	Dial(t, srv).Run(script)
}

// RunFiles runs each dialogue in the files that match a pattern, such as "testdata/*.smtp", as a subtest named after its file, with a
// server made for it.
func RunFiles(t *testing.T, pattern string, newServer func(name string) *esmtp.Server) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files match %q (%v)", pattern, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		t.Run(name, func(t *testing.T) {
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d := dialogue{Client: Dial(t, newServer(name)), name: filepath.Base(file)}
			d.run(string(script))
		})
	}
}

// Run has a dialogue on this connection, from where it stands.
func (c *Client) Run(script string) {
	c.t.Helper()
	d := dialogue{Client: c, name: "line "}
	d.run(script)
}

// dialogue is a script that is being run.
type dialogue struct {
	*Client
	name    string
	line    int
	segment strings.Builder // what the next write sends
	open    bool            // the last line read was not the last of its reply
}

func (d *dialogue) run(script string) {
	d.t.Helper()
	for text := range strings.SplitSeq(script, "\n") {
		d.line++
		text = strings.TrimSpace(text)
		if text == "" || text[0] == '#' {
			continue
		}
		if err := d.step(text); err != nil {
			d.Fatalf("%s:%d: %v", d.name, d.line, err)
		}
	}
	if err := d.flush(); err != nil {
		d.Fatalf("%s:%d: %v", d.name, d.line, err)
	}
}

// step carries out a line of the script.
func (d *dialogue) step(text string) error {
	switch verb := text[:min(2, len(text))]; {
	case verb == "C:":
		d.segment.WriteString(strings.TrimPrefix(text[2:], " ") + "\r\n")
		return nil
	case verb == "C|":
		octets, err := unescape(strings.TrimPrefix(text[2:], " "))
		d.segment.WriteString(octets)
		return err
	}
	if err := d.flush(); err != nil {
		return err
	}
	switch want, isReply := strings.CutPrefix(text, "S:"); {
	case isReply && strings.TrimSpace(want) == "...":
		return d.skipReply()
	case isReply:
		return d.expect(strings.TrimPrefix(want, " "))
	case text == "send":
		return nil
	case text == "close":
		if line, err := d.ReadLine(); err != io.EOF {
			return fmt.Errorf("got %q, %v; want the end of the connection", line, err)
		}
		return nil
	case text == "leave":
		return d.Conn.Close()
	}
	return fmt.Errorf("no step: %q", text)
}

// flush sends the lines gathered so far in one write, so that those that stand together are pipelined.
func (d *dialogue) flush() error {
	if d.segment.Len() == 0 {
		return nil
	}
	d.SendRaw(d.segment.String())
	d.segment.Reset()
	return nil
}

func (d *dialogue) expect(want string) error {
	got, err := d.ReadLine()
	if err != nil {
		return fmt.Errorf("got %q, %v; want %q", got, err, want)
	}
	if !Match(want, got) {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	d.open = len(got) > 3 && got[3] == '-'
	return nil
}

// skipReply reads what is left of a reply, or the whole of the next one.
func (d *dialogue) skipReply() error {
	d.open = false
	if lines, err := d.ReadReply(); err != nil {
		return fmt.Errorf("got %q, %v; want the rest of a reply", lines, err)
	}
	return nil
}

// unescape reads Go's escapes: \r \n \t \0 \x7f \\.
func unescape(s string) (string, error) {
	return strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
}
