package esmtp_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// A session without time limits that was woken up goes on waiting: it must not take the deadline that woke it for its own, and spin.
func TestWokenWithoutTimeLimitsItWaitsOn(t *testing.T) {
	for _, after := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			h := hearer{heard: new(heard)}
			srv := &esmtp.Server{
				NewHandler: func(*esmtp.Session) esmtp.Handler { return &h },
				Timeouts:   esmtp.Timeouts{Command: -1, Data: -1, Session: -1},
			}
			c := esmtptest.NewServer(t, srv).Dial()
			c.Run(opening)
			synctest.Wait()
			time.Sleep(after)
			for range 3 {
				srv.Session(srv.Sessions()[0].ID).Post("a")
				synctest.Wait() // for ever, if it spins
			}
			c.Run("C: BDAT 1\nC| x\nS: 250 *")
			srv.Session(srv.Sessions()[0].ID).Post("b")
			synctest.Wait()
			c.Run("C: RSET\nS: 250 *\nC: QUIT\nS: 221 *\nclose")
			synctest.Wait()
			if got, want := h.heard.String(), "[a a a b closed: <nil>]"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}
