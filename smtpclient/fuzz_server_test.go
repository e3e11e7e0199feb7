package smtpclient

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// FuzzServer: whatever a server says, the client comes to an end, with an Error or a result for each recipient; it says nothing but lines and the
// message, and believes a message delivered only if it sent it whole and the server's last word was 2xx.
func FuzzServer(f *testing.F) {
	for _, seed := range []string{
		"220 mx\r\n250 mx\r\n250 a\r\n250 b\r\n250 b\r\n354 c\r\n250 d\r\n",
		"220 mx\r\n250-mx\r\n250 PIPELINING\r\n250 a\r\n250 b\r\n550 b\r\n354 c\r\n250 d\r\n",
		"220 mx\r\n250-mx\r\n250-CHUNKING\r\n250 SIZE\r\n250 a\r\n250 b\r\n550 b\r\n250 d\r\n250 e\r\n",
		"220 mx\r\n250-mx\r\n250 PIPELINING\r\n250 a\r\n550 b\r\n550 b\r\n354 c\r\n250 d\r\n250 e\r\n",
		"220 mx\r\n502 what\r\n250 mx\r\n550 a\r\n250 b\r\n354 c\r\n250 d\r\n",
		"220 mx\r\n250-mx\r\n250 AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256\r\n334 \r\n334 \r\n535 no\r\n",
		"220 mx\r\n250-mx\r\n250 AUTH SCRAM-SHA-256\r\n334 cj14LHM9eCxpPTk5OTk5OTk5\r\n",
		"220 mx\r\n250-mx\r\n250 AUTH LOGIN\r\n334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 ok\r\n250 a\r\n250 b\r\n250 b\r\n354 c\r\n250 d\r\n",
		"220 mx\r\n250-mx\r\n250 STARTTLS\r\n220 go\r\n\x16\x03\x01",
		"220 mx\r\n250-mx\r\n250 XFORWARD NAME\r\n250 ok\r\n421 a\r\n",
	} {
		for mode := range uint8(16) {
			f.Add([]byte(seed), mode)
		}
	}
	message := "a: b\r\n\r\n.x\r\n" + strings.Repeat("y\r\n", 30000)
	f.Fuzz(func(t *testing.T, data []byte, mode uint8) {
		said := bytes.SplitAfter(data, []byte("\n"))
		conn := esmtptest.NewScriptConn(said...)
		o := &Options{LMTP: mode&1 != 0, Limits: Limits{Octets: 3000}, LocalName: "me.example"}
		body := message[:20]
		if mode&2 != 0 {
			body = message
		}
		if mode&4 != 0 {
			o.Auth = &Auth{User: "u", Password: "p", AllowInsecure: true}
		}
		c, err := New(t.Context(), conn, o)
		var e *Error
		if err != nil {
			if !errors.As(err, &e) || !conn.Closed() {
				t.Fatalf("%v, closed %v", err, conn.Closed())
			}
			return
		}
		defer c.Close()
		a, _ := esmtp.NewPath("ann@x.example", "")
		m := &Message{To: []esmtp.Path{a, a}, Body: strings.NewReader(body), Forwarded: &esmtp.Forwarded{Name: "n"}}
		if mode&8 != 0 {
			m.Size = int64(len(body))
		}
		before := len(conn.Output())
		res, err := c.Send(t.Context(), m)
		if err != nil && !errors.As(err, &e) {
			t.Fatal(err)
		}
		sent := string(conn.Output()[before:])
		if conn.Closed() {
			sent = strings.TrimSuffix(sent, "\r") // the server answered early, and the connection was closed between two blocks
		}
		if c.tls == nil && strings.ContainsAny(strings.ReplaceAll(sent, "\r\n", ""), "\r\n") {
			t.Fatalf("bare CR or LF: %q", sent)
		}
		whole := strings.Contains(sent, body) || strings.Contains(sent, strings.Replace(body, "\r\n.x", "\r\n..x", 1)+".\r\n")
		for _, r := range res.Recipients {
			if (r.Err == nil) != (r.Reply.Code/100 == 2) || r.Err == nil && !whole && c.tls == nil {
				t.Fatalf("%+v, whole %v", r, whole)
			}
		}
		if (err == nil) != (res.Recipients[0].Err == nil && res.Recipients[1].Err == nil) {
			t.Fatalf("%v, %+v", err, res)
		}
	})
}
