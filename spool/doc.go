// Package spool is the durable mail queue: what a server answered with 250 is in it until it is delivered, bounced or removed.
//
// The one idea to hold: a message is one body and, for each destination, one [Item], the envelope on its way there. Everything that happens
// to mail is a change of items, and every change is one transaction of an SQL database: many sessions commit in the same one, so that they
// share its fsync. SQLite is built in; PostgreSQL is a change of URL.
//
//	s, err := spool.Open(ctx, "sqlite:///var/spool/esmtp", nil)
//	d := s.Create()
//	io.Copy(d, message)                        // pushed, and streamed to disk when large
//	ids, err := d.Commit(ctx, &spool.Item{     // on disk when it returns: now say 250
//		Sender:     spool.Path{Address: "ann@example.org"},
//		Recipients: []spool.Recipient{{Path: spool.Path{Address: "bob@example.net"}}},
//		Route:      "example.net",
//	})
//
// Whoever delivers leases what is due, tries, and settles:
//
//	for {
//		ready := s.Ready() // before Lease, so that nothing is missed
//		items, err := s.Lease(ctx, spool.LeaseOptions{Max: 100})
//		for _, item := range items {
//			body, err := s.OpenBody(ctx, item)
//			…
//			item.State = spool.Delivered // or Queued and Due, or Frozen
//			err = s.Settle(ctx, item)
//		}
//		if len(items) == 0 {
//			wait for ready, or until s.NextDue()
//		}
//	}
//
// Delivery is at least once: a process that dies between the 250 of the next hop and the commit of [Spool.Settle] delivers again. What
// was never acknowledged by [Draft.Commit] is not in the spool, but for one case that no queue can tell apart: it died after the
// commit and before its caller could say 250; the client then sends again, and there are two.
//
// # Reading on
//
// spool.go has all that a user of the package calls, item.go what is kept. draft.go takes bodies in, body.go gives them out. writer.go
// is the group commit and tx.go its statements; lease.go, lanes.go and held.go decide what is next; settle.go, moves.go and replace.go change items, list.go and
// stats.go look, check.go and sweep.go repair and clean, full.go is for a full disk. schema.go has the tables; sqlite.go and postgres.go, with
// their neighbours, are the two dialects of store.go.
package spool
