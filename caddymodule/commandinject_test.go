package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp/spool"
)

// What is in a queue can be written down and handed to a server.
func TestCommandsExportAndInjectBatches(t *testing.T) {
	a := loadQueueAdmin(t, "")
	put := func(text string, items ...*spool.Item) string {
		for _, it := range items {
			it.State = spool.Frozen
		}
		return a.put(text, items...)[0].String()
	}
	some := letter("ann@example.org", "bob@example.net", "done@example.net")
	some.Recipients[1].State = spool.Accepted
	one := put("Subject: one\r\n\r\n.\r\n..dots\r\n", some)
	two := put("Subject: two\r\n\r\nzwölf\r\n", &spool.Item{Needs: spool.Needs8Bit, Route: "x", Recipients: letter("", "cid@example.net", "dan@elsewhere.example").Recipients})
	out, err := a.queue("export", "--batch", one, two)
	name, _ := os.Hostname()
	want := "EHLO " + name + "\r\nMAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\nSubject: one\r\n\r\n..\r\n...dots\r\n.\r\n" +
		"MAIL FROM:<> BODY=8BITMIME\r\nRCPT TO:<cid@example.net>\r\nRCPT TO:<dan@elsewhere.example>\r\nDATA\r\nSubject: two\r\n\r\nzwölf\r\n.\r\nQUIT\r\n"
	if err != nil || out != want {
		t.Errorf("got %v\n%q, want\n%q", err, out, want)
	}
	if all, err := a.queue("export", "--batch", "--state", "frozen"); err != nil || all != out {
		t.Errorf("got %v\n%q", err, all)
	}
	// What is gone meanwhile is left out, and told of.
	const gone, worse = "0000000000001", "0000000000002"
	rest, err := a.queue("export", "--batch", one, gone, two, worse)
	if err == nil || err.Error() != "esmtp queue export: no such item: "+gone+"\nesmtp queue export: no such item: "+worse || rest != want {
		t.Errorf("got %v\n%q, want\n%q", err, rest, want)
	}
	file := filepath.Join(tempDir(t), "mails")
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	replies, err := run(injectCommand(), "--server", "unix/"+a.rig.out, "--replies", file)
	refusal := "esmtp inject: " + file + `: line 12: "RCPT TO:<dan@elsewhere.example>": 550 5.7.1 `
	if err == nil || !strings.HasPrefix(err.Error(), refusal) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want %s", err, refusal)
	}
	if !strings.HasPrefix(replies, "0: 220 ") || !strings.Contains(replies, "\n4: 354 ") || !strings.Contains(replies, "\n12: 550 5.7.1 ") || !strings.Contains(replies, ": 221 ") {
		t.Errorf("got %s", replies)
	}
	a.rig.delivered(t, "bob", "\r\n.\r\n..dots\r\n")
	a.rig.delivered(t, "cid", "zwölf")
	if list := a.page("?state=frozen").Items; len(list) != 2 {
		t.Errorf("%d items are left, want both", len(list))
	}
	for args, want := range map[string]string{
		"--server unix/" + a.rig.mail + "/none " + file: "esmtp inject: dial unix",
		"--server a:1-9": `esmtp inject: --server is host:port or unix//path, not "a:1-9"`,
		"--server unix/" + a.rig.out + " /nowhere": "esmtp inject: open /nowhere",
	} {
		if _, err := run(injectCommand(), strings.Fields(args)...); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", args, err, want)
		}
	}
	if _, err := a.queue("export", "--batch", "--dir", "x", one); err == nil {
		t.Error("both --batch and --dir")
	}
}
