package esmtp_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"pgregory.net/rapid"
)

// chunky takes the body in chunks of a size, in line mode or not, and changes both as it goes.
type chunky struct {
	esmtp.Default
	sizes  []int // of the chunks to come; the last one holds
	lines  []bool
	chunks [][]byte
	size   int
	mode   bool
	short  string // what is wrong with the chunk before unless it was the last
	half   bool   // the chunk before ended with a CR, though there was room for its LF in the next one
	wrong  string
}

func (h *chunky) turn(s *esmtp.Session) {
	n := len(h.chunks)
	h.size = h.sizes[min(n, len(h.sizes)-1)]
	h.mode = h.lines[min(n, len(h.lines)-1)]
	s.SetChunkSize(h.size)
	s.SetChunkMode(!h.mode)
}

func (h *chunky) EOH(s *esmtp.Session, _ esmtp.HeaderEnd) esmtp.Reply {
	h.turn(s)
	return esmtp.Reply{}
}

func (h *chunky) BODY(s *esmtp.Session, chunk []byte) esmtp.Reply {
	short := ""
	switch whole := bytes.HasSuffix(chunk, []byte("\r\n")); {
	case h.short != "":
		h.wrong = h.short
	case len(chunk) == 0:
		h.wrong = "empty chunk"
	case h.half && chunk[0] == '\n':
		h.wrong = "a CRLF was torn apart"
	case len(chunk) > h.size:
		h.wrong = fmt.Sprintf("chunk of %d octets, want %d at most", len(chunk), h.size)
	case h.mode && bytes.Contains(bytes.TrimSuffix(chunk, []byte("\r\n")), []byte("\r\n")):
		h.wrong = fmt.Sprintf("two lines in %q", chunk)
	case h.mode && !whole && len(chunk) < h.size-1:
		short = fmt.Sprintf("%q is neither a line, nor as large as a chunk can be, nor the last", chunk)
	}
	h.short = short
	h.half = h.mode && h.size > 1 && bytes.HasSuffix(chunk, []byte("\r"))
	h.chunks = append(h.chunks, bytes.Clone(chunk))
	h.turn(s)
	return esmtp.Reply{}
}

// chunksOf sends a body, by DATA or BDAT, in segments of some size, and returns what the handler got.
func chunksOf(h *chunky, body string, bdat bool, segment int) (string, error) {
	srv := &esmtp.Server{Hostname: "mx.example.org", BareNewlines: esmtp.PassBare, Logger: slog.New(slog.DiscardHandler), NewHandler: func(*esmtp.Session) esmtp.Handler { return h }}
	script := beginning + "DATA\r\n\r\n" + body + "\r\n.\r\nQUIT\r\n"
	if bdat {
		script = fmt.Sprintf("%sBDAT %d LAST\r\n\r\n%sQUIT\r\n", beginning, len(body)+2, body)
	}
	conn := esmtptest.NewScriptConn(esmtptest.Split([]byte(script), func() int { return segment })...)
	if err := srv.ServeConn(conn); err != nil {
		return "", fmt.Errorf("%w: %q", err, conn.Output())
	}
	got := string(bytes.Join(h.chunks, nil))
	if !bdat {
		got = strings.TrimSuffix(got, "\r\n")
	}
	if h.wrong != "" {
		return got, fmt.Errorf("%s", h.wrong)
	}
	return got, nil
}

// TestChunksAreTheBody: whatever the chunk size and the mode, and however both change while the body comes, the chunks are the body,
// none is empty or larger than asked for, and in line mode none holds more than a line, or less unless the line is too long.
func TestChunksAreTheBody(t *testing.T) {
	pieces := []string{"a\r\n", "long line of text\r\n", "\r\n", "\r", "\n", "\r\r\n", "x", "..", "\r\n\r\n"}
	rapid.Check(t, func(t *rapid.T) {
		var body strings.Builder
		for range rapid.IntRange(0, 40).Draw(t, "pieces") {
			body.WriteString(rapid.SampledFrom(pieces).Draw(t, "piece"))
		}
		bdat := rapid.Bool().Draw(t, "BDAT")
		text := body.String()
		if !bdat { // dots are the matrix's concern
			text = strings.ReplaceAll(text, ".", "d")
		}
		h := &chunky{
			sizes: rapid.SliceOfN(rapid.IntRange(1, 24), 1, 6).Draw(t, "sizes"),
			lines: rapid.SliceOfN(rapid.Bool(), 1, 6).Draw(t, "lines"),
		}
		got, err := chunksOf(h, text, bdat, rapid.IntRange(1, 60).Draw(t, "segment"))
		if err != nil || got != text {
			t.Fatalf("got %q, %v, want %q; chunks %q", got, err, text, h.chunks)
		}
	})
}

// TestLongLinesComeInPieces: a line as long as a chunk, or longer by some octets, never drags the next one along.
func TestLongLinesComeInPieces(t *testing.T) {
	for size := 1; size < 12; size++ {
		for length := range 30 {
			body := strings.Repeat("x", length) + "\r\nnext\r\n\r\nlast"
			for segment := 1; segment < 20; segment++ {
				h := &chunky{sizes: []int{size}, lines: []bool{true}}
				if got, err := chunksOf(h, body, true, segment); err != nil || got != body {
					t.Fatalf("size %d, line of %d, segments of %d: %v, chunks %q", size, length, segment, err, h.chunks)
				}
			}
		}
	}
}

// TestSetChunkSizeHasBounds: no chunk is larger than the read buffer, and none is empty, whatever was asked for.
func TestSetChunkSizeHasBounds(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 20<<10)
	for _, asked := range []int{-1, 0, 1 << 30} {
		size := min(max(asked, 1), 64<<10)
		text := body[:min(len(body), size*1000)]
		h := &chunky{sizes: []int{asked}, lines: []bool{false}}
		sized := &sizedChunky{chunky: h, size: size}
		srv := &esmtp.Server{Hostname: "mx.example.org", Logger: slog.New(slog.DiscardHandler), NewHandler: func(*esmtp.Session) esmtp.Handler { return sized }}
		conn := esmtptest.NewScriptConn([]byte(fmt.Sprintf("%sBDAT %d LAST\r\n\r\n%sQUIT\r\n", beginning, len(text)+2, text)))
		if err := srv.ServeConn(conn); err != nil || sized.wrong != "" || sized.n != len(text) {
			t.Errorf("asked for %d: %v, %s, %d octets", asked, err, sized.wrong, sized.n)
		}
	}
}

// sizedChunky counts instead of keeping.
type sizedChunky struct {
	*chunky
	size, n int
}

func (h *sizedChunky) BODY(_ *esmtp.Session, chunk []byte) esmtp.Reply {
	if len(chunk) == 0 || len(chunk) > h.size {
		h.wrong = fmt.Sprintf("chunk of %d octets", len(chunk))
	}
	h.n += len(chunk)
	return esmtp.Reply{}
}
