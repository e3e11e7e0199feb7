package caddymodule

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/spool"
)

// queue runs a command of "caddy esmtp queue".
func (a *queueAdmin) queue(args ...string) (output string, err error) {
	return a.run(queueCommand(), args...)
}

func TestCommandQueueList(t *testing.T) {
	a := loadQueueAdmin(t, closedPort(t))
	one := a.put("12345", letter("ann@one.example", "bob@two.example", "cid@two.example"))[0].String()
	two := a.put("12345", in(spool.Frozen, letter("", "eve\x60s@evil.example")))[0].String()
	out, err := a.queue("list")
	want := fmt.Sprintf("  0s        5 %s <ann@one.example> to <bob@two.example> and 1 more due in 59m\n"+
		"  0s        5 %s <> to <eve`s@evil.example> *** frozen ***: because\n", one, two)
	if err != nil || strings.ReplaceAll(out, "  1s", "  0s") != want {
		t.Errorf("got %v\n%s, want\n%s", err, out, want)
	}
	out, err = a.queue("list", "--table", "--state", "frozen")
	if lines := strings.Split(out, "\n"); err != nil || len(lines) != 3 || !strings.HasPrefix(lines[0], "ID ") || !strings.HasPrefix(lines[1], two+"  frozen ") ||
		!strings.HasSuffix(lines[1], "because") {
		t.Errorf("got %v\n%s", err, out)
	}
	if out, err = a.queue("list", "--ids", "--sender", "ann"); err != nil || out != one+"\n" {
		t.Errorf("got %v\n%s", err, out)
	}
	out, err = a.queue("list", "--json", "--queue", "default", "--redact")
	if err != nil || strings.Count(out, "\n") != 2 || !strings.HasPrefix(out, `{"id":"`+one) || strings.Contains(out, "bob") {
		t.Errorf("got %v\n%s", err, out)
	}
	out, err = a.queue("show", one, two)
	if err != nil || !strings.Contains(out, "\nfrom     <ann@one.example>\nto       <bob@two.example>, remaining\n") || !strings.Contains(out, "\n\nitem     "+two) {
		t.Errorf("got %v\n%s", err, out)
	}
	if out, err = a.queue("show", "--json", one); err != nil || !strings.HasPrefix(out, `{"id":"`+one) {
		t.Errorf("got %v\n%s", err, out)
	}
	out, err = a.queue("stats")
	want = "default: sqlite " + a.rig.spool + "\n       1 queued, the oldest for 0s\n       1 frozen, the oldest for 0s\n       0 attempts now, of 100\n" +
		"       1 for two.example, the oldest for 0s\n"
	if err != nil || strings.ReplaceAll(out, "1s", "0s") != want {
		t.Errorf("got %v\n%s, want\n%s", err, out, want)
	}
	if out, err = a.queue("concurrency", "5"); err != nil || out != "0 of 5\n" {
		t.Errorf("got %v\n%s", err, out)
	}
	if out, err = a.queue("check", "--json"); err != nil || out != `{"items":2,"damaged":[],"orphans":0}`+"\n" {
		t.Errorf("got %v\n%s", err, out)
	}
	for args, want := range map[string]string{
		"list --state froozen":         `esmtp queue list: there is no state "froozen"; did you mean frozen?`,
		"list --queue defalt":          `esmtp queue list: there is no queue "defalt"; did you mean default?`,
		"show 0000000000001":           "esmtp queue show: no such item: 0000000000001",
		"show x":                       `esmtp queue show: "x" is no id of an item: want 13 digits and letters`,
		"concurrency many":             "esmtp queue concurrency: want a number above 0, not many",
		"concurrency 0":                `esmtp queue concurrency: want {"concurrency": n}, from 1 to 10000`,
		"export":                       "esmtp queue export: which items? Give their ids, --state or another flag",
		"export --state queued":        "esmtp queue export: where to? --dir names a folder for the files",
		"export --state queued " + one: "esmtp queue export: takes ids or flags that choose items, not both",
		"export --dir x ../" + one[3:]: `esmtp queue export: "../` + one[3:] + `": spool: not an ID: want 13 digits of 0-9 and a-z without i, l, o and u`,
		"freeze":                       "esmtp queue freeze: which items? Give their ids, --route or another flag, or --all",
		"freeze --all " + one:          "esmtp queue freeze: takes ids or flags that choose items, not both",
		"freeze --route nobody":        "esmtp queue freeze: there is no such item",
		"thaw " + one:                  "esmtp queue thaw: not in this state: can't thaw item " + one + ", it is queued",
		"retry --all --wait soon":      `esmtp queue retry: --wait has durations, such as 10m, not "soon"`,
		"release " + two + " --to a@":  `esmtp queue release: `,
		"events --type frozn":          `esmtp queue events: there is no type of events "frozn"; did you mean frozen?`,
		"list --spool " + a.rig.spool:  "esmtp queue list: a process has " + a.rig.spool + " open, which should be Caddy: leave out --spool to ask it",
		"list --spool " + a.rig.mail:   "esmtp queue list: there is no spool at " + a.rig.mail + ": stat " + a.rig.mail + "/spool.db: no such file or directory",
	} {
		if _, err := a.queue(strings.Fields(args)...); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", args, err, want)
		}
	}
	nowhere := "unix/" + a.rig.mail
	_, err = run(queueCommand(), "list", "--address", nowhere)
	if err == nil || !strings.Contains(err.Error(), nowhere) || !strings.HasSuffix(err.Error(), "; without Caddy, --spool reads the spool") {
		t.Errorf("got %v", err)
	}
}

