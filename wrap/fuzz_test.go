package wrap

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
)

// FuzzWrap checks that whatever the reason and the original are, what comes out are our fields, two parts, and the original as it was.
func FuzzWrap(f *testing.F) {
	f.Add("x\r\nBcc: a@b\r\n\r\n--", "Subject: a\r\n b\r\n\r\nc", "eve@evil.example", "mx\r\nX: y", false)
	f.Add("\u2028\u202e\xff\x00", "Subject: =?utf-8?b?DQpCY2M6IHg=?=\r\n\r\n", "jürgen@b.example", "", true)
	f.Add("x", "\r\n", "\""+strings.Repeat("x", 990)+"\"@b.example", strings.Repeat("x", 2000), false)
	f.Add(strings.Repeat("ü", 3000), "Subject: "+strings.Repeat("ü", 3000)+"\r\n\r\n\x00", "", "[192.0.2.1]", true)
	f.Fuzz(func(t *testing.T, reason, original, address, host string, utf8 bool) {
		p, err := esmtp.NewPath(address, "")
		if err != nil {
			t.Skip()
		}
		n := Notice{Hostname: host, Reason: reason, From: p, To: []esmtp.Path{p}, Recipients: []esmtp.Path{p}, UTF8: utf8}
		m, err := New(n, strings.NewReader(original))
		if err != nil {
			t.Fatal(err)
		}
		if o := open(t, m); string(o.original) != original {
			t.Errorf("it became %q", o.original)
		}
		for line := range bytes.Lines(append(m.before.Bytes(), m.after.Bytes()...)) {
			text, ok := bytes.CutSuffix(line, []byte("\r\n"))
			if !ok || len(text) > 998 || bytes.ContainsAny(text, "\r\n\x00\x1b") {
				t.Errorf("a bad line: %q", line)
			}
		}
	})
}

func Example() {
	from, _ := esmtp.NewPath("eve@evil.example", "")
	to, _ := esmtp.NewPath("bob@example.org", "")
	n := Notice{Hostname: "mx.example.org", Reason: "looks like a bill", From: from, To: []esmtp.Path{to}, Recipients: []esmtp.Path{to}}
	m, err := New(n, strings.NewReader("Subject: your bill\r\n\r\nHello\r\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := m.WriteTo(io.Discard); err != nil {
		fmt.Println(err)
	}
	fmt.Println("BINARYMIME:", m.Binary)
	// Output: BINARYMIME: false
}
