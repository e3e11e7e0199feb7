package esmtp_test

import (
	"testing"
	"testing/synctest"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// A server that takes over goes on counting where the one before it is, whose sessions still are there; and what a client did there isn't forgotten.
func TestClientsAreCountedOverServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clients := new(esmtp.Clients)
		serve := func() *esmtptest.Server {
			return esmtptest.NewServer(t, &esmtp.Server{Clients: clients, Limits: esmtp.Limits{ConnectionsPerAddress: 2}, Rates: esmtp.Rates{Messages: 2}})
		}
		const hello, mail = "S: 220 *\nC: EHLO a\nS: 250-*\nS: ...\n", "C: MAIL FROM:<a@b>\nS: 250 *\nC: RSET\nS: 250 *\n"
		old, young, one := serve(), serve(), tcpAddr("192.0.2.1")
		a := old.DialFrom(one)
		a.Run(hello + mail)
		b := young.DialFrom(one)
		b.Run(hello + mail + "C: MAIL FROM:<a@b>\nS: 450 4.7.1 *")
		young.DialFrom(one).Run("S: 421 *\nclose\nleave")
		synctest.Wait()
		if u := young.Usage(1).Clients; len(u) != 1 || u[0].Sessions != 2 || u[0].Messages != 3 {
			t.Errorf("got %+v", u)
		}
		a.Run("C: QUIT\nS: 221 *\nclose\nleave")
		synctest.Wait()
		young.DialFrom(one).Run("S: 220 *")
		young.DialFrom(tcpAddr("192.0.2.2")).Run("S: 220 *")
		b.Run("C: QUIT\nS: 221 *\nclose\nleave")
	})
}
