package relay

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/dsn"
	"github.com/caddy-esmtp/esmtp/relay/resolver"
	"github.com/caddy-esmtp/esmtp/spool"
)

// reports makes the report about an attempt, if the sender is to hear of something: a failure, a delay, success where that was asked
// for, or that the next hop will not report (RFC 3461 §5.2). All of it goes into one message. Its error is that of the spool, which can't keep it now.
func (a *attempt) reports(now time.Time) ([]spool.Report, error) {
	if a.from.IsNull() {
		a.markTold()
		return nil, nil
	}
	late := a.late(now)
	var list []dsn.Recipient
	for i := range a.rcpts {
		if rcpt, ok := a.recipient(&a.rcpts[i], late, now); ok {
			list = append(list, rcpt)
		}
	}
	if late {
		a.item.Warned = now
	}
	report, err := a.r.makeReport(a.item, a.from, list, now)
	if err != nil && !errors.Is(err, dsn.ErrNobody) {
		return nil, err
	}
	a.markTold()
	if err != nil {
		return nil, nil
	}
	a.last.Reports = 1
	return []spool.Report{report}, nil
}

// markTold marks those whose failure the sender has been told of, or need not be.
func (a *attempt) markTold() {
	for i := range a.item.Recipients {
		if rcpt := &a.item.Recipients[i]; rcpt.State == spool.Failed {
			rcpt.State = spool.FailedTold
			a.told = append(a.told, i)
		}
	}
}

// tellLater takes the report back, which could not be kept: those who failed are until it can. warned is when the sender was told of the delay
// before.
func (a *attempt) tellLater(now, warned time.Time) {
	for _, i := range a.told {
		a.item.Recipients[i].State = spool.Failed
	}
	a.item.Warned = warned
	a.item.State, a.item.Due = spool.Queued, now.Add(roomTime)
}

// roomTime is when to try again to keep a report.
const roomTime = 5 * time.Minute

// late reports whether it is time to tell the sender that the message is late.
func (a *attempt) late(now time.Time) bool {
	if a.last.Later == 0 {
		return false
	}
	if by, ok := a.from.DeliverBy(); ok && !by.Return && !now.Before(a.by) && a.item.Warned.Before(a.by) { // RFC 2852 §4
		return true
	}
	entered := a.item.Entered()
	return a.item.Warned.Before(entered) && a.r.Schedule.Warn > 0 && now.Sub(entered) >= a.r.Schedule.Warn
}

// recipient is what the report says of a recipient, if anything.
func (a *attempt) recipient(rcpt *recipient, late bool, now time.Time) (dsn.Recipient, bool) {
	d := dsn.Recipient{To: rcpt.to, Reply: rcpt.reply, RemoteMTA: a.remoteMTA(rcpt.host), LastAttempt: now}
	switch {
	case rcpt.fate == failed:
		d.Action = dsn.Failed
		d.Expired = rcpt.reply.Code/100 == 4 && !now.Before(a.until())
	case rcpt.fate == later && late:
		d.Action = dsn.Delayed
		d.RetryUntil = a.retryUntil()
	case rcpt.fate == accepted && a.traced():
		d.Action = dsn.Relayed // RFC 2852 §4
		return d, rcpt.to.Notify()&esmtp.NotifyNever == 0
	case rcpt.fate == accepted && !rcpt.dsn:
		d.Action = dsn.Relayed // RFC 3461 §5.2.2
	default:
		return d, false
	}
	return d, dsn.Wanted(rcpt.to, d.Action)
}

// remoteMTA is the host that gave a reply, as strangers may know it: a name of the DNS, or an address (RFC 3464 §2.3.5). What listens on a socket of
// this machine has neither, and a program on the web is no mail server: what these say is as if we had said it.
func (a *attempt) remoteMTA(host string) string {
	if hops := a.item.NextHops; len(hops) > 0 && isURL(hops[0]) {
		return ""
	}
	if _, err := netip.ParseAddr(host); err != nil && !resolver.IsName(host) {
		return ""
	}
	return host
}

// until is when the attempts end, unless the item has a schedule of its own.
func (a *attempt) until() time.Time {
	expires := a.r.Schedule.expires(a.item)
	if by, ok := a.from.DeliverBy(); ok && by.Return && a.by.Before(expires) {
		return a.by
	}
	return expires
}

// retryUntil is what the sender is told of that: nothing while a schedule of the item's own holds, which can end before it, frozen, or after it.
func (a *attempt) retryUntil() time.Time {
	until := a.until()
	if len(a.item.Retry) > 0 || until.Before(a.item.Due) {
		return time.Time{}
	}
	return until
}

// traced reports whether the sender wants to hear of each server on the way.
func (a *attempt) traced() bool {
	by, ok := a.from.DeliverBy()
	return ok && by.Trace
}

// makeReport makes a report of what there is to say. Its errors are [dsn.ErrNobody], and those of the spool, which can't keep it now.
func (r *Relay) makeReport(item *spool.Item, from esmtp.Path, list []dsn.Recipient, now time.Time) (report spool.Report, err error) {
	if len(list) == 0 {
		return report, dsn.ErrNobody
	}
	if item.Needs&spool.NeedsRequireTLS != 0 && !from.RequireTLS() { // what it was made of asked for it
		if from, err = esmtp.NewPath(from.String(), from.Params()+" REQUIRETLS"); err != nil {
			return report, err
		}
	}
	message, err := r.composeReport(item, dsn.Report{Hostname: r.Hostname, From: from, Arrived: item.Created(), Recipients: list, Now: now})
	if err != nil {
		return report, err
	}
	report.Draft = r.Spool.Create()
	if _, err := message.WriteTo(report.Draft); err != nil {
		report.Draft.Abort()
		return report, err
	}
	report.Items = []*spool.Item{r.reportItem(item, message)}
	return report, nil
}

// composeReport composes a report, without the original if that can't be read. Its error is [dsn.ErrNobody].
func (r *Relay) composeReport(item *spool.Item, report dsn.Report) (*dsn.Message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	original, err := r.Spool.OpenBody(ctx, item)
	if err == nil {
		defer original.Close()
		var message *dsn.Message
		if message, err = dsn.New(report, original); err == nil || errors.Is(err, dsn.ErrNobody) {
			return message, err
		}
	}
	r.log.Warn("the original can't be read for a report", "item", item.ID.String(), "error", err)
	return dsn.New(report, nil)
}

// reportItem is the envelope of a report.
func (r *Relay) reportItem(item *spool.Item, message *dsn.Message) *spool.Item {
	it := &spool.Item{
		Parent:     item.ID,
		Sender:     spool.PathOf(message.From),
		Recipients: []spool.Recipient{{Path: spool.PathOf(message.To)}},
		Route:      message.To.Domain(),
		Origin:     spool.Origin{Session: item.Origin.Session, Transaction: item.Origin.Transaction},
	}
	if message.From.SMTPUTF8() {
		it.Needs |= spool.NeedsUTF8
	}
	if message.From.Body() == esmtp.Body8BitMIME {
		it.Needs |= spool.Needs8Bit
	}
	return it
}
