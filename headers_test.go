package esmtp_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// keeper writes down a message as a handler that stores it does.
type keeper struct {
	esmtp.Default
	got *bytes.Buffer
}

func (k *keeper) HEADER(s *esmtp.Session, name, value string) esmtp.Reply {
	k.got.Write(s.Field(name, value))
	return esmtp.Reply{}
}

func (k *keeper) EOH(s *esmtp.Session, why esmtp.HeaderEnd) esmtp.Reply {
	k.got.WriteString(s.Separator())
	return k.Default.EOH(s, why)
}

func (k *keeper) BODY(s *esmtp.Session, chunk []byte) esmtp.Reply {
	k.got.Write(chunk)
	return esmtp.Reply{}
}

// kept sends a message octet by octet or whole, and returns what a keeper got.
func kept(t *testing.T, policy esmtp.BadHeader, octets string, whole bool) string {
	t.Helper()
	var got bytes.Buffer
	c := esmtptest.Dial(t, &esmtp.Server{BadHeader: policy, NewHandler: func(*esmtp.Session) esmtp.Handler { return &keeper{got: &got} }})
	c.Run(opening + "C: DATA\nS: 354 *")
	if octets += ".\r\n"; whole {
		c.SendRaw(octets)
	} else {
		for i := range len(octets) {
			c.SendRaw(octets[i : i+1])
		}
	}
	c.Expect("250 *")
	return got.String()
}

// A24, A28: a message that is stored from Field, Separator and BODY is what was sent, octet for octet.
func TestFieldSeparatorAndBodyAreTheMessage(t *testing.T) {
	for _, octets := range []string{
		"", "\r\n", "A: b\r\n", "A: b\r\n\r\n", "A:b\r\nC :d\r\n e\r\n\tf\r\n\r\nbody\r\n\r\nmore\r\n", "A:\r\n \r\n b\r\n\r\n",
		"\r\nbody only\r\n", "A: \xff\xc3\x28\r\n\r\n\x00\xff\r\n", "A: b\r\n \r\n\r\nc\r\n", "A: " + strings.Repeat("b", 3000) + "\r\n\r\n",
	} {
		for _, whole := range []bool{true, false} {
			if got := kept(t, esmtp.InsertBlank, octets, whole); got != octets {
				t.Errorf("whole %v: got %q, want %q", whole, got, octets)
			}
		}
	}
}

// A28, A29: a line that is no field ends the header; what stands between is a policy.
func TestA28BadHeader(t *testing.T) {
	for _, test := range []struct{ octets, insert, keep string }{
		{"A: b\r\nno field\r\n", "A: b\r\n\r\nno field\r\n", "A: b\r\nno field\r\n"},
		{" fold\r\nA: b\r\n", "\r\n fold\r\nA: b\r\n", " fold\r\nA: b\r\n"},
		{": b\r\n", "\r\n: b\r\n", ": b\r\n"},
		{"A b: c\r\n", "\r\nA b: c\r\n", "A b: c\r\n"},
		{"A\x00: c\r\n", "\r\nA\x00: c\r\n", "A\x00: c\r\n"},
		{"\xc3\xa9: c\r\n", "\r\n\xc3\xa9: c\r\n", "\xc3\xa9: c\r\n"},
	} {
		if got := kept(t, esmtp.InsertBlank, test.octets, true); got != test.insert {
			t.Errorf("insert: got %q, want %q", got, test.insert)
		}
		if got := kept(t, esmtp.KeepBad, test.octets, false); got != test.keep {
			t.Errorf("keep: got %q, want %q", got, test.keep)
		}
	}
}

// changing is a layer that changes fields, adds one and drops one.
type changing struct{ esmtp.Handler }

