package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A message goes client → relay → lmtp → maildir, all while the client waits, and each recipient is judged where his mailbox is.
func TestMailIsHandedOnWhileTheClientWaits(t *testing.T) {
	front, middle, back, mail := socket(t), socket(t), socket(t), tempDir(t)
	load(t, "unix/"+front+" {\nhostname front.example.org\nrelay smtp+unix://"+middle+" {\nforward xforward\ntimeouts {\nfinal 30s\n}\n}\n}\n"+
		"unix/"+middle+" {\nhostname middle.example.org\nlmtp unix/"+back+"\n}\n"+
		"unix/"+back+" {\nhostname back.example.org\nlmtp\nrecipients *@example.org\nmaildir "+mail+"/{rcpt.local}\n}")
	dial(t, front).Run("S: 220 front.example.org *\nC: HELO client.example\nS: 250 *\nC: MAIL FROM:<ann@example.net>\nS: 250 2.1.0 *\n" +
		"C: RCPT TO:<bob@example.org>\nS: 250 2.1.5 *\nC: RCPT TO:<eve@elsewhere.example>\nS: 550 5.7.1 We do not relay\n" +
		"C: DATA\nS: 354 *\nC: Subject: hi\nC: \nC: ..dot\nC: .\nS: 250 2.0.0 *\nC: QUIT\nS: 221 *\nclose")
	files, _ := filepath.Glob(mail + "/bob/new/*")
	if len(files) != 1 {
		t.Fatalf("%d files", len(files))
	}
	text, err := os.ReadFile(files[0])
	if err != nil || !strings.HasSuffix(string(text), "\nSubject: hi\r\n\r\n.dot\r\n") && !strings.HasSuffix(string(text), "\nSubject: hi\n\n.dot\n") || strings.Count(string(text), "Received: ") != 3 {
		t.Errorf("got %q, %v", text, err)
	}
}

// What a Caddyfile can't say wrong, JSON can.
func TestMistakesInARelay(t *testing.T) {
	empty := filepath.Join(tempDir(t), "ca.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for config, want := range map[string]string{
		`"handler":"relay"`:                                                                   "relay: there is no next hop",
		`"handler":"relay","to":["x","ftp://y"]`:                                              `relay: route: bad next hop "ftp://y"`,
		`"handler":"lmtp","to":["smtps://y"]`:                                                 `lmtp: "smtps://y" doesn't speak LMTP`,
		`"handler":"relay","to":["x"],"tls":"on"`:                                             `relay: tls is one of none, opportunistic, required, verified, not "on"`,
		`"handler":"relay","to":["x"],"forward":"on"`:                                         `relay: forward is one of proxy, xclient, xforward, not "on"`,
		`"handler":"relay","to":["x"],"auth":{}`:                                              "relay: auth: there is no user",
		`"handler":"relay","to":["x"],"tls_ca_file":"/x"`:                                     "relay: a CA file has no meaning but with tls verified",
		`"handler":"relay","to":["x"],"tls":"verified","tls_ca_file":"` + empty + `"`:         "has no certificates in PEM",
		`"handler":"relay","to":["x"],"tls":"verified","tls_ca_file":"` + empty + `.missing"`: "no such file",
		`"handler":"relay","to":["unix//x"],"tls":"verified"`:                                 "relay: unix//x is a socket, which has no name that could be verified",
		`"handler":"relay","to":["smtps://x"],"tls":"none"`:                                   "relay: smtps://x is TLS from the start, and tls is none",
		`"handler":"relay","to":["x"],"timeouts":{"final":-1}`:                                "relay: timeouts: final can't be that",
	} {
		err := tryValidate([]byte(`{"admin":{"disabled":true},"apps":{"esmtp":{"servers":{"a":{"listen":[":2525"],"handlers":[{` + config + `}]}}}}}`))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", config, err, want)
		}
	}
}
