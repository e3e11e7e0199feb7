package caddymodule

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// warnings provisions a config, and returns what it is warned of.
func warnings(t *testing.T, config []byte) string {
	t.Helper()
	var cfg caddy.Config
	if err := json.Unmarshal(config, &cfg); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(tempDir(t), "log")
	output, err := json.Marshal(map[string]any{"output": "file", "filename": file, "roll": false})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{WriterRaw: output, Level: "WARN"}, Include: []string{"esmtp"}}}}
	if err := caddy.Validate(&cfg); err != nil {
		t.Fatalf("%v\n%s", err, config)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A server by which strangers can send to strangers is warned of, and no other.
func TestAnOpenRelayIsWarnedOf(t *testing.T) {
	users := filepath.Join(tempDir(t), "users")
	if err := os.WriteFile(users, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	login, required := "auth {\nfile "+users+"\n}\n", "auth {\nfile "+users+"\nrequired\n}\n"
	const office = "@office remote_ip 192.0.2.0/24\n@others not remote_ip 192.0.2.0/24\n"
	const cert = "connection_policy {\nclient_auth {\nmode require_and_verify\ntrust_pool file testdata/ca.pem\n}\n}\n"
	for _, test := range []struct{ addresses, block, want string }{
		// what goes on, and where
		{":25", "queue", "queue"},
		{":25", "queue smart.example.com", "queue"},
		{":25", "queue {\nqueue out\n}", "queue"},
		{":25", "queue {\nqueue mailboxes\n}", ""},
		{":25", "queue {\nqueue others\n}", ""},
		{":25", "queue lmtp://127.0.0.1", ""},
		{":25", "queue {\nhold wait\n}", ""},
		{":25", "quarantine", ""},
		{":25", "webhook https://app.example.org/mail", ""},
		{":25", "maildir /var/mail", ""},
		{":25", "relay 127.0.0.1:2525", "relay"},
		{":25", "relay 127.0.0.1:2525 {\nforward xforward\n}", "relay"},
		{":25", "relay 127.0.0.1:2525 {\nforward xclient\n}", ""},
		{":25", "relay 127.0.0.1:2525 {\nforward proxy\n}", ""},
		{":25", "relay lmtp://127.0.0.1", ""},
		{":25", "lmtp unix//run/lmtp", ""},
		// who can connect
		{"127.0.0.1:25 [::1]:25 unix//run/esmtp", "queue", ""},
		{"10.0.0.1:25 [fd00::1]:25 [fe80::1]:25", "queue", ""},
		{"127.0.0.1:25 192.0.2.1:25", "queue", "queue"},
		{"mail.example.org:25", "queue", "queue"},
		{"fd/3", "queue", "queue"},
		{"server mail", "queue", "queue"},
		// what stands above
		{":25", "recipients *@example.org\nqueue", ""},
		{":25", "recipients *@example.org\nlog\nrelay 127.0.0.1:2525", ""},
		{":25", "queue\nrecipients *@example.org", "queue"},
		{":25", "relay 127.0.0.1:2525\nrecipients *@example.org", "relay"},
		{":25", "log\nsenders *@example.org\nrespond RCPT 550 {\nto eve@example.org\n}\nqueue", "queue"},
		{":25", "test_counter\nqueue", ""}, // a handler in Go: it may look
		{":25", login + "queue", "queue"},
		{":25", required + "queue", ""},
		{":25", "tls {\nrequired\n" + cert + "}\nqueue", ""},
		{":25", "tls {\n" + cert + "}\nqueue", "queue"},
		{"server mail", "tls {\n" + cert + "}\nqueue", "queue"},
		{":465", "tls {\n" + cert + "}\nqueue", ""},
		{":25", "tls {\nrequired\nconnection_policy\n}\nqueue", "queue"},
		{":25", "tls {\nrequired\nconnection_policy {\nclient_auth {\nmode request\n}\n}\n}\nqueue", "queue"},
		{":25", "tls {\nrequired\nconnection_policy {\nclient_auth {\n}\n}\n}\nqueue", "queue"},
		// who gets there
		{":25", office + "handle @office {\nqueue\n}", ""},
		{":25", office + "handle @others {\nrecipients *@example.org\nqueue\n}\nhandle {\nqueue\n}", ""},
		{":25", office + "handle @others {\nqueue\n}", "others"},
		{":25", office + "handle @office {\nqueue\n}\nhandle {\nqueue\n}", "1"},
		{":25", office + "handle @office {\n" + login + "queue\n}\nhandle {\n" + required + "queue\n}", ""},
		{":25", required + "@net remote_ip 0.0.0.0/0\nhandle @net {\n" + login + "queue\n}", "net"},
		{":25", "recipients *@example.org\nhandle {\nqueue\n}", ""},
		{":25", "log\n@port local_port 25\nhandle @port {\nqueue\n}", "port"},
		{":25", "@tls tls\nhandle @tls {\nqueue\n}", "tls"},
		{":25", "@tls tls client_certificate\nhandle @tls {\nqueue\n}", ""},
		{":25", "@name sni mx.example.org\nhandle @name {\nqueue\n}", "name"},
		{":25", "@here local_ip 192.0.2.1\nhandle @here {\nqueue\n}", "here"},
		{":25", "@here local_ip private_ranges\nhandle @here {\nqueue\n}", ""},
		{":25 unix//run/esmtp", "@here unix\nhandle @here {\nqueue\n}", ""},
		{":25", "@net remote_ip 192.0.2.0/24\nqueue\nhandle @net {\nrates {\nmessages 10\n}\n}", "queue"},
	} {
		config, err := adapt("{\n" + private + "esmtp {\nqueue out {\nspool /run/out\n}\nqueue mailboxes {\nspool /run/mailboxes\nnext_hop unix//run/lmtp\n}\n" +
			"queue others {\nspool /run/others\nroute * lmtp://127.0.0.1\n}\n" +
			test.addresses + " {\nhostname mx.example.org\n" + test.block + "\n}\n}\n}\n")
		if err != nil {
			t.Fatalf("%v\n%s", err, test.block)
		}
		var got []string
		for line := range strings.Lines(warnings(t, config)) {
			var fields struct{ Msg, Handler, Route string }
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(fields.Msg, "open relay: ") {
				got = append(got, fields.Handler+"/"+fields.Route)
			}
		}
		warned := len(got) == 1 && (strings.HasPrefix(got[0], test.want+"/") || strings.HasSuffix(got[0], "/"+test.want))
		if test.want == "" && len(got) != 0 || test.want != "" && !warned {
			t.Errorf("%s {\n%s\n}\nis warned of with %q, want %q", test.addresses, test.block, got, test.want)
		}
	}
}
