package wrap

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

var now = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

func path(t testing.TB, address string) esmtp.Path {
	t.Helper()
	p, err := esmtp.NewPath(address, "")
	if err != nil {
		t.Fatalf("%q: %v", address, err)
	}
	return p
}

func notice(t testing.TB) Notice {
	bob := path(t, "bob@example.org")
	return Notice{
		Hostname: "mx.example.org", Reason: "looks like a bill", From: path(t, "eve@evil.example"), To: []esmtp.Path{bob},
		Recipients: []esmtp.Path{bob}, Arrived: now.Add(-time.Hour), Now: now,
	}
}

// opened is a wrapping message as a mail program sees it.
type opened struct {
	header   mail.Header
	text     string // of the first part, decoded
	kind     string // of the attachment
	encoding string
	original []byte
}

// open reads a message with the standard library, and checks what holds for every one of them.
func open(t testing.TB, m *Message) (o opened) {
	t.Helper()
	var content bytes.Buffer
	if n, err := m.WriteTo(&content); err != nil || n != int64(content.Len()) {
		t.Fatal(n, err)
	}
	msg, err := mail.ReadMessage(&content)
	if err != nil {
		t.Fatal(err)
	}
	o.header = msg.Header
	for _, name := range []string{"From", "To", "Subject", "Date", "Message-Id", "Auto-Submitted", "Mime-Version", "Content-Type"} {
		if len(msg.Header[name]) != 1 {
			t.Fatalf("%s: %q", name, msg.Header[name])
		}
	}
	if n := len(msg.Header) - len(msg.Header["Content-Transfer-Encoding"]); n != 8 {
		t.Fatalf("fields from elsewhere: %v", msg.Header)
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/mixed" {
		t.Fatal(kind, err)
	}
	parts := multipart.NewReader(msg.Body, params["boundary"])
	text, err := parts.NextPart() // which decodes quoted-printable
	if err != nil {
		t.Fatal(err)
	}
	read := readAll(t, text)
	o.text = string(read)
	attached, err := parts.NextRawPart()
	if err != nil {
		t.Fatal(err)
	}
	o.original = readAll(t, attached)
	o.kind, o.encoding = attached.Header.Get("Content-Type"), attached.Header.Get("Content-Transfer-Encoding")
	if !strings.HasPrefix(attached.Header.Get("Content-Disposition"), "attachment; ") {
		t.Fatal(attached.Header)
	}
	if whole := cmpOr(msg.Header.Get("Content-Transfer-Encoding"), "7bit"); whole != o.encoding {
		t.Fatalf("the whole is %s, the original %s", whole, o.encoding)
	}
	if _, err := parts.NextRawPart(); err != io.EOF {
		t.Fatalf("another part, or %v", err)
	}
	return o
}

