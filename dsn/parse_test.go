package dsn

import (
	"bufio"
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/internal/mailtext"
)

// parsed is a report as a mail program sees it.
type parsed struct {
	header mail.Header
	types  []string
	parts  [][]byte
	status []textproto.MIMEHeader
}

// parseBack reads a report with the standard library, and checks what holds for every one of them.
func parseBack(t testing.TB, content []byte) (p parsed) {
	t.Helper()
	for line := range bytes.Lines(content) {
		text, ok := bytes.CutSuffix(line, []byte("\r\n"))
		if !ok || len(text) > 998 || bytes.ContainsAny(text, "\r\n\x00") {
			t.Fatalf("a bad line: %q", line)
		}
	}
	msg, err := mail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	p.header = msg.Header
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatal(kind, params, err)
	}
	if len(msg.Header) > 9 || msg.Header.Get("Bcc") != "" {
		t.Fatalf("fields from elsewhere: %v", msg.Header)
	}
	eightBit := false
	for reader := multipart.NewReader(msg.Body, params["boundary"]); ; {
		part, err := reader.NextRawPart()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		encoding := part.Header.Get("Content-Transfer-Encoding")
		if encoding == "7bit" && !mailtext.IsASCII(body) {
			t.Fatalf("8 bits in a part of 7: %q", body)
		}
		eightBit = eightBit || encoding == "8bit"
		p.types = append(p.types, part.Header.Get("Content-Type"))
		p.parts = append(p.parts, body)
	}
	if eightBit != (msg.Header.Get("Content-Transfer-Encoding") == "8bit") {
		t.Fatal("the encoding of the whole is not that of its parts")
	}
	if len(p.parts) < 2 || len(p.parts) > 3 {
		t.Fatalf("%d parts", len(p.parts))
	}
	reader := textproto.NewReader(bufio.NewReader(io.MultiReader(bytes.NewReader(p.parts[1]), strings.NewReader("\r\n\r\n"))))
	for {
		fields, err := reader.ReadMIMEHeader()
		if len(fields) == 0 {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		p.status = append(p.status, fields)
	}
	return p
}

// FuzzReport checks that whatever a remote server says, and whatever is in the original, the report is one: it parses back, its lines end with CRLF
// and are short enough, and the fields of its header are ours.
func FuzzReport(f *testing.F) {
	f.Add("no such user\r\n.\r\n", "mx.example\r\nX: y", "A: b\r\n\r\nbody\r\n", "jürgen@c.example", uint8(0), true, 550)
	f.Add("\x00\xff", "", "A: \xff\n\nb\r", "bob@c.example", uint8(1), false, 421)
	f.Add(strings.Repeat("x", 3000), "", strings.Repeat("ü", 800), "bob@c.example", uint8(2), true, 0)
	f.Add("", strings.Repeat("x", 3000), "", "bob@c.example", uint8(3), false, 550)
	f.Fuzz(func(t *testing.T, said, remote, content, to string, action uint8, utf8 bool, code int) {
		rcpt, err := esmtp.NewPath(to, "NOTIFY=SUCCESS,FAILURE,DELAY")
		if err != nil || code != 0 && (code < 200 || code > 599) {
			t.Skip()
		}
		params := ""
		if utf8 {
			params = "SMTPUTF8"
		}
		r := report(t, params, Recipient{
			To: rcpt, Action: Action(action % 5), RemoteMTA: remote, Reply: esmtp.Reply{Code: code, Enh: esmtp.Enhanced{5, 1, 1}, Lines: []string{said, said}},
		})
		r.MaxOriginal = 2000
		m, err := New(r, strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		p := parseBack(t, m.content.Bytes())
		if len(p.status) != 2 || p.status[1].Get("Action") != Action(action%5).String() {
			t.Fatalf("%q", p.parts[1])
		}
		if p.types[2] == "message/rfc822" && string(p.parts[2]) != content {
			t.Fatalf("the original became %q", p.parts[2])
		}
		if body8 := m.From.Body() == esmtp.Body8BitMIME; body8 != !mailtext.IsASCII(m.content.Bytes()) {
			t.Fatalf("BODY=8BITMIME: %v", body8)
		}
	})
}
