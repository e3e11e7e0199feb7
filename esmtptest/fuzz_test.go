package esmtptest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
)

// Teller is a handler of an author who left something out.
type Teller struct{ esmtp.Default }

// RCPT takes what it can tell apart, and breaks over what it can't.
func (Teller) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	if strings.Split(to.Raw(), "@")[1] != "d.example" { // <postmaster> has no '@'
		return esmtp.Deny(550, 5, 7, 1, "we do not relay")
	}
	return esmtp.OK()
}

func ExampleCheckSegments() {
	newHandler := func(*esmtp.Session) esmtp.Handler { return Teller{} }
	calls, err := CheckSegments([][]byte{[]byte("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nQUIT\r\n")}, newHandler)
	fmt.Println("in step:", err == nil)
	for _, c := range Panics(calls) {
		fmt.Println("panic in", c.Verb, c.Args[0])
	}
	// Output:
	// in step: true
	// panic in RCPT postmaster
}

// TestCheckFindsThePanic: random dialogues find what the author forgot.
func TestCheckFindsThePanic(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		calls, err := CheckSegments([][]byte{Dialogue(r.IntN)}, func(*esmtp.Session) esmtp.Handler { return Teller{} })
		if err != nil {
			t.Fatal(err)
		}
		if len(Panics(calls)) > 0 {
			return
		}
	}
	t.Error("no dialogue says <postmaster>")
}

// wild uses everything that a session lets a method set.
type wild struct {
	esmtp.Default
	r *rand.Rand
}

func (w *wild) touch(s *esmtp.Session) {
	switch w.r.IntN(30) {
	case 0:
		s.Disconnect(true)
	case 1:
		s.SetMaxSize(w.r.Int64N(300))
	case 2:
		s.SetChunkSize(w.r.IntN(30))
	case 3:
		s.SetChunkMode(w.r.IntN(2) == 0)
	case 4:
		s.Handle("XYZZY", func(*esmtp.Session, string) esmtp.Reply { return esmtp.OK("nothing happens") })
	case 5:
		s.Handle("STARTTLS", func(*esmtp.Session, string) esmtp.Reply { return esmtp.Say(454) })
	case 6:
		s.Context()
	}
}

func (w *wild) CONNECT(s *esmtp.Session) esmtp.Reply { w.touch(s); return esmtp.Reply{} }
func (w *wild) QUIT(s *esmtp.Session) esmtp.Reply {
	s.Disconnect(w.r.IntN(2) == 0)
	return esmtp.Reply{}
}
func (w *wild) MAIL(s *esmtp.Session, _ esmtp.Path) esmtp.Reply     { w.touch(s); return esmtp.Reply{} }
func (w *wild) RCPT(s *esmtp.Session, _ esmtp.Path) esmtp.Reply     { w.touch(s); return esmtp.Reply{} }
func (w *wild) DATA(s *esmtp.Session) esmtp.Reply                   { w.touch(s); return esmtp.Reply{} }
func (w *wild) HEADER(s *esmtp.Session, _, _ string) esmtp.Reply    { w.touch(s); return esmtp.Reply{} }
func (w *wild) EOH(s *esmtp.Session, _ esmtp.HeaderEnd) esmtp.Reply { w.touch(s); return esmtp.Reply{} }
func (w *wild) BODY(s *esmtp.Session, _ []byte) esmtp.Reply         { w.touch(s); return esmtp.Reply{} }
func (w *wild) EOM(s *esmtp.Session) esmtp.Reply                    { w.touch(s); return esmtp.Reply{} }
func (w *wild) UNKNOWN(s *esmtp.Session, verb, arg string) esmtp.Reply {
	w.touch(s)
	return esmtp.Reply{}
}

// TestCheckHoldsForAnyHandler: whatever a handler does with its session, it stays in step, and Check doesn't complain.
func TestCheckHoldsForAnyHandler(t *testing.T) {
	seed := uint64(0)
	Check(t, 300, 5, func(*esmtp.Session) esmtp.Handler {
		seed++
		return &wild{r: rand.New(rand.NewPCG(seed, 4))}
	}, func(srv *esmtp.Server) { srv.BareNewlines = esmtp.BareNewlines(seed % 4) })
}

const plainSession = "EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<u@d.example>\r\nRCPT TO:<v@e.example>\r\nDATA\r\nA: b\r\n\r\ntext\r\n.\r\nRSET\r\nQUIT\r\n"

// TestModelFindsWhatIsWrong doctors a session that was right.
func TestModelFindsWhatIsWrong(t *testing.T) {
	var rec *Recorder
	srv := quietServer(func(*esmtp.Session) esmtp.Handler {
		rec = Record(Teller{})
		return rec
	})
	conn := NewScriptConn([]byte(plainSession))
	srv.ServeConn(conn)
	output, calls := string(conn.Output()), rec.Calls
	model := func(output string, calls []Call) error {
		return NewModel(RulesOf(srv)).Check([]byte(plainSession), []byte(output), calls)
	}
	if err := model(output, slices.Clone(calls)); err != nil {
		t.Fatal(err)
	}
	for _, edit := range [][2]string{
		{"250 2.1.0", "550 5.1.0"}, {"250 2.1.0", "250 4.1.0"}, {"250 2.1.0", "250"}, {"250 2.1.0", "250-2.1.0"}, {"354 E", "354 3.0.0 E"}, {"354", "250"},
		{"221 2.0.0", "250 2.0.0 twice\r\n221 2.0.0"}, {"550 5.7.1 we do not relay\r\n", ""}, {"220 ", "220 2.0.0 \x00"}, {"221 ", "999 "}, {"relay\r\n", "relay\n"},
		{"relay", strings.Repeat("relay", 110)}, {"250 2.0.0 Message", "250 2.0.0 one\r\n500 5.5.1 text?\r\n250 2.0.0 Message"},
	} {
		if !strings.Contains(output, edit[0]) || model(strings.Replace(output, edit[0], edit[1], 1), slices.Clone(calls)) == nil {
			t.Errorf("%q for %q passes", edit[1], edit[0])
		}
	}
	for i, c := range calls {
		without := slices.Delete(slices.Clone(calls), i, i+1)
		twice := slices.Insert(slices.Clone(calls), i, c)
		if model(output, without) == nil || model(output, twice) == nil {
			t.Errorf("%s left out or called twice passes", c.Verb)
		}
		other := slices.Clone(calls)
		other[i].HELO = "other"
		if model(output, other) == nil {
			t.Errorf("%s with another HELO passes", c.Verb)
		}
		if other = slices.Clone(calls); len(c.Chunk) > 0 {
			other[i].Chunk = bytes.ToUpper(c.Chunk)
			if model(output, other) == nil {
				t.Errorf("%s with other octets passes", c.Verb)
			}
		}
	}
}

// TestAFailedReadEndsTheSession: what comes behind a read that failed in a message is no command.
func TestAFailedReadEndsTheSession(t *testing.T) {
	for _, begin := range []string{"DATA\r\nA: b\r\n", "BDAT 100\r\nA: b\r\n", ""} {
		srv := quietServer(func(*esmtp.Session) esmtp.Handler { return esmtp.Default{} })
		conn := NewScriptConn([]byte("EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"+begin), []byte("\r\n.\r\nNOOP\r\n"), []byte("QUIT\r\n"))
		conn.Fail(1, errors.New("broken"))
		err := srv.ServeConn(conn)
		replies, _ := ParseReplies(conn.Output())
		if err == nil || replies[len(replies)-1].Code == 221 || len(replies) > 5 {
			t.Errorf("%q: %v, %v", begin, err, replies)
		}
	}
}
