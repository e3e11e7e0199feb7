package esmtp

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestWhatEHLOReturnsIsAdvertisedAndEnabled: a keyword is on the wire exactly if it is offered, whatever else is among the lines.
func TestWhatEHLOReturnsIsAdvertisedAndEnabled(t *testing.T) {
	srv := &Server{Hostname: "mx.example.org", Logger: slog.New(slog.DiscardHandler)}
	if err := srv.start(); err != nil {
		t.Fatal(err)
	}
	line := rapid.OneOf(
		rapid.SampledFrom([]string{"SIZE 10", "size", "DSN ", "SMTPUTF8", "LIMITS RCPTMAX=2 MAILMAX=x", "X y z", "", " ", "-X", "X\nY", "é", "HELP\r\nDSN", "X\x00", strings.Repeat("L", 507), strings.Repeat("L", 506)}),
		rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("X%d", rapid.IntRange(0, 300).Draw(t, "n")) }),
	)
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(line, 0, 30).Draw(t, "lines")
		for i := range rapid.SampledFrom([]int{0, 90, 110}).Draw(t, "more") {
			lines = append(lines, fmt.Sprintf("Z%d", i))
		}
		s := newSession(srv, nil)
		out := string(appendReply(nil, Reply{Code: 250, Lines: s.offer(lines)}, replyFormat{keywords: true}))
		written := map[string]bool{}
		for i, text := range strings.Split(strings.TrimSuffix(out, "\r\n"), "\r\n") {
			keyword, _, _ := strings.Cut(text[4:], " ")
			if i > 0 {
				written[strings.ToUpper(keyword)] = true
			}
			if i > 0 && !isKeyword(keyword) {
				t.Fatalf("%q advertises %q", lines, text)
			}
		}
		for _, l := range append(lines, "DSN", "Y", "SMTPUTF8") {
			keyword, _, _ := strings.Cut(l, " ")
			if _, ok := s.Offers(keyword); ok != written[strings.ToUpper(keyword)] {
				t.Fatalf("%q: %q is enabled: %v, but written as %q", lines, keyword, ok, out)
			}
		}
	})
}
