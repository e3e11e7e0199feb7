package mailtext

import (
	"bytes"
	"strings"
	"testing"
)

// isMail is what Look says in slow words: lines that end with CRLF, but for the last, of bounded length, without bare CR, bare LF and NUL.
func isMail(content string) bool {
	for line := range strings.SplitSeq(content, "\r\n") {
		if len(line) > MaxLine || strings.ContainsAny(line, "\r\n\x00") {
			return false
		}
	}
	return true
}

// FuzzPieces checks that what is found out about a message is true, and doesn't depend on the pieces that it comes in.
func FuzzPieces(f *testing.F) {
	for _, s := range []string{"", "a\r\nb", "a\nb", "a\rb", "\r", "\n", "\r\r\n", "\x00", "ü\r\n", strings.Repeat("x", MaxLine), strings.Repeat("x", MaxLine+1), "--abcabc"} {
		f.Add(s, "bca", uint8(2))
	}
	f.Fuzz(func(t *testing.T, content, text string, size uint8) {
		if text == "" {
			t.Skip()
		}
		var look Look
		find := Finder{Text: []byte(text)}
		for rest := []byte(content); len(rest) > 0; {
			n := min(len(rest), int(size)+1)
			look.Write(rest[:n])
			find.Write(rest[:n])
			rest = rest[n:]
		}
		if look.Lines() != isMail(content) || look.EightBit == IsASCII(content) {
			t.Errorf("%q: lines %v, 8 bit %v", content, look.Lines(), look.EightBit)
		}
		if find.Found != strings.Contains(content, text) {
			t.Errorf("%q in %q: found %v", text, content, find.Found)
		}
	})
}

// FuzzParagraph checks that whatever a text is, it is lines that may be sent, without an empty one before the last.
func FuzzParagraph(f *testing.F) {
	f.Add("a\r\nBcc: x@y\u2028\x1b[31m \xff", strings.Repeat("ü", 2000))
	f.Fuzz(func(t *testing.T, one, two string) {
		for _, allow8 := range []bool{true, false} {
			var b bytes.Buffer
			Paragraph(&b, "  ", Clean(one+" "+two, allow8))
			text, ok := strings.CutSuffix(b.String(), "\r\n\r\n")
			if !ok || !isMail(text) || !allow8 && !IsASCII(text) || text != "" && strings.Contains(text, "\r\n\r\n") {
				t.Errorf("%q", b.String())
			}
		}
	})
}

func TestCutEndsAtARune(t *testing.T) {
	for _, c := range []struct {
		s    string
		n    int
		want string
	}{
		{"abc", 3, "abc"}, {"abc", 2, "ab"}, {"aü", 2, "a"}, {"aü", 1, "a"}, {"ü", 1, ""}, {"a€b", 3, "a"}, {"a€b", 4, "a€"}, {"a😀", 4, "a"}, {"a😀b", 5, "a😀"},
		{"ü\xa7\xa7\xa7\xa7\xa7", 6, "ü\xa7\xa7\xa7\xa7"}, {"\xa7\xa7\xa7", 2, "\xa7\xa7"}, {"a\xc3b", 2, "a\xc3"}, // what is no UTF-8 can be cut anywhere
	} {
		if got := Cut(c.s, c.n); got != c.want {
			t.Errorf("%q, %d: got %q, want %q", c.s, c.n, got, c.want)
		}
	}
}

func TestHas8BitFindsItAnywhere(t *testing.T) {
	for size := range 100 {
		p := bytes.Repeat([]byte{0x7f}, size)
		if Has8Bit(p) {
			t.Fatalf("%d octets of 7 bits", size)
		}
		for i := range p {
			p[i] = 0x80
			if !Has8Bit(p) {
				t.Fatalf("not found at %d of %d", i, size)
			}
			p[i] = 0x7f
		}
	}
}
