package esmtp_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// TestNothingInAChunkIsACommand is the matrix for BDAT, in which nothing ends the data but the count: false ends and true ones are
// content, and so is everything behind them (RFC 3030 §2).
func TestNothingInAChunkIsACommand(t *testing.T) {
	everyFate(t, func(t *testing.T, st *stage) {
		for _, prefix := range befores[:3] {
			for _, end := range append([]string{"\r\n.\r\n", "\r\r\n.\r\n"}, falseEnds...) {
				text := prefix + end + smuggled
				data := fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text)
				want := st.outcome([]byte(text), 220, 250, 250, 250)
				splits([]byte(beginning), []byte(data+ending), func(segments ...[]byte) {
					if err := st.check(want, segments...); err != nil {
						t.Fatalf("%q in %d segments: %v", prefix+end, len(segments), err)
					}
				})
			}
		}
	})
}

// TestChunksMakeOneMessage cuts a message into two chunks at every offset, a CRLF and a false end torn apart included: refused or not,
// both chunks are consumed and each gets its reply.
func TestChunksMakeOneMessage(t *testing.T) {
	everyFate(t, func(t *testing.T, st *stage) {
		for _, end := range falseEnds {
			text := "A: b\r\n\r\ntext" + end + smuggled
			for i := range len(text) + 1 {
				script := fmt.Sprintf("%sBDAT %d\r\n%sBDAT %d LAST\r\n%s%s", beginning, i, text[:i], len(text)-i, text[i:], ending)
				codes, err := st.codes([]byte(script))
				if err != nil || len(codes) != 8 || codes[6] != 252 || codes[7] != 221 || st.got.mails != 1 {
					t.Fatalf("%q cut at %d: replies %v, %v", text, i, codes, err)
				}
				first, second := codes[4], codes[5]
				fixed, bare := after([]byte(text), st.policy)
				switch accepted := st.fate.code == 250 && (st.policy != 0 || !bare); {
				case accepted && (first != 250 || second != 250 || string(st.got.header)+"\r\n"+string(st.got.body) != string(fixed)):
					t.Fatalf("%q cut at %d: replies %v, got %q, want %q", text, i, codes, st.got.body, fixed)
				case !accepted && (second < 400 || st.got.messages > 0 || first >= 400 && second != 503):
					t.Fatalf("%q cut at %d: replies %v, %d messages", text, i, codes, st.got.messages)
				}
			}
		}
	})
}

// TestTheLargestSizeLimitIsALimit: one and a half times the largest number is no negative one.
func TestTheLargestSizeLimitIsALimit(t *testing.T) {
	st := newStage(&fate{code: 250, size: math.MaxInt64}, esmtp.RejectBare)
	text := "A: b\r\n\r\n" + strings.Repeat("x", 100<<10)
	for _, fate := range []fate{fates[0], fates[4]} {
		*st.fate = fate
		script := fmt.Sprintf("%sBDAT %d LAST\r\n%sMAIL FROM:<a@b>\r\nRCPT TO:<u@d>\r\nDATA\r\n%s\r\n.\r\n%s", beginning, len(text), text, text, ending)
		want := []int{220, 250, 250, 250, fate.code, 250, 250, 354, fate.code, 252, 221}
		if codes, err := st.codes([]byte(script)); err != nil || !slices.Equal(codes, want) {
			t.Errorf("%s: replies %v, %v, want %v", fate.name, codes, err, want)
		}
	}
}

// boundless is a client that goes on with the octets of its last segment for ever.
type boundless struct {
	*esmtptest.ScriptConn
	octets int64
}

func (c *boundless) Read(p []byte) (int, error) {
	n, err := c.ScriptConn.Read(p)
	if err == io.EOF {
		n, err = len(p), nil
		clear(p)
	}
	c.octets += int64(n)
	return n, err
}

// TestARefusedMessageIsReadWithinABound: a server without a size limit reads on behind a refusal, but not for ever.
func TestARefusedMessageIsReadWithinABound(t *testing.T) {
	for _, begin := range []string{"DATA\r\n", "BDAT 9000000000000000000 LAST\r\n"} {
		srv := &esmtp.Server{
			Hostname: "mx.example.org", Logger: slog.New(slog.DiscardHandler), Limits: esmtp.Limits{MessageBytes: -1},
			NewHandler: func(*esmtp.Session) esmtp.Handler { return &fateful{fate: &fates[4], got: new(received)} },
		}
		conn := &boundless{ScriptConn: esmtptest.NewScriptConn([]byte(beginning + begin + "A: b\r\n\r\ntext"))}
		if err := srv.ServeConn(net.Conn(conn)); !errors.Is(err, esmtp.ErrProtocol) || conn.octets > 65<<20 {
			t.Errorf("%q: ended with %v after %d octets", begin, err, conn.octets)
		}
	}
}
