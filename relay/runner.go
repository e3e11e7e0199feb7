package relay

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddy-esmtp/esmtp/spool"
)

// leaseTime is how long an item is leased at a time; it is renewed while an attempt goes on. What a process leaves behind that died comes
// back after it, where the spool is shared.
const leaseTime = 3 * time.Minute

// pause is how long to wait when the spool doesn't answer.
var pause = time.Second

// Run delivers until ctx ends. Then no attempt is begun any more; those that are being made have StopTime, and what they leave stays in the
// spool. It returns nil, or [spool.ErrClosed]; failures of the database are logged and waited out. Call it once.
func (r *Relay) Run(ctx context.Context) error {
	r.prepare()
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var running sync.WaitGroup
	defer r.pool.close()
	over := make(chan struct{})
	defer close(over) // not before the last attempt is: it cuts them off
	defer running.Wait()
	context.AfterFunc(ctx, func() {
		select {
		case <-over:
		case <-r.cut:
		case <-time.After(r.StopTime):
		}
		cut()
	})
	for ctx.Err() == nil {
		ready := r.Spool.Ready()
		items, err := r.lease(ctx)
		switch {
		case errors.Is(err, spool.ErrClosed):
			return err
		case err != nil && ctx.Err() == nil:
			r.log.Error("leasing from the spool", "error", err)
			r.wait(ctx, nil, time.Now().Add(pause))
			continue
		}
		for _, item := range items {
			r.places.take()
			running.Go(func() { r.work(work, item) })
		}
		if len(items) == 0 {
			r.wait(ctx, ready, r.Spool.NextDue())
		}
	}
	r.ending.Store(true)
	r.pool.close()
	return nil
}

// lease takes as many items as there is room for.
func (r *Relay) lease(ctx context.Context) ([]*spool.Item, error) {
	free := r.places.free()
	if free <= 0 {
		return nil, nil
	}
	return r.Spool.Lease(ctx, spool.LeaseOptions{Max: free, TTL: leaseTime, PerRoute: r.PerRoute, Exclude: r.slots.exclude()})
}

// wait returns when there may be something to do: the spool has something new, an attempt is over, or an item becomes due.
func (r *Relay) wait(ctx context.Context, ready <-chan struct{}, due time.Time) {
	var timer <-chan time.Time
	if full := r.places.free() <= 0; !due.IsZero() && !full {
		t := time.NewTimer(max(time.Until(due), time.Millisecond))
		defer t.Stop()
		timer = t.C
	} else if full {
		ready = nil // nothing can be done about it
	}
	select {
	case <-ctx.Done():
	case <-ready:
	case <-r.freed:
	case <-timer:
	}
}

// wake lets Run look again.
func (r *Relay) wake() {
	select {
	case r.freed <- struct{}{}:
	default:
	}
}

// work makes one attempt, and settles it.
func (r *Relay) work(ctx context.Context, item *spool.Item) {
	defer func() {
		r.places.leave()
		r.wake()
	}()
	defer func() {
		if p := recover(); p != nil {
			r.logPanic(item, p)
			r.settle(ctx, item, func(it *spool.Item) { r.freeze(it, "panic while it was delivered") })
		}
	}()
	if r.held(ctx, item) {
		return
	}
	leased, release := r.keepLease(ctx, item)
	a := r.attempt(leased, item)
	release()
	switch {
	case a.broken != nil:
		r.log.Error("an item can't be read", "item", item.ID.String(), "error", a.broken)
		r.settle(ctx, item, func(it *spool.Item) { r.freeze(it, "its envelope can't be read: "+a.broken.Error()) })
	case a.damaged: // the spool has set it aside
	case !a.decided() && !a.accepted(): // it was cut off
		if err := r.Spool.Return(context.WithoutCancel(ctx), item); err != nil && !errors.Is(err, spool.ErrLeaseLost) {
			r.log.Error("giving an item back to the spool", "item", item.ID.String(), "error", err)
		}
	default:
		a.giveUp()
		r.finish(ctx, a)
	}
}

// keepLease renews the lease of an item, so that an attempt may take as long as the next hop does. The context ends if that fails: somebody else
// has the item. release must be called before the item is settled.
func (r *Relay) keepLease(ctx context.Context, item *spool.Item) (_ context.Context, release func()) {
	ctx, cancel := context.WithCancel(ctx)
	var mu sync.Mutex
	over := false
	var timer *time.Timer
	timer = time.AfterFunc(leaseTime/3, func() {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return
		}
		if err := r.Spool.Renew(ctx, leaseTime, item); errors.Is(err, spool.ErrLeaseLost) {
			r.log.Warn("lease was lost", "item", item.ID.String())
			cancel()
			return
		}
		timer.Reset(leaseTime / 3)
	})
	return ctx, func() {
		cancel() // a Renew that hangs ends
		mu.Lock()
		defer mu.Unlock()
		over = true
		timer.Stop()
	}
}
