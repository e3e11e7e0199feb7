package esmtp_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// falseEnds are what some server somewhere took for the end of data: the eleven of VU#302671 and its tools, and the rest of the
// twelve variants of smtpsmug and SMTP-Smuggling-Tools. None is CRLF.CRLF, so none ends anything (RFC 5321 §4.1.1.4).
var falseEnds = []string{
	"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n.\r", "\r\n.\r\r\n", "\r\n\x00.\r\n", "\r\n. \r\n",
	"\r.\n", "\r\n.\x00\r\n", "\r\r\n.\r\r\n",
}

// smuggled follows a false end: a session that must stay text. It has no end of data of its own.
const smuggled = "MAIL FROM:<e@e>\r\nRCPT TO:<e@e>\r\nDATA\r\nA: b\r\n\r\nevil\r\nQUIT\r\n"

// befores are what stands before a false end: text, a CRLF, or the start of the body. That of the whole data is there too.
var befores = []string{"A: b\r\n\r\ntext", "A: b\r\n\r\ntext\r\n", "A: b\r\n\r\n", ""}

// A fate is what becomes of a message.
type fate struct {
	name string
	hook string // that decides
	code int    // of the reply
	size int64  // limit
}

var fates = []fate{
	{"accepted", "", 250, 0},
	{"over size", "", 552, 30},
	{"refused by HEADER", "HEADER", 550, 0},
	{"refused by EOH", "EOH", 550, 0},
	{"refused by BODY", "BODY", 550, 0},
	{"refused by EOM", "EOM", 550, 0},
	{"panic in HEADER", "HEADER", 451, 0},
	{"panic in BODY", "BODY", 451, 0},
	{"panic in EOM", "EOM", 451, 0},
}

// fateful is the handler that lets a fate happen, and remembers what it got.
type fateful struct {
	esmtp.Default
	fate *fate
	got  *received
}

type received struct {
	mails, messages int
	header, body    []byte
}

func (h *fateful) decide(hook string) esmtp.Reply {
	switch {
	case h.fate.hook != hook:
		return esmtp.Reply{}
	case h.fate.code == 451:
		panic(hook)
	}
	return esmtp.Deny(h.fate.code, 5, 7, 1, "no")
}

func (h *fateful) MAIL(s *esmtp.Session, from esmtp.Path) esmtp.Reply {
	h.got.mails++
	return esmtp.OK()
}

func (h *fateful) HEADER(s *esmtp.Session, name, value string) esmtp.Reply {
	h.got.header = append(h.got.header, s.Field(name, value)...)
	return h.decide("HEADER")
}

func (h *fateful) EOH(*esmtp.Session, esmtp.HeaderEnd) esmtp.Reply { return h.decide("EOH") }

func (h *fateful) BODY(_ *esmtp.Session, chunk []byte) esmtp.Reply {
	h.got.body = append(h.got.body, chunk...)
	clear(chunk)            // it is ours while we are called …
	_ = append(chunk, 0, 0) // … and what lies behind it isn't
	return h.decide("BODY")
}

func (h *fateful) EOM(s *esmtp.Session) esmtp.Reply {
	r := h.decide("EOM")
	if r.IsZero() {
		h.got.messages++
	}
	return r
}

// stage is a server for one fate and one policy, used for many sessions.
type stage struct {
	srv    *esmtp.Server
	fate   *fate
	policy esmtp.BareNewlines
	got    received
}

func newStage(f *fate, policy esmtp.BareNewlines) *stage {
	st := &stage{fate: f, policy: policy}
	st.srv = &esmtp.Server{
		Hostname: "mx.example.org", BareNewlines: policy, Logger: slog.New(slog.DiscardHandler),
		Limits:     esmtp.Limits{MessageBytes: f.size},
		Timeouts:   esmtp.Timeouts{ErrorDelay: -1},
		NewHandler: func(*esmtp.Session) esmtp.Handler { return &fateful{fate: f, got: &st.got} },
	}
	return st
}