func TestCommandsMoveItems(t *testing.T) {
	a := loadQueueAdmin(t, "")
	one := a.put("12345", letter("ann@one.example", "bob@example.net"))[0]
	two := a.put("12345", in(spool.Quarantined, letter("ann@one.example", "bob@two.example")))[0]
	step := func(want string, args ...string) {
		t.Helper()
		if out, err := a.queue(args...); err != nil || out != want+"\n" {
			t.Errorf("%v: got %q, %v", args, out, err)
		}
	}
	step(one.String(), "freeze", "--state", "queued", "--reason", "wait")
	if it := a.page("?state=frozen").Items; len(it) != 1 || it[0].Reason != "wait" {
		t.Errorf("got %+v", it)
	}
	step(one.String(), "remove", "--sender", "ann", "--recipient", "example.net")
	step(one.String(), "recover", "--all")
	if out, err := a.queue("freeze", one.String(), two.String()); out != "" || err == nil || strings.Count(err.Error(), "esmtp queue freeze: not in this state") != 2 {
		t.Errorf("got %q, %v", out, err)
	}
	step(one.String(), "retry", one.String(), "--wait", "10m,1h", "--failed")
	a.rig.delivered(t, "bob", "12345")
	step(two.String(), "release", two.String(), "--to", "cid@example.net", "--to", "dan@example.net", "--from", "<>", "--next-hop", a.rig.hop())
	a.rig.delivered(t, "cid", "12345")
	a.rig.delivered(t, "dan", "12345")
	three := a.put("Subject: x\r\n\r\n54321", in(spool.Quarantined, letter("ann@one.example", "eli@example.net")))[0]
	if _, err := a.queue("release", three.String(), "--reason", "a bill"); err == nil || !strings.HasPrefix(err.Error(), "esmtp queue release: reason is for") {
		t.Errorf("got %v", err)
	}
	step(three.String(), "release", three.String(), "--wrap", "--reason", "a bill")
	a.rig.delivered(t, "eli", "    a bill\r\n")
	a.rig.delivered(t, "eli", "54321\r\n--")
}

func TestCommandQueueExport(t *testing.T) {
	a := loadQueueAdmin(t, "")
	small, large := "Subject: x\r\n\r\n\x00\xff\r\n", strings.Repeat("0123456789abcde\n", 200_000)
	one := a.put(small, letter("ann@one.example", "bob@two.example"))[0].String()
	two := a.put(large, letter("ann@one.example", "bob@three.example"))[0].String()
	if out, err := a.queue("export", one); err != nil || out != small {
		t.Errorf("got %q, %v", out, err)
	}
	dir := tempDir(t)
	out, err := a.queue("export", "--state", "queued", "--dir", dir)
	if err != nil || out != filepath.Join(dir, one+".eml")+"\n"+filepath.Join(dir, two+".eml")+"\n" {
		t.Errorf("got %q, %v", out, err)
	}
	for id, want := range map[string]string{one: small, two: large} {
		if got, err := os.ReadFile(filepath.Join(dir, id+".eml")); err != nil || string(got) != want {
			t.Errorf("got %d octets, %v", len(got), err)
		}
	}
	if _, err := a.queue("export", one, "--dir", dir); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("got %v", err)
	}
	const none = "0000000000001"
	if _, err := a.queue("export", none, "--dir", dir); err == nil || err.Error() != "esmtp queue export: no such item: "+none {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, none+".eml")); err == nil {
		t.Error("a file is left of what could not be exported")
	}
}

