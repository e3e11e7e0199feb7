package relay

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-esmtp/esmtp/internal/mailtext"
	"github.com/caddy-esmtp/esmtp/spool"
)

// settleTime bounds how long the spool may take to write down what became of an item.
const settleTime = 30 * time.Second

// held asks BeforeAttempt. It reports whether there is to be no attempt now.
func (r *Relay) held(ctx context.Context, item *spool.Item) bool {
	if r.BeforeAttempt == nil {
		return false
	}
	d := r.BeforeAttempt(item)
	switch d.Action {
	case Delay:
		r.settle(ctx, item, func(it *spool.Item) { it.State, it.Due = spool.Queued, d.At })
	case Freeze:
		r.settle(ctx, item, func(it *spool.Item) { r.freeze(it, d.Reason) })
	case Remove:
		r.log.Info("removed before the attempt", "item", item.ID.String(), "reason", d.Reason)
		r.settle(ctx, item, func(it *spool.Item) { it.State = spool.Delivered })
	default:
		return false
	}
	return true
}

func (r *Relay) freeze(item *spool.Item, reason string) {
	item.State, item.Reason = spool.Frozen, reason
}

// maxKept is how much of a reply is kept, and logged, for each recipient: a server can say 64 KiB about each of a hundred.
const maxKept = 2 << 10

// finish writes down what became of an attempt, with the reports about it.
func (r *Relay) finish(ctx context.Context, a *attempt) {
	a.overrule()
	now := time.Now()
	item := a.item
	item.Attempts++
	item.Tried = now
	for i := range a.rcpts {
		rcpt := &a.rcpts[i]
		kept := &item.Recipients[rcpt.index]
		kept.Tried, kept.Reply = now, mailtext.Cut(rcpt.reply.Error(), maxKept)
		if rcpt.fate != accepted {
			item.LastError = kept.Reply
		}
		switch rcpt.fate {
		case accepted:
			kept.State = spool.Accepted
			a.last.Accepted++
		case failed:
			kept.State = spool.Failed
			a.last.Failed++
		case done:
			kept.State = spool.FailedTold
		case later:
			a.last.Later++
		}
	}
	if a.last.Later == 0 {
		item.State = spool.Delivered
	} else {
		a.postpone(now)
	}
	a.last.Reply = a.tellingReply()
	a.last.Took = time.Since(a.begun)
	r.logAttempt(a)
	r.record(ctx, a, now)
	if r.Observer != nil {
		r.Observer(a.last)
	}
}

// record settles the item of an attempt with the report about it, or if that can't be kept without it.
func (r *Relay) record(ctx context.Context, a *attempt, now time.Time) {
	warned := a.item.Warned
	reports, err := a.reports(now)
	if err != nil {
		r.log.Error("a report can't be kept now", "item", a.item.ID.String(), "error", err)
		a.tellLater(now, warned)
	}
	err = r.write(a.item, reports)
	if mayWrite(err) && len(reports) > 0 {
		if !errors.Is(err, spool.ErrItem) { // one that can't ever be kept is no reason to keep the message for ever
			a.tellLater(now, warned)
		}
		err = r.write(a.item, nil)
	}
	r.insist(ctx, a.item, err)
}

// overrule asks OnFailure about those that were not accepted.
func (a *attempt) overrule() {
	if a.r.OnFailure == nil {
		return
	}
	for i := range a.rcpts {
		rcpt := &a.rcpts[i]
		if rcpt.fate != failed && rcpt.fate != later {
			continue
		}
		switch a.askFate(Failure{Recipient: rcpt.to, Reply: rcpt.reply, Host: rcpt.host, Err: rcpt.err}) {
		case Permanent:
			rcpt.fate = failed
		case Later:
			rcpt.fate = later
		case Done:
			rcpt.fate = done
		}
	}
}

// askFate is OnFailure. If that panics the recipient is tried again; those that have the message are not to get it twice for it.
func (a *attempt) askFate(f Failure) (fate Fate) {
	defer func() {
		if p := recover(); p != nil {
			a.r.logPanic(a.item, p)
			fate = Later
		}
	}()
	return a.r.OnFailure(a.item, f)
}

// postpone says when those that remain are tried again: not later than they expire, and then they have failed. An item's own schedule goes on to
// its end whatever the relay's says of how long; it is people who have set it.
func (a *attempt) postpone(now time.Time) {
	item, schedule := a.item, a.r.Schedule
	expires := schedule.expires(item)
	if len(item.Retry) > 0 && item.Expires.IsZero() {
		expires = never
	}
	due, ok := schedule.next(item, now)
	if due.Before(a.notBefore) {
		due = a.notBefore
	}
	if by, asked := a.from.DeliverBy(); asked && by.Return && a.by.Before(expires) {
		expires = a.by
	} else if asked && a.by.After(now) && a.by.Before(due) {
		due = a.by // then the sender is to hear of it
	}
	switch {
	case !now.Before(expires):
		a.expire(now)
		item.State = spool.Delivered
		return
	case !ok:
		a.r.freeze(item, "tried as often as it was to be: "+item.LastError)
		return
	}
	if due.After(expires) {
		due = expires // once more, and then it is over
	}
	item.State, item.Due = spool.Queued, due
}

// never is later than everything.
var never = time.Unix(1<<40, 0)

// expire fails those that remain. What was said of them stands, and is what the report quotes (RFC 3464 §2.3.6): it was not said that it is for good.
func (a *attempt) expire(now time.Time) {
	for i := range a.rcpts {
		rcpt := &a.rcpts[i]
		if rcpt.fate != later {
			continue
		}
		rcpt.fate = failed
		a.item.Recipients[rcpt.index].State = spool.Failed
		a.last.Later--
		a.last.Failed++
	}
}

// settle changes an item that is leased, and writes it into the spool.
func (r *Relay) settle(ctx context.Context, item *spool.Item, change func(*spool.Item)) {
	change(item)
	r.insist(ctx, item, r.write(item, nil))
}

// insist writes an item again after err, until that succeeds or ctx ends: what is forgotten here is delivered twice. Meanwhile the item stays on lease,
// and keeps its place: if nothing can be written down no more is delivered than there are places.
func (r *Relay) insist(ctx context.Context, item *spool.Item, err error) {
	if mayWrite(err) {
		r.log.Error("what became of an item can't be written down yet", "item", item.ID.String(), "error", err)
	}
	for wait := pause; mayWrite(err); wait = min(2*wait, maxPause) {
		over := !r.hold(ctx, item, wait)
		if err = r.write(item, nil); over {
			break
		}
	}
	if err != nil && !errors.Is(err, spool.ErrClosed) {
		r.log.Error("what became of an item was not written down; it will be tried again", "item", item.ID.String(), "error", err)
	}
}

// maxPause is the longest time until something is written again: less than the spool keeps the lease for who could not settle.
const maxPause = 10 * time.Second

// mayWrite reports whether what could not be written because of err may be written later.
func mayWrite(err error) bool {
	return err != nil && !errors.Is(err, spool.ErrLeaseLost) && !errors.Is(err, spool.ErrClosed)
}

// hold keeps an item on lease for a while. It reports false if ctx ends first.
func (r *Relay) hold(ctx context.Context, item *spool.Item, d time.Duration) bool {
	wait, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	r.Spool.Renew(wait, leaseTime, item) // if it is lost Settle says so
	<-wait.Done()
	return ctx.Err() == nil
}

// write writes an item into the spool.
func (r *Relay) write(item *spool.Item, reports []spool.Report) error {
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	return r.Spool.Settle(ctx, item, reports...)
}
