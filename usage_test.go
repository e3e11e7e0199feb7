package esmtp_test

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

func TestInForceHasTheDefaultsFilledIn(t *testing.T) {
	srv := &esmtp.Server{Limits: esmtp.Limits{Recipients: 7, Errors: -1}, Rates: esmtp.Rates{Messages: 3}}
	limits, timeouts, rates := srv.InForce()
	if limits.Recipients != 7 || limits.Errors != 0 || limits.Connections != 2000 || timeouts.Session != 2*time.Hour || rates.Messages != 3 || rates.AuthFailures != 30 {
		t.Errorf("got %+v %+v %+v", limits, timeouts, rates)
	}
}

// Sessions are those of now, rates those of the last minute, and the busiest client is the first.
func TestUsageTellsTheBusiestClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &esmtp.Server{Rates: esmtp.Rates{Connections: 100, Messages: 100}}
		s := esmtptest.NewServer(t, srv)
		for range 2 {
			s.DialFrom(tcpAddr("192.0.2.1")).Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\nC: MAIL FROM:<a@b>\nS: 250 *")
		}
		quick := s.DialFrom(tcpAddr("192.0.2.2"))
		quick.Run("S: 220 *\nC: QUIT\nS: 221 *\nclose\nleave")
		synctest.Wait()
		u := srv.Usage(10)
		want := []esmtp.ClientUsage{
			{Client: netip.MustParsePrefix("192.0.2.1/32"), Sessions: 2, Connections: 2, Messages: 2},
			{Client: netip.MustParsePrefix("192.0.2.2/32"), Connections: 1},
		}
		if u.Sessions != 2 || len(u.Clients) != 2 || u.Clients[0] != want[0] || u.Clients[1] != want[1] {
			t.Errorf("got %+v, want %+v", u, want)
		}
		if u := srv.Usage(1); len(u.Clients) != 1 {
			t.Errorf("got %d clients, want 1", len(u.Clients))
		}
		time.Sleep(2 * time.Minute)
		if u := srv.Usage(10); len(u.Clients) != 1 || u.Clients[0].Messages != 0 {
			t.Errorf("after two minutes: %+v, want the sessions alone", u)
		}
	})
}

// Abort doesn't wait for the end of a message, as Kick does.
func TestAbortCutsAMessageOff(t *testing.T) {
	var h heard
	synctest.Test(t, func(t *testing.T) {
		srv := &esmtp.Server{NewHandler: func(*esmtp.Session) esmtp.Handler { return &hearer{heard: &h} }}
		c := esmtptest.NewServer(t, srv).Dial()
		c.Run(opening + "C: DATA\nS: 354 *\nC: half")
		synctest.Wait()
		s := srv.Session(srv.Sessions()[0].ID)
		s.Abort()
		c.ExpectClose()
		synctest.Wait()
		if err := s.Post("x"); !errors.Is(err, esmtp.ErrSessionOver) {
			t.Errorf("got %v, want ErrSessionOver", err)
		}
	})
	if got := h.String(); got != "[closed DATA closed: esmtp: server closed]" && got != "[closed: esmtp: server closed]" {
		t.Errorf("got %s", got)
	}
}