func cmpOr(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func readAll(t testing.TB, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheOriginalIsAttachedAsItCame(t *testing.T) {
	for _, c := range []struct {
		name, original string
		utf8           bool
		kind, encoding string
		eight, binary  bool
	}{
		{"7bit", "Subject: hi\r\n\r\n.dot\r\n--x\r\n", false, "message/rfc822", "7bit", false, false},
		{"no end of line", "Subject: hi\r\n\r\nx", false, "message/rfc822", "7bit", false, false},
		{"empty", "", false, "message/rfc822", "7bit", false, false},
		{"8bit body", "Subject: hi\r\n\r\n\xfc\r\n", false, "message/rfc822", "8bit", true, false},
		{"8bit body, SMTPUTF8", "Subject: hi\r\n\r\nü\r\n", true, "message/rfc822", "8bit", true, false},
		{"8bit header of old", "Subject: gr\xfc\xdfe\r\n\r\n", false, "message/rfc822", "8bit", true, false},
		{"8bit header that is no UTF-8", "Subject: gr\xfc\xdfe\r\n\r\n", true, "message/rfc822", "8bit", true, false},
		{"UTF-8 header", "Subject: grüße\r\n\r\nx", true, "message/global", "8bit", true, false},
		{"bare LF", "Subject: hi\n\nx\n", false, "message/rfc822", "binary", false, true},
		{"bare CR at the end", "Subject: hi\r\n\r\nx\r", false, "message/rfc822", "binary", false, true},
		{"NUL", "Subject: hi\r\n\r\n\x00\xff\r\n", false, "message/rfc822", "binary", true, true},
		{"long line", "Subject: hi\r\n\r\n" + strings.Repeat("x", 999), false, "message/rfc822", "binary", false, true},
		{"a multipart", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n", false, "message/rfc822", "7bit", false, false},
		{"large", "Subject: hi\r\n\r\n" + strings.Repeat("0123456789abcd\r\n", 100_000), false, "message/rfc822", "7bit", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := notice(t)
			n.UTF8 = c.utf8
			m, err := New(n, strings.NewReader(c.original))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // it can be written again
				o := open(t, m)
				if string(o.original) != c.original {
					t.Errorf("the original became %.100q", o.original)
				}
				if o.kind != c.kind || o.encoding != c.encoding {
					t.Errorf("%s, %s", o.kind, o.encoding)
				}
			}
			if m.EightBit != c.eight || m.Binary != c.binary || m.UTF8 != (c.kind == "message/global") {
				t.Errorf("it needs 8BITMIME %v, BINARYMIME %v, SMTPUTF8 %v", m.EightBit, m.Binary, m.UTF8)
			}
		})
	}
}

func TestTheTextSaysWhatIsKnown(t *testing.T) {
	n := notice(t)
	n.Reason = "sieht aus wie eine Rechnung, 請求書"
	m, err := New(n, strings.NewReader("Subject: =?iso-8859-15?q?Rechnung_=FCber_5=A4?=\r\n for =?utf-8?q?you?=\r\nFrom: boss@example.org\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	o := open(t, m)
	for _, want := range []string{
		"the mail server mx.example.org.", "    sieht aus wie eine Rechnung, 請求書\r\n", "Sender:    <eve@evil.example>\r\n",
		"Recipient: <bob@example.org>\r\n", "Arrived:   Fri, 2 Jan 2026 14:04:05 +0000\r\n",
	} {
		if !strings.Contains(o.text, want) {
			t.Errorf("no %q in\n%s", want, o.text)
		}
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(o.header.Get("Subject"))
	if err != nil || subject != "Released from quarantine: Rechnung über 5€ for you" {
		t.Errorf("%q, %v", subject, err)
	}
	for name, want := range map[string]string{"From": "Quarantine <postmaster@mx.example.org>", "To": "<bob@example.org>", "Auto-Submitted": "auto-generated"} {
		if got := o.header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if date, err := o.header.Date(); err != nil || !date.Equal(now) {
		t.Error(date, err)
	}
}

// Of several recipients none is told of the others: one may have been a Bcc.
func TestRecipientsAreNotToldOfEachOther(t *testing.T) {
	n := notice(t)
	n.To = append(n.To, path(t, "carol@example.org"))
	n.Recipients = n.To
	m, err := New(n, strings.NewReader("A: b\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	o := open(t, m)
	if o.header.Get("To") != "undisclosed-recipients:;" || !strings.Contains(o.text, "Recipients: 2\r\n") || strings.Contains(o.text, "@example.org>") {
		t.Errorf("%s\n%s", o.header, o.text)
	}
}

func TestAnAddressInUTF8NeedsSMTPUTF8(t *testing.T) {
	n := notice(t)
	n.Recipients = []esmtp.Path{path(t, "bücher@example.org")}
	m, err := New(n, strings.NewReader("A: b\r\n\r\n"))
	if err != nil || !m.UTF8 || !m.EightBit || m.Binary {
		t.Errorf("%+v, %v", m, err)
	}
	if o := open(t, m); o.header.Get("To") != "<bücher@example.org>" || o.kind != "message/rfc822" {
		t.Errorf("%v %s", o.header, o.kind)
	}
}

func TestSubjects(t *testing.T) {
	const ours = "Released from quarantine"
	for header, want := range map[string]string{
		"":                                ours,
		"Subject:\r\n":                    ours,
		"X: y\r\n\r\nSubject: body\r\n":   ours,
		"Subject: a\r\nSubject: b\r\n":    ours + ": a",
		"subject : a\r\n\t b\r\n":         ours + ": a b",
		"Subject: =?utf-8?q?a=0D=0AB?=":   ours + ": a B",
		"Subject: =?nonsense?q?a?=\r\n":   ours,
		"Subject: \u202egpj.exe\r\n":      ours + ": gpj.exe",
		"Subject: =?utf-8?q?=3D=3Fx?=":    ours + ": = ?x",
		"Subject: \xff\r\n":               ours + ": ?",
		"Subject: " + long + "\r\nX: y":   ours + ": " + long[:200] + "…",
		"X: y\r\n\tSubject: z\r\n\r\n":    ours,
		"no header\r\nSubject: x\r\n\r\n": ours + ": x",
	} {
		m, err := New(notice(t), strings.NewReader(header))
		if err != nil {
			t.Fatal(err)
		}
		got, err := new(mime.WordDecoder).DecodeHeader(open(t, m).header.Get("Subject"))
		if err != nil || got != want {
			t.Errorf("%.50q: got %q, want %q, %v", header, got, want, err)
		}
	}
}

var long = strings.Repeat("x", 1000)

// A boundary that occurs is not taken, wherever it stands.
func TestTheBoundaryOccursNowhere(t *testing.T) {
	for _, at := range []int{0, 1, 32<<10 - 3, 64<<10 - 1, 100_000} {
		original := strings.Repeat("x", at) + "ONE\r\n--TWO--\r\n"
		tried := []string{"ONE", "TWO", "attached", "THREE"} // "attached" is a word of the text
		m, err := compose(notice(t), strings.NewReader(original), func() string {
			next := tried[0]
			tried = tried[1:]
			return next
		})
		if err != nil || len(tried) != 0 {
			t.Fatalf("left %v, %v", tried, err)
		}
		if o := open(t, m); string(o.original) != original {
			t.Errorf("at %d: it became %.50q", at, o.original)
		}
	}
}

func TestErrorsOfTheOriginalAreReported(t *testing.T) {
	broken := errors.New("broken")
	if _, err := New(notice(t), seeker{iotest.ErrReader(broken), nil}); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := New(notice(t), seeker{strings.NewReader(""), broken}); !errors.Is(err, broken) {
		t.Error(err)
	}
}

type seeker struct {
	io.Reader
	err error
}

func (s seeker) Seek(int64, int) (int64, error) { return 0, s.err }