// codes runs a session and returns the codes of its replies.
func (st *stage) codes(segments ...[]byte) ([]int, error) {
	st.got = received{}
	conn := esmtptest.NewScriptConn(segments...)
	err := st.srv.ServeConn(conn)
	replies, parseErr := esmtptest.ParseReplies(conn.Output())
	if parseErr != nil {
		return nil, parseErr
	}
	codes := make([]int, len(replies))
	for i, r := range replies {
		codes[i] = r.Code
	}
	return codes, err
}

var anyNewline = regexp.MustCompile(`\r\n|\r|\n`)

// after returns what a policy makes of a text, and whether there was something to do.
func after(text []byte, policy esmtp.BareNewlines) (fixed []byte, bare bool) {
	fixed = anyNewline.ReplaceAllFunc(text, func(nl []byte) []byte {
		bare = bare || len(nl) == 1
		switch {
		case len(nl) == 1 && policy == esmtp.FixBare:
			return []byte("\r\n")
		case len(nl) == 1 && policy == esmtp.StripBare:
			return nil
		}
		return nl
	})
	return fixed, bare
}

// outcome is what has to come of a session with one message.
type outcome struct {
	replies  []int // 0 for the verdict
	verdicts []int // any of them
	accepted bool
	header   string
	body     []byte
}

// outcome tells what has to become of a message with this text; before are the replies that come before the verdict.
func (st *stage) outcome(text []byte, before ...int) outcome {
	fixed, bare := after(text, st.policy)
	rejected := bare && st.policy == esmtp.RejectBare
	o := outcome{replies: append(before, 0, 252, 221), verdicts: []int{st.fate.code}, accepted: st.fate.code == 250 && !rejected}
	if rejected && (st.fate.code == 250 || st.fate.hook == "EOM") {
		o.verdicts = []int{554}
	} else if rejected {
		o.verdicts = append(o.verdicts, 554) // whichever is seen first
	}
	if field, body, ok := bytes.Cut(fixed, []byte("\r\n\r\n")); ok && string(field) == "A: b" {
		o.header, o.body = "A: b\r\n", body
	}
	return o
}

// check runs a session, and checks that its message is the only one, and not a command.
func (st *stage) check(o outcome, segments ...[]byte) error {
	codes, err := st.codes(segments...)
	if err != nil || len(codes) != len(o.replies) {
		return fmt.Errorf("session ended with %v, replies %v, want %v", err, codes, o.replies)
	}
	for i, code := range o.replies {
		if codes[i] != code && (code != 0 || !slices.Contains(o.verdicts, codes[i])) {
			return fmt.Errorf("replies %v, want %v with %v for 0", codes, o.replies, o.verdicts)
		}
	}
	if st.got.mails != 1 || st.got.messages > 1 || o.accepted != (st.got.messages == 1) {
		return fmt.Errorf("%d MAIL and %d messages, accepted: %v", st.got.mails, st.got.messages, o.accepted)
	}
	if o.accepted && o.header != "" && (string(st.got.header) != o.header || !bytes.Equal(st.got.body, o.body)) {
		return fmt.Errorf("message is %q %q, want %q %q", st.got.header, st.got.body, o.header, o.body)
	}
	return nil
}

// everyFate runs f for each fate and policy. Fates that need a header don't happen to text without one.
func everyFate(t *testing.T, f func(t *testing.T, st *stage)) {
	for i := range fates {
		for policy := esmtp.RejectBare; policy <= esmtp.PassBare; policy++ {
			t.Run(fmt.Sprintf("%s/policy %d", strings.ReplaceAll(fates[i].name, " ", "_"), policy), func(t *testing.T) {
				t.Parallel()
				f(t, newStage(&fates[i], policy))
			})
		}
	}
}

// happens reports whether a fate can happen to a message.
func (f *fate) happens(text string) bool {
	return strings.HasPrefix(text, "A: b\r\n\r\n") || f.hook != "HEADER" && f.hook != "BODY" || f.hook == ""
}
