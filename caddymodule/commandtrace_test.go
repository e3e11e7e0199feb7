package caddymodule

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// The log of a running server has the story of a message, whatever one knows of it.
func TestCommandTrace(t *testing.T) {
	r := newQueueRig(t)
	log := filepath.Join(tempDir(t), "log")
	config, err := adapt(fmt.Sprintf("{\n%slog {\ninclude esmtp\noutput file %s {\nroll_disabled\n}\nformat json\n}\nesmtp {\n%s\n}\n}\n", private, log, r.block(r.hop(), "")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t) })
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	r.send(t, "bob@example.net")
	r.send(t, "stranger@example.org")
	r.delivered(t, "bob", "to bob@example.net")
	r.delivered(t, "ann", "Action: failed")
	var story string
	eventually(t, func() string {
		out, err := run(traceCommand(), "stranger@example.org", log)
		story = out
		for _, want := range []string{"helo=client.example", " message accepted transaction=", " failed queue=default ", `reply="550 5.7.1 `, " session ended why=QUIT ",
			" delivered queue=default ", " to=ann@example.net "} {
			if err != nil || !strings.Contains(out, want) {
				return fmt.Sprintf("%v: no %q in\n%s", err, want, out)
			}
		}
		return ""
	})
	if strings.Contains(story, "bob@example.net") || strings.Count(story, "\n") != 5 {
		t.Errorf("there is more than the story of the message in\n%s", story)
	}
	_, id, _ := strings.Cut(story, "queued as ")
	id, _, _ = strings.Cut(id, `"`)
	if out, err := run(traceCommand(), id, log); err != nil || out != story {
		t.Errorf("by the ID %q: %v\n%s", id, err, out)
	}
	lines, err := run(traceCommand(), "--json", id, log)
	if err != nil || strings.Count(lines, "\n") != 4 || strings.Count(lines, "\n{")+1 != 4 {
		t.Errorf("got %v\n%s", err, lines)
	}
	cmd := traceCommand()
	cmd.SetIn(strings.NewReader(lines))
	if out, err := run(cmd, id); err != nil || out != story {
		t.Errorf("from the standard input: %v\n%s", err, out)
	}
}

func TestCommandTraceSaysWhatIsWrong(t *testing.T) {
	dir := tempDir(t)
	for name, text := range map[string]string{"text": "INFO serving\n", "json": `{"msg":"serving"}`, "broken.gz": "{}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"text":      "esmtp trace: the log has no line of JSON",
		"json":      `esmtp trace: there is nothing about "bob@example.net" in the log`,
		"broken.gz": "esmtp trace: read " + filepath.Join(dir, "broken.gz"),
		"none":      "esmtp trace: open " + filepath.Join(dir, "none"),
	} {
		if out, err := run(traceCommand(), "bob@example.net", filepath.Join(dir, name)); err == nil || !strings.HasPrefix(err.Error(), want) || out != "" {
			t.Errorf("%s: got %v, want %s\n%s", name, err, want, out)
		}
	}
}
