package relay_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/spool"
)

// troubled is a spool that can't do all that it should.
type troubled struct {
	spool.Spool
	full    atomic.Int32 // how many reports there is no room for when they are settled
	writes  atomic.Int32 // and when they are written
	refused atomic.Int32
	unread  atomic.Int32 // how many bodies break off when they are read
	damaged bool
	settled atomic.Int32
	away    func(*spool.Item) bool // says whether an item can't be settled now
	renewed atomic.Int32
}

var errAway = errors.New("the database is away")

func (s *troubled) Settle(ctx context.Context, it *spool.Item, reports ...spool.Report) error {
	if len(reports) > 0 && s.full.Add(-1) >= 0 {
		s.refused.Add(1)
		for _, r := range reports {
			r.Draft.Abort()
		}
		return spool.ErrFull
	}
	if s.away != nil && s.away(it) {
		return errAway
	}
	if s.refused.Load() > 0 && it.State == spool.Queued {
		it.Due = time.Now() // there is room again
	}
	s.settled.Add(1)
	return s.Spool.Settle(ctx, it, reports...)
}

func (s *troubled) Renew(ctx context.Context, ttl time.Duration, items ...*spool.Item) error {
	s.renewed.Add(1)
	return s.Spool.Renew(ctx, ttl, items...)
}

func (s *troubled) Create() *spool.Draft {
	d := s.Spool.Create()
	if s.writes.Add(-1) >= 0 {
		s.refused.Add(1)
		d.Abort() // writing fails
	}
	return d
}

func (s *troubled) OpenBody(ctx context.Context, it *spool.Item) (io.ReadSeekCloser, error) {
	if s.damaged {
		return nil, spool.ErrDamaged
	}
	body, err := s.Spool.OpenBody(ctx, it)
	if err == nil && s.unread.Add(-1) >= 0 {
		return breaking{body}, nil
	}
	return body, err
}

// breaking is a body that can't be read.
type breaking struct{ io.ReadSeekCloser }

func (breaking) Read([]byte) (int, error) { return 0, errors.New("input/output error") }

// Where there is no room for the report of a failure, the failure is kept, and reported when there is.
func TestAReportWaitsForRoom(t *testing.T) {
	for name, set := range map[string]func(s *troubled){
		"when it is written": func(s *troubled) { s.writes.Store(2) },
		"when it is settled": func(s *troubled) { s.full.Store(2) },
	} {
		t.Run(name, func(t *testing.T) {
			hop := &nextHops{rcpt: func(to esmtp.Path) esmtp.Reply {
				if to.Domain() == "example.net" {
					return esmtp.Deny(550, 5, 1, 1, "unknown here")
				}
				return esmtp.Reply{}
			}}
			hop.serve(t, nil, false)
			d := mx("example.net", public[0])
			maps.Copy(d, mx("example.org", public[0]))
			r := newRig(t, d, map[string]string{public[0]: hop.addr})
			s := &troubled{Spool: r.Spool}
			r.put(text, item("ann@example.org", "bob@example.net"))
			set(s)
			r.Spool = s
			r.run(4) // with no room, with none again, with room, and the report
			if got := hop.letters(); len(got) != 1 || !strings.Contains(got[0].body, "unknown here") || s.refused.Load() != 2 || r.left() != "" {
				t.Errorf("got %+v after %d refusals, left %q", got, s.refused.Load(), r.left())
			}
		})
	}
}

// A report of which the original can't be read has none.
func TestAReportGoesOutWithoutItsOriginal(t *testing.T) {
	hop := new(nextHops).serve(t, nil, false)
	d := mx("example.org", public[0])
	r := newRig(t, d, map[string]string{public[0]: hop.addr}) // nobody knows example.net
	s := &troubled{Spool: r.Spool}
	s.unread.Store(1)
	r.Spool = s
	r.put(text, item("ann@example.org", "bob@example.net"))
	r.run(2)
	if got := hop.letters(); len(got) != 1 || !strings.Contains(got[0].body, "5.1.2") || strings.Contains(got[0].body, "Subject: hi") {
		t.Errorf("got %+v", got)
	}
}

