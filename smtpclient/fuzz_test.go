package smtpclient

import (
	"bufio"
	"bytes"

	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

var testLimits = Limits{Line: 600, Lines: 20, Octets: 4000}

// plainReply is what readReply should make of octets, in as few words as can be: code and lines, none if it isn't a reply.
func plainReply(data string) (code int, lines []string, ok bool) {
	for {
		line, rest, whole := strings.Cut(data, "\n")
		line = strings.TrimSuffix(line, "\r")
		if !whole || len(line) < 3 || line[0] < '2' || line[0] > '5' || len(lines) == testLimits.Lines {
			return 0, nil, false
		}
		n, err := strconv.ParseUint(line[:3], 10, 16)
		if err != nil || code != 0 && int(n) != code || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
			return 0, nil, false
		}
		code, lines = int(n), append(lines, line[min(4, len(line)):])
		if data = rest; len(line) == 3 || line[3] == ' ' {
			return code, lines, true
		}
	}
}

// FuzzReply: a reply is what a few plain lines say it is, its text holds nothing that could do harm, and it is within the limits, however
// the octets come.
func FuzzReply(f *testing.F) {
	for _, seed := range []string{"250 ok\r\n", "250-a\r\n250 b\r\n", "250\n", "250-2.1.0 a\r\n250 2.1.0\r\n", "550 5.7.1 no\r\nrest", "250-a\r\n251 b\r\n",
		"999 x\r\n", "25 x\r\n", "250_x\r\n", "250 \x00\x7f\xff\r\n", "354-5.7.1 x\r\n354 5.7.1\r\n", "550 5.7.1x\r\n", "550 5.1234.1 x\r\n", "450 5.1.1 x\r\n", "250 a\rb\r\n",
		strings.Repeat("220-\n", 20) + "220 x\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		reply, err := readReply(bufio.NewReaderSize(bytes.NewReader(data), 16), testLimits)
		again, err2 := readReply(bufio.NewReader(iotest.OneByteReader(bytes.NewReader(data))), testLimits)
		if (err == nil) != (err2 == nil) || reply.Error() != again.Error() {
			t.Fatalf("%v %v, by octets %v %v", reply, err, again, err2)
		}
		code, lines, ok := plainReply(string(data))
		if err != nil {
			if ok && len(data) <= testLimits.Line && len(data) <= testLimits.Octets {
				t.Fatalf("%q: %v, want %d %q", data, err, code, lines)
			}
			return
		}
		if !ok || reply.Code != code || len(reply.Lines) != len(lines) {
			t.Fatalf("%q: %v, want %d %q", data, reply, code, lines)
		}
		for i, line := range reply.Lines {
			want := plainText(lines[i])
			if line != want && strings.TrimSpace(reply.Enh.String()+" "+line) != strings.TrimSpace(want) && !strings.HasSuffix(want, line) {
				t.Fatalf("%q: line %q, want %q", data, line, want)
			}
			if strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c == 0x7f }) || strings.ToValidUTF8(line, "") != line {
				t.Fatalf("%q: %q", data, line)
			}
		}
	})
}

// encode runs the encoder over a message in pieces of the given size.
func encode(e encoder, message []byte, piece int) (wire []byte, err error) {
	e.send = func(block []byte) error { wire = append(wire, block...); return nil }
	for len(message) > 0 && err == nil {
		n := min(piece, len(message))
		err = e.write(message[:n])
		message = message[n:]
	}
	if err == nil {
		err = e.end()
	}
	return wire, err
}

// plainEncode is what should come of a message, one octet after the other.
func plainEncode(message []byte, fix bool) (wire []byte, ok bool) {
	text := string(message)
	if strings.ContainsAny(strings.ReplaceAll(text, "\r\n", ""), "\r\n") && !fix {
		return nil, false
	}
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	text = strings.TrimSuffix(text, "\n")
	if len(message) == 0 {
		return []byte(".\r\n"), true
	}
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, ".") {
			line = "." + line
		}
		wire = append(wire, line+"\r\n"...)
	}
	return append(wire, ".\r\n"...), true
}

// FuzzEncoder: what goes over the wire is what naive dot-stuffing makes of the message, in whatever pieces it comes; there is no bare CR or LF in it,
// and the end of data at its end only.
func FuzzEncoder(f *testing.F) {
	for _, seed := range []string{"", ".", "..\r\n.\r\n", "a\r\n.b", "a\rb", "a\nb", "a\r\r\nb", "\r", "\n.\r\n", "a\r\n.\r\n.\r\n", "a\n.\nb", "a\r.\rb", "\r\n\r\n"} {
		f.Add([]byte(seed), uint8(1))
	}
	f.Fuzz(func(t *testing.T, message []byte, piece uint8) {
		for _, fix := range []bool{false, true} {
			want, ok := plainEncode(message, fix)
			wire, err := encode(encoder{dots: true, fix: fix}, message, int(piece)+1)
			if (err == nil) != ok || ok && !bytes.Equal(wire, want) {
				t.Fatalf("fix %v, %q: got %q %v, want %q", fix, message, wire, err, want)
			}
			if strings.ContainsAny(strings.ReplaceAll(string(wire), "\r\n", ""), "\r\n") {
				t.Fatalf("%q: bare in %q", message, wire)
			}
			if end := bytes.Index(append([]byte("\r\n"), wire...), []byte("\r\n.\r\n")); err == nil && end != len(wire)-3 || err != nil && end >= 0 {
				t.Fatalf("%q: end at %d of %q", message, end, wire)
			}
			chunk, err := encode(encoder{}, message, int(piece)+1)
			if bare, cr := bareNewline(message, false); (err != nil) != (bare || cr) || err == nil && !bytes.Equal(chunk, message) {
				t.Fatalf("%q: chunk %q %v", message, chunk, err)
			}
		}
	})
}

func TestLongMessagesGoOutInBlocks(t *testing.T) {
	message := bytes.Repeat([]byte(".0123456789\r\n"), 20000)
	want, _ := plainEncode(message, false)
	for _, piece := range []int{1, 7, 4096, blockSize, blockSize + 1, len(message)} {
		e := encoder{dots: true, buf: make([]byte, 0, blockSize)}
		wire, err := encode(e, message, piece)
		if err != nil || !bytes.Equal(wire, want) {
			t.Errorf("pieces of %d: %v", piece, err)
		}
	}
}
