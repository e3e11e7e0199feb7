package wrap

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/spool"
)

// Options say how an item is released.
type Options struct {
	// Hostname is our name; see [Notice].
	Hostname string

	// Reason is what the recipients are told of why the message was held. Empty: the reason of the item, which was written for those who look
	// after the quarantine.
	Reason string
}

// Release sends a quarantined item wrapped, due now, to where the item would go, after the edit, which may be nil, of its envelope. The item is removed in the same
// step, and can be recovered for as long as all that is removed; the new one has it as its Parent.
//
// The sender stays who it was: 250 was a promise to deliver, or to say that it failed. Such a report has the header of the wrapping message only (RET=HDRS):
// what it says is for its recipients. Where the sender is not to hear of it at all, let the edit make it the null path.
//
// Errors are those of the spool: a [spool.ItemError] if the item can't be released.
func Release(ctx context.Context, s spool.Spool, id spool.ID, o Options, edit func(*spool.Item)) error {
	item, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	if item.State != spool.Quarantined { // before the work; whether it still is the spool finds out
		return &spool.ItemError{ID: id, Err: fmt.Errorf("%w: can't release item %s, it is %s", spool.ErrMove, id, item.State)}
	}
	next := envelope(item)
	if edit != nil {
		edit(next)
	}
	notice, err := newNotice(item, next, o)
	if err != nil {
		return &spool.ItemError{ID: id, Err: fmt.Errorf("%w: %w", spool.ErrItem, err)}
	}
	original, err := s.OpenBody(ctx, item)
	if err != nil {
		return err
	}
	defer original.Close()
	message, err := New(notice, original)
	if err != nil {
		return err
	}
	next.Needs = next.Needs&^(spool.Needs8Bit|spool.NeedsBinary) | message.needs(item, notice.From)
	next.Sender.Params = params(next.Sender.Params)
	draft := s.Create()
	defer draft.Abort()
	if _, err := message.WriteTo(draft); err != nil {
		return err
	}
	return s.ReleaseAs(ctx, id, spool.Report{Draft: draft, Items: []*spool.Item{next}})
}

// envelope is that of the original, as it begins anew.
func envelope(item *spool.Item) *spool.Item {
	next := &spool.Item{
		Sender: item.Sender, Recipients: slices.Clone(item.Recipients), Needs: item.Needs,
		Route: item.Route, NextHops: item.NextHops, Retry: item.Retry, Priority: item.Priority, NotBefore: item.NotBefore, Origin: item.Origin,
	}
	if item.Expires.After(time.Now()) { // as the spool does with one that is released as it is
		next.Expires = item.Expires
	}
	return next
}

// params are the parameters of MAIL without those that were about the original. SIZE and BODY are told by the item.
func params(original string) string {
	kept := []string{"RET=HDRS"}
	for param := range strings.SplitSeq(original, " ") {
		name, _, _ := strings.Cut(param, "=")
		switch strings.ToUpper(name) {
		case "", "SIZE", "BODY", "RET":
		default:
			kept = append(kept, param)
		}
	}
	return strings.Join(kept, " ")
}

// needs is what the next hop must be able to do. A message that isn't lines needs BINARYMIME only if the original did: else it came by DATA from one who is
// lenient, and goes by DATA, as it would without us.
func (m *Message) needs(original *spool.Item, from esmtp.Path) (n spool.Needs) {
	if m.EightBit {
		n |= spool.Needs8Bit
	}
	if m.Binary && (original.Needs&spool.NeedsBinary != 0 || from.Body() == esmtp.BodyBinaryMIME) {
		n |= spool.NeedsBinary
	}
	if m.UTF8 {
		n |= spool.NeedsUTF8
	}
	return n
}

// newNotice is what there is to say of an item that goes out with another envelope.
func newNotice(item, next *spool.Item, o Options) (n Notice, err error) {
	n = Notice{Hostname: o.Hostname, Reason: o.Reason, Arrived: item.Created(), UTF8: item.Needs&spool.NeedsUTF8 != 0, Now: time.Now()}
	if n.Reason == "" {
		n.Reason = item.Reason
	}
	if n.From, err = item.Sender.Path(); err != nil {
		return n, err
	}
	if n.To, err = paths(item.Recipients); err != nil {
		return n, err
	}
	n.Recipients, err = paths(next.Recipients)
	return n, err
}

func paths(rcpts []spool.Recipient) (list []esmtp.Path, err error) {
	for i := range rcpts {
		p, err := rcpts[i].Path.Path()
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}