// While Caddy doesn't run its spool can be read, and is left as it was.
func TestCommandsReadASpoolWithoutCaddy(t *testing.T) {
	a := loadQueueAdmin(t, closedPort(t))
	ids := a.put("12345", letter("ann@one.example", "bob@two.example"), in(spool.Frozen, letter("ann@one.example", "cid@three.example")))
	with := func(args ...string) string {
		t.Helper()
		out, err := a.queue(args...)
		if err != nil {
			t.Errorf("%v: %v", args, err)
		}
		return strings.TrimPrefix(out, "default: ")
	}
	asked := [][]string{{"list", "--ids"}, {"list", "--json"}, {"show", ids[0].String(), "--json"}, {"export", ids[1].String()}, {"check", "--json"}}
	var want []string
	for _, args := range asked {
		want = append(want, with(args...))
	}
	stop(t)
	for i, args := range asked {
		if out, err := run(queueCommand(), append(args, "--spool", a.rig.spool)...); err != nil || out != want[i] {
			t.Errorf("%v: got %v\n%s, want\n%s", args, err, out, want[i])
		}
	}
	out, err := run(queueCommand(), "stats", "--spool", "sqlite://"+a.rig.spool)
	if err != nil || !strings.Contains(out, "       1 queued, the oldest for ") || strings.Contains(out, "attempts now") {
		t.Errorf("got %v\n%s", err, out)
	}
	for args, want := range map[string]string{
		"show 0000000000001": "esmtp queue show: no such item: 0000000000001",
		"show x":             `esmtp queue show: "x" is no id of an item`,
		"export x":           `esmtp queue export: "x" is no id of an item`,
		"list --state x":     `esmtp queue list: there is no state "x"`,
	} {
		if _, err := run(queueCommand(), append(strings.Fields(args), "--spool", a.rig.spool)...); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", args, err, want)
		}
	}
}

func TestCommandQueueWantsToKnowWhichQueue(t *testing.T) {
	dir := tempDir(t)
	a := &queueAdmin{loadAdmin(t, "queue a {\nspool "+dir+"/a\n}\nqueue b {\nspool "+dir+"/b\n}\n"), nil}
	if _, err := a.queue("list"); err == nil || err.Error() != "esmtp queue list: which queue? Give --queue with one of a, b" {
		t.Errorf("got %v", err)
	}
	if out, err := a.queue("stats"); err != nil || strings.Count(out, "       0 items\n") != 2 {
		t.Errorf("got %v\n%s", err, out)
	}
	if out, err := a.queue("list", "--queue", "b"); err != nil || out != "" {
		t.Errorf("got %v\n%s", err, out)
	}
	// After a reload Caddy's old endpoint still accepts for a moment, and closes what it gets.
	a.load("queue b {\nspool " + dir + "/b\n}\n")
	eventually(t, func() string {
		if out, err := a.queue("list"); err != nil || out != "" {
			return fmt.Sprint(out, err)
		}
		return ""
	})
	a.load("")
	eventually(t, func() string {
		if _, err := a.queue("list"); err == nil || err.Error() != "esmtp queue list: this Caddy has no queue" {
			return fmt.Sprint(err)
		}
		return ""
	})
}

func TestCommandQueueEvents(t *testing.T) {
	a := loadQueueAdmin(t, "")
	out, in := io.Pipe()
	done := make(chan error)
	go func() {
		cmd := queueCommand()
		cmd.SetArgs([]string{"events", "--type", "attempt,delivered", "--address", "unix/" + a.socket})
		cmd.SetOut(in)
		cmd.SetErr(io.Discard)
		done <- cmd.Execute()
	}()
	q, err := findQueue("default")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		q.live.shared.attempts.mu.Lock()
		defer q.live.shared.attempts.mu.Unlock()
		if len(q.live.shared.attempts.subs) == 0 {
			return "nobody watches"
		}
		return ""
	})
	a.rig.send(t, "bob@example.net")
	var text string
	for buf := make([]byte, 4096); strings.Count(text, "\n") < 2; {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		text += string(buf[:n])
	}
	if !strings.Contains(text, " example.net attempt 1 delivered ") || !strings.Contains(text, ", 1 accepted, 0 failed, 0 later") ||
		!strings.Contains(text, " example.net delivered\n") {
		t.Errorf("got %s", text)
	}
	out.Close()
	a.rig.send(t, "bob@example.net")
	if err := <-done; err == nil {
		t.Error("got no error")
	}
}

func TestEventsOfAQueueForPeople(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.Local)
	for want, e := range map[string]queueEvent{
		" until 2026-11-21 12:00:00: 451 4.7.1 grey?": {Type: "delayed", At: at, Reason: "451 4.7.1 grey\x1b"},
		"": {Type: "thawed"},
		" 3 delayed mx.example TLS 1.3 in 1.5s, 0 accepted, 0 failed, 2 later → 451 4.7.1 grey": {
			Type: "attempt", Attempt: 3, Result: "delayed", Host: "mx.example", TLS: "TLS 1.3", Took: 1.5, Later: 2, Reply: "451 4.7.1 grey"},
	} {
		if got := e.details(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	var out strings.Builder
	if err := writeQueueEvent(&out, []byte(`{"type":"lost","lost":7}`)); err != nil || !strings.HasSuffix(out.String(), " 7 events were lost: they came faster than they could be shown\n") {
		t.Errorf("got %q, %v", out.String(), err)
	}
	for d, want := range map[time.Duration]string{-time.Second: "0s", 59 * time.Second: "59s", time.Hour - 1: "59m", 47 * time.Hour: "47h", 48 * time.Hour: "2d"} {
		if got := age(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}
