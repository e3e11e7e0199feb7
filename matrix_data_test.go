package esmtp_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

const (
	beginning = "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<u@d>\r\n"
	ending    = "VRFY me\r\nQUIT\r\n"
)

// unstuffed is what a message says that was sent by DATA: lines end with CRLF, and a dot that begins one goes (RFC 5321 §4.5.2).
func unstuffed(data string) (text []byte) {
	for line := range bytes.SplitAfterSeq([]byte(data), []byte("\r\n")) {
		text = append(text, bytes.TrimPrefix(line, []byte("."))...)
	}
	return text
}

// splits calls f with segments: all in one, octet by octet, and cut at every offset of data; head comes before, in a segment of its
// own unless all is one. With -short and under the race detector most offsets are left out.
func splits(head, data []byte, f func(segments ...[]byte)) {
	whole := append(bytes.Clone(head), data...)
	f(bytes.Clone(whole))
	f(esmtptest.Octets(bytes.Clone(whole))...)
	step := 1
	if slowly || testing.Short() {
		step = 7
	}
	for i := 1; i < len(data); i += step {
		f(head, data[:i], data[i:])
	}
}

// TestOnlyCRLFDotCRLFEndsData is the smuggling matrix: whatever false end a message holds, wherever it is torn apart, whatever
// becomes of the message and whatever is done about bare newlines, what follows stays text up to the true end, gets one reply,
// and the command behind it is answered.
func TestOnlyCRLFDotCRLFEndsData(t *testing.T) {
	everyFate(t, func(t *testing.T, st *stage) {
		for _, prefix := range befores {
			for _, end := range falseEnds {
				data := prefix + end + smuggled
				if !st.fate.happens(data) {
					continue
				}
				want := st.outcome(unstuffed(data), 220, 250, 250, 250, 354)
				splits([]byte(beginning+"DATA\r\n"), []byte(data+".\r\n"+ending), func(segments ...[]byte) {
					if err := st.check(want, segments...); err != nil {
						t.Fatalf("%q in %d segments %q: %v", prefix+end, len(segments), segments[1:min(len(segments), 3)], err)
					}
				})
			}
		}
	})
}

// TestCRLFDotCRLFEndsDataBehindACR: the eleventh sequence, CR CRLF "." CRLF, holds the true end, so it ends the data, and the CR
// is content that the policy is about. It must not matter where it is torn apart.
func TestCRLFDotCRLFEndsDataBehindACR(t *testing.T) {
	for policy := esmtp.RejectBare; policy <= esmtp.PassBare; policy++ {
		st := newStage(&fates[0], policy)
		want := []int{220, 250, 250, 250, 354, 250, 252, 221}
		if policy == esmtp.RejectBare {
			want[5] = 554
		}
		for _, prefix := range befores {
			splits([]byte(beginning+"DATA\r\n"), []byte(prefix+"\r\r\n.\r\n"+ending), func(segments ...[]byte) {
				if codes, err := st.codes(segments...); err != nil || !slices.Equal(codes, want) {
					t.Fatalf("policy %d, %q: replies %v, %v, want %v", policy, segments, codes, err, want)
				}
			})
		}
	}
}

// TestPipelinedTailIsAnsweredOnce: a client that sends the whole session at once, as smtpsmug's pipelining test does, with a second
// transaction behind the true end, gets both answered, and nothing of the first runs into the second.
func TestPipelinedTailIsAnsweredOnce(t *testing.T) {
	everyFate(t, func(t *testing.T, st *stage) {
		for _, end := range falseEnds {
			data := "A: b\r\n\r\ntext" + end + smuggled
			script := beginning + "DATA\r\n" + data + ".\r\n" +
				"MAIL FROM:<c@d>\r\nRCPT TO:<u@d>\r\nDATA\r\n" + data + ".\r\n" + ending
			for _, segments := range [][][]byte{{[]byte(script)}, esmtptest.Octets([]byte(script))} {
				codes, err := st.codes(segments...)
				if err != nil || len(codes) != 12 || codes[5] != codes[9] {
					t.Fatalf("%q: replies %v, %v", end, codes, err)
				}
				if want := []int{250, 250, 354}; !slices.Equal(codes[6:9], want) || codes[10] != 252 || codes[11] != 221 || st.got.mails != 2 {
					t.Fatalf("%q: replies %v, %d MAIL", end, codes, st.got.mails)
				}
			}
		}
	})
}
