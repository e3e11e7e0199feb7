package esmtptest

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
)

// doctored are sessions that are right, and what must not pass in their place.
var doctored = []struct {
	name, input string
	option      func(*esmtp.Server)
	edits       [][2]string
}{
	{"LMTP", "EHLO c\r\nLHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\nQUIT\r\n",
		func(srv *esmtp.Server) { srv.LMTP = true }, [][2]string{
			{"250 2.0.0 Message accepted for delivery\r\n", ""}, {"250 2.0.0 M", "250 2.0.0 one more\r\n250 2.0.0 M"}, {"500 ", "250 "}}},
	{"AUTH", "AUTH PLAIN\r\nEHLO c\r\nMAIL FROM:<>\r\nAUTH PLAIN x\r\nAUTH X\r\nAUTH PLAIN\r\n*\r\nAUTH PLAIN\r\nAGFubgBzZWNyZXQ=\r\nAUTH PLAIN\r\nMAIL FROM:<>\r\nAUTH PLAIN\r\nQUIT\r\n",
		func(srv *esmtp.Server) { srv.AllowInsecureAuth, srv.RequireAuth = true, true }, [][2]string{
			{"530 5.7.0", "250 2.1.0"}, {"334 \r\n", "334 !\r\n"}, {"334 \r\n", ""}, {"334 \r\n", "334 \r\n334 \r\n"}, {"504 ", "503 "}, {"235 2.7.0", "535 5.7.8"},
			{"235 2.7.0", "250 2.7.0"}, {"503 5.5.1 Already", "235 2.7.0"}, {"501 5.7.0", "235 2.7.0"}, {"501 5.7.0", "535 5.7.0"}}},
	{"STARTTLS", "EHLO c\r\nMAIL FROM:<>\r\nBDAT 6\r\nNOOP\r\nSTARTTLS x\r\nSTARTTLS\r\nNOOP\r\n",
		func(srv *esmtp.Server) { srv.TLSConfig, srv.RequireTLS = &tls.Config{}, true }, [][2]string{
			{"530 5.7.0", "250 2.1.0"}, {"501 ", "220 "}, {"554 5.5.0", "220 2.0.0"}, {"in the clear\r\n", "in the clear\r\n250 2.0.0 OK\r\n"},
			{"in the clear\r\n", "in the clear\r\n\x15\x03\x01\x00\x02\x02\x46"}}},
	{"a handshake that fails", "EHLO c\r\nSTARTTLS\r\n", func(srv *esmtp.Server) { srv.TLSConfig = &tls.Config{Certificates: make([]tls.Certificate, 1)} },
		[][2]string{{"Ready to start TLS\r\n", "Ready to start TLS\r\n421 4.0.0 bye\r\n"}, {"220 2.0.0", "250 2.0.0"}}},
}

// TestModelFindsWhatIsWrongElsewhere doctors sessions with LMTP, AUTH and TLS.
func TestModelFindsWhatIsWrongElsewhere(t *testing.T) {
	for _, d := range doctored {
		var rec *Recorder
		srv := quietServer(func(*esmtp.Session) esmtp.Handler {
			rec = Record(&chaos{mechanisms: []string{"PLAIN"}})
			return rec
		})
		d.option(srv)
		conn := NewScriptConn([]byte(d.input))
		srv.ServeConn(conn)
		rules := RulesOf(srv)
		rules.NoDisconnect, rules.DefaultAuth = true, true
		model := func(output string, calls []Call) error {
			return NewModel(rules).Check([]byte(d.input), []byte(output), calls)
		}
		output := string(conn.Output())
		if err := model(output, slices.Clone(rec.Calls)); err != nil {
			t.Fatalf("%s: %v\n%s", d.name, err, output)
		}
		for _, edit := range d.edits {
			if !strings.Contains(output, edit[0]) || model(strings.Replace(output, edit[0], edit[1], 1), slices.Clone(rec.Calls)) == nil {
				t.Errorf("%s: %q for %q passes", d.name, edit[1], edit[0])
			}
		}
		for i, c := range rec.Calls {
			if without := slices.Delete(slices.Clone(rec.Calls), i, i+1); model(output, without) == nil {
				t.Errorf("%s: %s left out passes", d.name, c.Verb)
			}
			other := slices.Clone(rec.Calls)
			other[i].Mechanism, other[i].Secure = "OTHER", !c.Secure
			if model(output, other) == nil {
				t.Errorf("%s: %s that sees another session passes", d.name, c.Verb)
			}
		}
	}
}
