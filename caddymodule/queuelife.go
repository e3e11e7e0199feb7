package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/spool"
)

// A spool is opened once, whatever configs use it; a relay belongs to one config. So a reload takes no lock twice, and mail that sessions
// of an old config accept is delivered by the relay of the new one.

// spools are the open ones, by their URL.
var spools = caddy.NewUsagePool()

// sharedSpool is an open spool, and those who look at it.
type sharedSpool struct {
	spool.Spool
	attempts attemptFeed
	stats    cachedStats
}

// Destruct closes the spool when the last config that used it is gone.
func (s *sharedSpool) Destruct() error { return s.Close() }

// queueLife is what a queue has while its config is at work.
type queueLife struct {
	shared *sharedSpool
	relay  *relay.Relay
	stop   context.CancelFunc
	done   chan struct{} // closed when the relay has ended
	once   sync.Once
}

// Create begins a message, and Room says whether there is room for one. They are for handlers, and so for the time when the config serves.
func (q *Queue) Create() *spool.Draft { return q.live.shared.Create() }

// Room is that of the spool.
func (q *Queue) Room(n int64) error { return q.live.shared.Room(n) }

// open opens the spools of all queues that are used.
func (set *queueSet) open() error {
	for _, q := range set.queues {
		if !q.used {
			continue
		}
		if err := q.open(); err != nil {
			return fmt.Errorf("esmtp: queue %s: %w", q.name, err)
		}
	}
	return nil
}

func (q *Queue) open() error {
	shared, _, err := spools.LoadOrNew(q.url, func() (caddy.Destructor, error) {
		s, err := spool.Open(context.Background(), q.url, q.options())
		return &sharedSpool{Spool: s}, err
	})
	if err != nil {
		return err
	}
	q.live.shared = shared.(*sharedSpool)
	return nil
}

// deliver starts the relays.
func (set *queueSet) deliver() error {
	for _, q := range set.queues {
		if q.live.shared == nil {
			continue
		}
		r, err := q.newRelay()
		if err != nil {
			return err // it was checked before
		}
		q.live.shared.Keep(time.Duration(q.KeepRemoved), time.Duration(q.KeepQuarantined)) // an earlier config may have opened it
		r.Spool, r.Observer = q.live.shared, q.observer()
		ctx, stop := context.WithCancel(context.Background())
		q.live.relay, q.live.stop, q.live.done = r, stop, make(chan struct{})
		go func() {
			defer close(q.live.done)
			if err := r.Run(ctx); err != nil && !errors.Is(err, spool.ErrClosed) {
				q.log.Error("relay ended", "error", err)
			}
		}()
		q.log.Info("delivering", "hostname", q.Hostname)
		q.warnUnused()
	}
	return nil
}

// leave ends the relays: they begin no more attempts.
func (set *queueSet) leave() {
	for _, q := range set.queues {
		if q.live.stop != nil {
			q.live.stop()
		}
	}
}

// cutOff ends the attempts that are still being made when ctx ends.
func (set *queueSet) cutOff(ctx context.Context) {
	for _, q := range set.queues {
		if q.live.relay == nil {
			continue
		}
		select {
		case <-q.live.done:
		case <-ctx.Done():
			q.live.relay.CutOff()
		}
	}
}

// close waits for the relays, and gives the spools back. No session is there any more.
func (set *queueSet) close() {
	for _, q := range set.queues {
		if q.live.shared == nil {
			continue
		}
		q.live.once.Do(func() {
			if q.live.done != nil {
				<-q.live.done
			}
			left := q.left()
			last, err := spools.Delete(q.url)
			if err != nil {
				q.log.Error("closing the spool", "error", err)
			}
			if last && len(left) > 0 {
				_, shown := shownSpool(q.url)
				q.log.Warn("no config has this spool any more: what is left in it waits for one that has", append(left, "spool", shown)...)
			}
		})
	}
}

// left is what would be stranded in the spool if nobody else has it: how many items there are in each state, but for those that somebody has removed. When
// Caddy exits it is nothing: the next start has the same config.
func (q *Queue) left() (counts []any) {
	if q.live.done == nil || caddy.Exiting() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), leftTime)
	defer cancel()
	stats, err := q.live.shared.Stats(ctx, 0)
	if err != nil {
		q.log.Error("looking at what is left in the spool", "error", err)
	}
	for _, state := range []spool.State{spool.Queued, spool.Sending, spool.Frozen, spool.Quarantined, spool.Damaged} {
		if n := stats.Count[state]; n > 0 {
			counts = append(counts, state.String(), n)
		}
	}
	return counts
}

// leftTime is how long the spool may take to say what is in it.
const leftTime = 10 * time.Second
