package esmtp_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// timed runs f in a bubble, where time passes only when all wait, with a client that is greeted.
func timed(t *testing.T, set func(*esmtp.Server), f func(t *testing.T, c *esmtptest.Client, log *calls)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv, log := newSpy(nil)
		if set != nil {
			set(srv)
		}
		c := esmtptest.Dial(t, srv)
		c.Patience = 0
		c.Expect("220 *")
		f(t, c, log)
	})
}

// within fails the test unless d has passed since begin, and not much more: deadlines have some slack.
func within(t *testing.T, begin time.Time, d time.Duration) {
	t.Helper()
	if got := time.Since(begin); got < d || got > d+d/16+10*time.Second {
		t.Errorf("got an end after %v, want one after %v", got, d)
	}
}

func wantReason(t *testing.T, log *calls, want error) {
	t.Helper()
	if got := log.end(t); !errors.Is(got, want) {
		t.Errorf("got reason %v, want %v", got, want)
	}
}

// drip sends octets every minute, until the server closes the connection.
func drip(t *testing.T, c *esmtptest.Client, octets string) {
	done := make(chan struct{})
	t.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		for {
			<-time.After(time.Minute)
			if _, err := c.Conn.Write([]byte(octets)); err != nil {
				return
			}
		}
	}()
}

// RFC 5321 §4.5.3.2.7: at least 5 minutes for a command.
func TestCommandTimeout(t *testing.T) {
	timed(t, nil, func(t *testing.T, c *esmtptest.Client, log *calls) {
		begin := time.Now()
		c.Expect("421 4.4.2 *")
		c.ExpectClose()
		within(t, begin, 5*time.Minute)
		wantReason(t, log, esmtp.ErrTimeout)
	})
}

func TestCommandTimeoutStartsAgainWithEachCommand(t *testing.T) {
	timed(t, nil, func(t *testing.T, c *esmtptest.Client, log *calls) {
		for range 10 {
			<-time.After(4 * time.Minute)
			c.Cmd("NOOP", "250 *")
		}
		begin := time.Now()
		c.Expect("421 4.4.2 *")
		within(t, begin, 5*time.Minute)
	})
}

// A command that comes octet by octet has no more time than any other.
func TestCommandTimeoutCountsFromItsBegin(t *testing.T) {
	timed(t, nil, func(t *testing.T, c *esmtptest.Client, log *calls) {
		begin := time.Now()
		drip(t, c, "N")
		c.Expect("421 4.4.2 *")
		within(t, begin, 5*time.Minute)
		c.Conn.Close()
		wantReason(t, log, esmtp.ErrTimeout)
	})
}

func TestCommandTimeoutCountsALineThatIsTooLong(t *testing.T) {
	timed(t, nil, func(t *testing.T, c *esmtptest.Client, log *calls) {
		begin := time.Now()
		c.SendRaw(strings.Repeat("x", 10000))
		c.Expect("421 4.4.2 *")
		within(t, begin, 5*time.Minute)
	})
}

func TestDataTimeout(t *testing.T) {
	timed(t, nil, func(t *testing.T, c *esmtptest.Client, log *calls) {
		c.Run(ehlo + envelope + "C: DATA\nS: 354 *\nC: half")
		begin := time.Now()
		c.Expect("421 4.4.2 *")
		c.ExpectClose()
		within(t, begin, 5*time.Minute)
		wantReason(t, log, esmtp.ErrTimeout)
		if strings.Contains(log.String(), "EOM") {
			t.Errorf("got calls\n%s, want no EOM", log)
		}
	})
}

// A message that drips is ended, although no single wait is too long.
// Row G50.
func TestMinDataRate(t *testing.T) {
	for _, script := range []string{"C: DATA\nS: 354 *", "C: BDAT 1000000"} {
		timed(t, nil, func(t *testing.T, c *esmtptest.Client, log *calls) {
			c.Run(ehlo + envelope + script)
			begin := time.Now()
			drip(t, c, "drip\r\n")
			c.Expect("421 4.4.2 *")
			within(t, begin, 5*time.Minute)
			c.Conn.Close()
			wantReason(t, log, esmtp.ErrTooSlow)
		})
	}
}