func (c changing) HEADER(s *esmtp.Session, name, value string) esmtp.Reply {
	switch name {
	case "Subject":
		value = "[list] " + value
	case "Bcc":
		return esmtp.Reply{}
	case "From":
		if r := c.Handler.HEADER(s, "X-Seen", "yes"); !r.IsZero() {
			return r
		}
	}
	return c.Handler.HEADER(s, name, value)
}

func TestALayerCanChangeTheHeader(t *testing.T) {
	var got bytes.Buffer
	srv := &esmtp.Server{NewHandler: esmtp.Stack(
		func(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler { return changing{next} },
		func(*esmtp.Session, esmtp.Handler) esmtp.Handler { return &keeper{got: &got} },
	)}
	esmtptest.Run(t, srv, message(`From:  a\r\nBcc: b\r\nSubject: c\r\nX:\td\r\n\r\n.\r\n`)+"S: 250 *")
	if want := "X-Seen: yes\r\nFrom:  a\r\nSubject: [list] c\r\nX:\td\r\n\r\n"; got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}

// RFC 5321 §4.4: the trace field, which no name that a client gives can break out of.
func TestAppendReceived(t *testing.T) {
	date := ` (Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d+ \w+ \d{4} \d\d:\d\d:\d\d [-+]\d{4}` + "\r\n"
	for _, test := range []struct{ hello, mail, rcpt, from, want string }{
		{"EHLO me.example", "", "", "192.0.2.7", `Received: from me\.example \(\[192\.0\.2\.7\]\)` + "\r\n\t" +
			`by mx\.example\.org with ESMTP id [0-9a-z]{13}\.1;` + date},
		{"HELO me.example", "", "b@example.org", "2001:db8::7", `Received: from me\.example \(\[IPv6:2001:db8::7\]\)` + "\r\n\t" +
			`by mx\.example\.org with SMTP id [0-9a-z]{13}\.1` + "\r\n\t" + `for <b@example\.org>;` + date},
		{"EHLO a(b)<c>;d", " SMTPUTF8", "", "::ffff:192.0.2.7", `Received: from a\?b\?\?c\?\?d \(\[192\.0\.2\.7\]\)` + "\r\n\t" +
			`by mx\.example\.org with UTF8SMTP id [0-9a-z]{13}\.1;` + date},
	} {
		var got []byte
		srv, _ := newSpy(do("RCPT", func(s *esmtp.Session) { got = s.AppendReceived(nil, test.rcpt) }))
		c := esmtptest.NewServer(t, srv).DialFrom(tcpAddr(test.from))
		c.Run(greeting + "C: " + test.hello + "\nS: ...\nC: MAIL FROM:<>" + test.mail + "\nC: RCPT TO:<b@example.org>\nS: 250 *\nS: 250 *")
		if !regexp.MustCompile("^" + test.want + "$").Match(got) {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// The context watches the connection while a hook is at work; what it reads ahead must not disturb a chunk of the buffer.
func TestContextInAMessageKeepsTheOctets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got bytes.Buffer
		more := make(chan struct{})
		c := esmtptest.Dial(t, &esmtp.Server{NewHandler: func(*esmtp.Session) esmtp.Handler {
			return watching{&keeper{got: &got}, more}
		}})
		c.Patience = 0
		c.Run(opening + "C: DATA\nS: 354 *")
		c.SendRaw("A: b\r\nC: d\r\n\r\nbody\r\n")
		<-more
		c.SendRaw(".\r\n")
		synctest.Wait() // the watcher has read the dot
		<-more
		c.Expect("250 *")
		if want := "A: b\r\nC: d\r\n\r\nbody\r\n"; got.String() != want {
			t.Errorf("got %q, want %q", got.String(), want)
		}
	})
}

type watching struct {
	esmtp.Handler
	more chan struct{}
}

func (w watching) HEADER(s *esmtp.Session, name, value string) esmtp.Reply {
	s.Context()
	if name == "A" {
		w.more <- struct{}{}
		w.more <- struct{}{}
	}
	return w.Handler.HEADER(s, name, value)
}
