package caddymodule

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// run runs a command against the admin endpoint.
func (a *admin) run(command *cobra.Command, args ...string) (output string, err error) {
	return run(command, append(args, "--address", "unix/"+a.socket)...)
}

func run(cmd *cobra.Command, args ...string) (output string, err error) {
	var out bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	err = cmd.Execute()
	return out.String(), err
}

func TestCommandSessions(t *testing.T) {
	path := socket(t)
	a := loadAdmin(t, quiet(path))
	c := dial(t, path)
	c.Run("S: 220 *\nC: EHLO one.example\nS: 250-*\nS: ...\nC: MAIL FROM:<ann@one.example>\nS: 250 *\nC: RCPT TO:<bob@two.example>\nS: 250 *\nC: RCPT TO:<cid@two.example>\nS: 250 *")
	out, err := a.run(sessionsCommand(), "--helo", "one.example")
	lines := strings.Split(out, "\n")
	if err != nil || len(lines) != 3 || !strings.HasPrefix(lines[0], "ID ") || !strings.Contains(lines[1], " srv0 ") ||
		!strings.HasSuffix(lines[1], "<ann@one.example> to <bob@two.example> and 1 more") {
		t.Errorf("got %v\n%s", err, out)
	}
	if out, err = a.run(sessionsCommand(), "--json"); err != nil || strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, `{"id":"`) {
		t.Errorf("got %v\n%s", err, out)
	}
	if out, err = a.run(sessionsCommand(), "--server", "nosuch"); err != nil || strings.Count(out, "\n") != 1 {
		t.Errorf("got %v\n%s", err, out)
	}
	if _, err = a.run(sessionsCommand(), "--state", "dat"); err == nil || err.Error() != `esmtp sessions: there is no state "dat"; did you mean data?` {
		t.Errorf("got %v", err)
	}
}

func TestCommandKick(t *testing.T) {
	path := socket(t)
	a := loadAdmin(t, quiet(path))
	c, d := dial(t, path), dial(t, path)
	c.Expect("220 *")
	d.Expect("220 *")
	c.Cmd("HELO one.example", "250 *")
	id := a.sessions("?helo=one.example").Sessions[0].ID
	out, err := a.run(kickCommand(), id, "0000000000000", "--reply", "421 4.7.0 be gone")
	if out != id+"\n" || err == nil || err.Error() != `esmtp kick: there is no session "0000000000000", or no longer` {
		t.Errorf("got %q, %v", out, err)
	}
	c.Expect("421 4.7.0 be gone")
	for args, want := range map[string]string{
		"":                         "esmtp kick: which sessions? Give their ids, --remote or another flag, or --all",
		"--all --reply 550":        `esmtp kick: code is "550", but 421 is all that a server may say to a client that has asked nothing`,
		"--helo nobody":            "esmtp kick: there is no such session",
		"--helo nobody " + id:      "esmtp kick: takes ids or flags that choose sessions, not both",
		"--all --now --reply text": "esmtp kick: now cuts the connection: there is no reply, and so no code, enhanced or text",
	} {
		if _, err := a.run(kickCommand(), strings.Fields(args)...); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", args, err, want)
		}
	}
	if _, err := a.run(kickCommand(), "--all", "--reply", "two\nlines"); err == nil {
		t.Error("a reply of two lines is taken")
	}
	if _, err := a.run(kickCommand(), "--server", "srv0", "--reply", "good night"); err != nil {
		t.Error(err)
	}
	d.Expect("421 4.3.2 good night")
}

func TestCommandEvents(t *testing.T) {
	path := socket(t)
	a := loadAdmin(t, quiet(path))
	out, in := io.Pipe()
	done := make(chan error)
	go func() {
		cmd := eventsCommand()
		cmd.SetArgs([]string{"--type", "message,ended", "--route", "", "--address", "unix/" + a.socket})
		cmd.SetOut(in)
		cmd.SetErr(io.Discard)
		done <- cmd.Execute()
	}()
	for watched.subscribers.Load() == nil {
	}
	dial(t, path).Run(aMessage)
	buf := make([]byte, 4096)
	var text string
	for strings.Count(text, "\n") < 2 {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		text += string(buf[:n])
	}
	message, ended, _ := strings.Cut(text, "\n")
	if !strings.Contains(message, " srv0 ") || !strings.Contains(message, " message <ann@one.example> to <bob@two.example>, 10 → 250 2.0.0 ") ||
		!strings.Contains(ended, " ended after ") {
		t.Errorf("got %s", text)
	}
	out.Close() // as a pipe to head does: the next event can't be written
	dial(t, path).Run(aMessage)
	if err := <-done; err == nil {
		t.Error("got no error")
	}
	unwatched(t)
}

func TestCommandsSayThatCaddyIsNotThere(t *testing.T) {
	nowhere := "unix/" + socket(t)
	for _, cmd := range []*cobra.Command{sessionsCommand(), eventsCommand(), kickCommand()} {
		args := []string{"--address", nowhere}
		if cmd.Name() == "kick" {
			args = append(args, "--all")
		}
		_, err := run(cmd, args...)
		if err == nil || !strings.HasPrefix(err.Error(), "esmtp "+cmd.Name()+": no answer from Caddy at "+nowhere+": is it running?") {
			t.Errorf("got %v", err)
		}
	}
}

func TestKickQuery(t *testing.T) {
	for reply, want := range map[string]string{
		"":                         "",
		"421 4.7.0 go away":        "code=421&enhanced=4.7.0&text=go+away",
		"421 go":                   "code=421&text=go",
		"4.3.2 go":                 "enhanced=4.3.2&text=go",
		"go away":                  "text=go+away",
		"421":                      "code=421",
		"421 4.7.0":                "code=421&enhanced=4.7.0",
		"1000 sessions are enough": "text=1000+sessions+are+enough",
	} {
		if query, err := kickQuery(reply, false); err != nil || query.Encode() != want {
			t.Errorf("%q: got %s, %v, want %s", reply, query.Encode(), err, want)
		}
	}
}

// Whatever is given as a reply, what a client gets is one line of ASCII that begins with 421 4, or there is an error.
func FuzzKick(f *testing.F) {
	for _, reply := range []string{"", "421 4.7.0 go away", "550 no", "421 4.1000.0 x", "4.3.2", "a\rb", "gr\u00fc\u00df", strings.Repeat("x", 500)} {
		f.Add(reply, false)
	}
	f.Fuzz(func(t *testing.T, reply string, now bool) {
		query, err := kickQuery(reply, now)
		if err != nil {
			return
		}
		order, err := newKick(query)
		if err != nil || order.reply == nil {
			return
		}
		r := *order.reply
		if line := r.Error(); order.now || r.Code != 421 || r.Enh[0] != 4 || len(r.Lines) != 1 || !strings.HasPrefix(line, "421 4.") || len(line) > 510 ||
			strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("%q: got %q", reply, line)
		}
	})
}

func TestSizesForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 1023: "1023", 1024: "1.0KiB", 1536: "1.5KiB", 5 << 20: "5.0MiB", 3 << 40: "3.0TiB", 1 << 62: "4194304.0TiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

// What a client sent can't move the cursor of a terminal.
func TestShownIsPrintable(t *testing.T) {
	if got := shown("a\x1b[2Jb\u202e"); got != "a?[2Jb?" {
		t.Errorf("got %q", got)
	}
}