// At the least rate a message may take as long as it takes.
func TestMinDataRateIsEnough(t *testing.T) {
	timed(t, nil, func(t *testing.T, c *esmtptest.Client, log *calls) {
		c.Run(ehlo + envelope + "C: DATA\nS: 354 *")
		for range 30 {
			c.SendRaw(strings.Repeat(strings.Repeat("x", 98)+"\r\n", 300)) // 30000 octets: a minute's worth
			<-time.After(time.Minute)
		}
		c.Cmd(".", "250 *")
	})
}

func TestSessionTime(t *testing.T) {
	for _, script := range []string{"", ehlo + envelope + "C: DATA\nS: 354 *"} {
		begin := time.Duration(0)
		timed(t, nil, func(t *testing.T, c *esmtptest.Client, log *calls) {
			start := time.Now()
			c.Run(script)
			octets := "RSET\r\nEHLO me.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@me.example>\r\nDATA\r\n.\r\n"
			if script != "" {
				octets = strings.Repeat("x", 40000) + "\r\n"
			}
			drip(t, c, octets)
			for {
				line, err := c.ReadLine()
				if err != nil {
					c.Fatalf("got %q, %v, want 421", line, err)
				}
				if strings.HasPrefix(line, "421 4.3.2 ") {
					break
				}
			}
			begin = time.Since(start)
			c.Conn.Close()
			wantReason(t, log, esmtp.ErrSessionTime)
		})
		if begin < 2*time.Hour || begin > 2*time.Hour+time.Second {
			t.Errorf("got an end after %v, want 2h", begin)
		}
	}
}

// A client that takes no replies is left; nothing more is waited for.
func TestWriteTimeout(t *testing.T) {
	timed(t, func(srv *esmtp.Server) { srv.Limits.Junk = -1 }, func(t *testing.T, c *esmtptest.Client, log *calls) {
		begin := time.Now()
		for {
			c.Conn.SetWriteDeadline(time.Now().Add(time.Hour))
			if _, err := c.Conn.Write([]byte(strings.Repeat("NOOP\r\n", 1000))); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the server neither reads nor closes")
				}
				break
			}
		}
		within(t, begin, 5*time.Minute)
		wantReason(t, log, esmtp.ErrTimeout)
	})
}

func TestNoTimeouts(t *testing.T) {
	timed(t, func(srv *esmtp.Server) {
		srv.Timeouts = esmtp.Timeouts{Command: -1, Data: -1, Write: -1, Session: -1}
	}, func(t *testing.T, c *esmtptest.Client, log *calls) {
		<-time.After(1000 * time.Hour)
		c.Run(ehlo + envelope + "C: DATA\nS: 354 *\nC: half")
		<-time.After(1000 * time.Hour)
		c.Cmd(".", "250 *")
	})
}

// The counts that end a session with 421 (RFC 5321 §7.8).
func TestBudgets(t *testing.T) {
	errs := strings.Repeat("C: X\nS: 500 *\n", 20)
	junk := strings.Repeat("C: NOOP\nS: 250 *\n", 90)
	tiny := strings.Repeat(`C|BDAT 1\r\nx`+"\nS: 250 *\n", 99)
	mail := envelope + "C: DATA\nS: 354 *\nC: .\nS: 250 *\n"
	const gone = "S: 421 4.7.0 mx.example.org Too many errors, closing connection\nclose"
	runRows(t, []row{
		{name: "errors", script: greeting + errs + "C: X\n" + gone},
		{name: "QUIT is still answered", script: greeting + errs + "C: QUIT\nS: 221 *\nclose"},
		{name: "junk", script: greeting + junk + strings.Repeat("C: RSET\nS: 250 *\n", 10) + "C: VRFY x\n" + gone},
		{name: "tiny chunks", script: opening + tiny + `C|BDAT 1\r\nx` + "\n" + gone},
		{name: "a message starts both again", script: greeting + ehlo + errs + mail + errs + mail + junk + mail + junk + "C: NOOP\nS: 250 *"},
		{name: "a refused message is an error", on: answer("EOM", esmtp.Say(550)), set: func(srv *esmtp.Server) { srv.Limits.Errors = 1 },
			script: opening + "C: DATA\nS: 354 *\nC: .\nS: 550 *\n" + envelope + "C: DATA\nS: 354 *\nC: .\nS: 550 *\nC: NOOP\n" + gone},
		{name: "no limit", set: func(srv *esmtp.Server) { srv.Limits = esmtp.Limits{Errors: -1, Junk: -1} },
			script: greeting + errs + errs + junk + junk},
	})
}