// What became of an attempt is written down as soon as it can be, however long that takes: who has the message doesn't get it again. Mail for others is
// delivered meanwhile.
func TestWhatCanNotBeWrittenDownIsNotDeliveredTwice(t *testing.T) {
	defer relay.SetPause(time.Millisecond)()
	hop := &nextHops{rcpt: func(to esmtp.Path) esmtp.Reply {
		if to.Local() == "late" {
			return esmtp.Deny(450, 4, 2, 1, "later")
		}
		return esmtp.Reply{}
	}}
	hop.serve(t, nil, false)
	d := mx("example.net", public[0])
	maps.Copy(d, mx("example.org", public[0]))
	r := newRig(t, d, map[string]string{public[0]: hop.addr})
	r.Schedule.Retry = []time.Duration{time.Hour}
	r.Concurrency = 2
	s := &troubled{Spool: r.Spool}
	tries := 0
	s.away = func(it *spool.Item) bool {
		if it.Route != "example.net" {
			return false
		}
		tries++
		return tries < 8 || len(hop.letters()) < 4
	}
	r.Spool = s
	r.put(text, item("ann@example.org", "good@example.net", "late@example.net"))
	for range 3 {
		r.put(text, item("", "bob@example.org"))
	}
	if list := r.run(4); list[3].Item.Route != "example.net" {
		t.Errorf("the others had to wait: the last was for %s", list[3].Item.Route)
	}
	if got := hop.letters(); len(got) != 4 || r.left() != "queued good@example.net:accepted late@example.net:remaining" {
		t.Errorf("got %d letters, left %q", len(got), r.left())
	}
	if n := s.renewed.Load(); int(n) != tries-1 {
		t.Errorf("tried %d times, and renewed the lease %d times", tries, n)
	}
}

// Who is cut off doesn't wait for a database that is away.
func TestWhoIsCutOffInsistsOnNothing(t *testing.T) {
	defer relay.SetPause(time.Hour)()
	hop := new(nextHops).serve(t, nil, false)
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
	waits := make(chan struct{}, 2)
	r.Spool = &troubled{Spool: r.Spool, away: func(*spool.Item) bool { waits <- struct{}{}; return true }}
	r.put(text, item("ann@example.org", "bob@example.net"))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	<-waits
	cancel()
	select {
	case <-waits:
		t.Error("it was tried again before its time")
	case <-done:
		t.Error("it was given up before it was cut off")
	case <-time.After(10 * time.Millisecond):
	}
	r.CutOff()
	if err := <-done; err != nil || len(waits) != 1 {
		t.Errorf("%v, tried %d times in the end, want once", err, len(waits))
	}
}

// What is damaged was set aside by the spool; the relay has nothing to say about it any more.
func TestADamagedBodyIsLeftToTheSpool(t *testing.T) {
	hop := new(nextHops).serve(t, nil, false)
	r := newRig(t, mx("example.net", public[0]), map[string]string{public[0]: hop.addr})
	s := &troubled{Spool: r.Spool, damaged: true}
	r.Spool = s
	r.put(text, item("ann@example.org", "bob@example.net"))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	for hop.connections() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s.settled.Load() != 0 || len(hop.letters()) != 0 {
		t.Errorf("got %d settled, %d delivered; want nothing", s.settled.Load(), len(hop.letters()))
	}
}

// A message that the smarthost can't take is returned by that smarthost, so the report can't need what it lacks.
func TestAReportNeedsNothingThatTheHopLacks(t *testing.T) {
	const text = "Subject: Grüße\r\n\r\nÖ\r\n"
	for _, test := range []struct {
		name, lacks string
		needs       spool.Needs
		status      string
	}{
		{"8BITMIME", "8BITMIME", spool.Needs8Bit, "Status: 5.6.3"},
		{"SMTPUTF8", "SMTPUTF8", spool.Needs8Bit | spool.NeedsUTF8, "Status: 5.6.7"},
	} {
		t.Run(test.name, func(t *testing.T) {
			hop := &nextHops{ehlo: without(test.lacks)}
			hop.serve(t, nil, false)
			r := newRig(t, dns{}, nil)
			smarthost, err := route.ParseHop(hop.addr)
			if err != nil {
				t.Fatal(err)
			}
			r.NextHops = []route.Hop{smarthost}
			it := item("ann@example.org RET=FULL BODY=8BITMIME", "bob@example.net")
			if it.Needs = test.needs; test.needs&spool.NeedsUTF8 != 0 {
				it.Sender.Params += " SMTPUTF8"
			}
			r.put(text, it)
			r.run(2)
			got := hop.letters()
			if len(got) != 1 || !strings.HasPrefix(got[0].to[0], "ann@example.org") {
				t.Fatalf("got %+v, want the report", got)
			}
			for _, want := range []string{test.status, "Content-Type: message/global\r\n", "Subject: Gr=C3=BC=C3=9Fe\r\n\r\n=C3=96\r\n"} {
				if !strings.Contains(got[0].body, want) {
					t.Errorf("the report lacks %q:\n%s", want, got[0].body)
				}
			}
		})
	}
}

// without leaves an extension out of EHLO.
func without(keyword string) func(esmtp.Reply) esmtp.Reply {
	return func(r esmtp.Reply) esmtp.Reply {
		r.Lines = slices.DeleteFunc(slices.Clone(r.Lines), func(line string) bool { return line == keyword })
		return r
	}
}
