package received

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

func TestOnlyReceivedFieldsOfTheHeaderCount(t *testing.T) {
	for _, c := range []struct {
		text string
		want int
	}{
		{"", 0},
		{"Received: a\r\n\r\n", 1},
		{"RECEIVED:a\r\nreceived : b\r\nReceived\t: c\r\n\r\nReceived: body\r\n", 3},
		{"Received: a\r\n\tReceived: folded\r\nX-Received: b\r\nReceived-SPF: c\r\nReceive: d\r\n", 1},
		{"Received: a\nReceived: b\n\nReceived: body\n", 2},
		{"Received: a", 1},
		{"Received", 0},
		{"\r\nReceived: body\r\n", 0},
		{strings.Repeat("Received: a\r\n", 150), 150},
	} {
		for _, size := range []int{1, 3, 1 << 20} {
			var counter Counter
			for rest := []byte(c.text); len(rest) > 0; {
				n, err := counter.Write(rest[:min(size, len(rest))])
				if err != nil || n == 0 {
					t.Fatal(n, err)
				}
				rest = rest[n:]
			}
			if got := counter.Count(); got != c.want {
				t.Errorf("%q by %d octets: %d, want %d", c.text, size, got, c.want)
			}
		}
	}
}

// FuzzCounter compares with a reader of lines, whatever the pieces.
func FuzzCounter(f *testing.F) {
	f.Add([]byte("Received: a\r\n\r\nReceived: b"), 3)
	f.Add([]byte("\rReceived: a\nreceived\t :"), 1)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		want := 0
		for scanner := bufio.NewScanner(bytes.NewReader(text)); scanner.Scan(); {
			line := strings.TrimLeft(scanner.Text(), "\r")
			if line == "" {
				break
			}
			name, _, ok := strings.Cut(line, ":")
			if ok && isReceived(strings.TrimRight(name, " \t")) {
				want++
			}
		}
		if bytes.IndexByte(text, '\n') < 0 && len(text) > 60000 {
			t.Skip()
		}
		var counter Counter
		for size = max(1, size); len(text) > 0; {
			n, _ := counter.Write(text[:min(size, len(text))])
			text = text[n:]
		}
		if got := counter.Count(); got != want {
			t.Fatalf("%d, want %d", got, want)
		}
	})
}

func isReceived(s string) bool {
	return len(s) == 8 && strings.EqualFold(s, "received") && !strings.ContainsFunc(s, func(r rune) bool { return r > 127 })
}
