package dsn

import (
	"bufio"
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/internal/mailtext"
)

// parsed is a report as a mail program sees it, the parts decoded.
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
	if msg.Header.Get("Content-Transfer-Encoding") != "" {
		t.Fatal("parts of 7 bits need no encoding of the whole (RFC 2045 §6.4)")
	}
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
		if !mailtext.IsASCII(body) {
			t.Fatalf("8 bits in a part of 7: %q", body)
		}
		switch encoding := part.Header.Get("Content-Transfer-Encoding"); encoding {
		case "7bit":
		case "quoted-printable":
			body = decode(t, part.Header.Get("Content-Type"), body)
		default:
			t.Fatalf("a part is %q", encoding)
		}
		p.types = append(p.types, part.Header.Get("Content-Type"))
		p.parts = append(p.parts, body)
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

// decode undoes quoted-printable, which message/rfc822 and message/delivery-status can't have (RFC 2045 §6.4).
func decode(t testing.TB, mediaType string, body []byte) []byte {
	t.Helper()
	if strings.HasPrefix(mediaType, "message/") && !strings.HasPrefix(mediaType, "message/global") {
		t.Fatalf("%s is encoded", mediaType)
	}
	decoded, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body)))
	if err != nil || mailtext.IsASCII(decoded) {
		t.Fatalf("%s is encoded for no reason: %v", mediaType, err)
	}
	return decoded
}

// FuzzReport checks that whatever a remote server says, and whatever is in the original, the report is one: it parses back, its lines end with CRLF,
// are short enough and ASCII, the fields of its header are ours, and the original is what it was.
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
		if (p.types[2] == "message/rfc822" || p.types[2] == "message/global") && string(p.parts[2]) != content {
			t.Fatalf("the original became %q", p.parts[2])
		}
		if m.From.Params() != "" || !mailtext.IsASCII(m.content.Bytes()) {
			t.Fatalf("it needs %q", m.From.Params())
		}
	})
}
