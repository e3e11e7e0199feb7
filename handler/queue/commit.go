package queue

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/internal/mailtext"
	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/spool"
)

// commit does what was decided about the message, in one durable step.
func (l *layer) commit(s *esmtp.Session) esmtp.Reply {
	v := l.verdict(s)
	switch v.Disposition {
	case esmtp.Discarded, esmtp.Consumed:
		l.draft.Abort()
		return esmtp.Reply{}
	}
	if r := temporary(s); !r.IsZero() && !refused(v) {
		l.draft.Abort()
		return r
	}
	items, err := l.items(s, v)
	if err != nil {
		return refuse(s, err)
	}
	if len(items) == 0 { // each recipient has failed, and is told so
		l.draft.Abort()
		return esmtp.Reply{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTime)
	defer cancel()
	ids, err := l.draft.Commit(ctx, items...)
	if err != nil {
		return refuse(s, err)
	}
	s.Logger().Debug("spooled", "transaction", s.Transaction().ID(), "items", ids)
	l.takeOver(s)
	return esmtp.Deny(250, 2, 0, 0, "queued as "+ids[0].String())
}

// temporary is the reply for all where the client gets one and a layer above has failed for a recipient, but not for good. Nothing is kept then, and the client
// sends all of it again (RFC 5321 §4.2.1): the queue can't try that recipient itself, for whom the layer said no, and a report would call final what isn't.
func temporary(s *esmtp.Session) esmtp.Reply {
	if s.PerRecipient() {
		return esmtp.Reply{}
	}
	tx := s.Transaction()
	for i := range tx.Recipients() {
		if r, _ := tx.Outcome(i); !r.IsZero() && !r.Accepted() && r.Code/100 != 5 {
			return r
		}
	}
	return esmtp.Reply{}
}

// refused reports whether the client hears that the message is refused, though it is kept: then that is said of all recipients.
func refused(v esmtp.Verdict) bool { return !v.Reply.IsZero() && !v.Reply.Accepted() }

// commitTime bounds how long a client waits for its 250: it would give up itself.
const commitTime = 2 * time.Minute

// verdict is what the layers above have decided, or this queue.
func (l *layer) verdict(s *esmtp.Session) esmtp.Verdict {
	v := s.Transaction().TakeVerdict()
	if v.Disposition != esmtp.Keep {
		return v
	}
	switch q := l.queue; {
	case q.Quarantine != "":
		return esmtp.Verdict{Disposition: esmtp.Quarantine, Reason: q.Quarantine}
	case q.Hold != "":
		return esmtp.Verdict{Disposition: esmtp.Held, Reason: q.Hold}
	}
	return v
}

// items are the envelopes of a message, one for each destination.
func (l *layer) items(s *esmtp.Session, v esmtp.Verdict) (items []*spool.Item, err error) {
	own, failed := l.split(s)
	envelopes := v.Envelopes
	if len(envelopes) == 0 {
		envelopes = []esmtp.Envelope{{From: s.Transaction().From(), To: own}}
	}
	for _, e := range envelopes {
		if len(e.To) == 0 && len(v.Envelopes) > 0 {
			return nil, errNoRecipient
		}
		if len(e.NextHops) == 0 {
			e.NextHops = l.queue.NextHops
		}
		if len(e.Retry) == 0 {
			e.Retry = l.queue.Retry
		}
		items = append(items, l.envelope(s, v, e)...)
	}
	if len(items) > 0 && len(failed) > 0 && !refused(v) {
		items = append(items, l.failedItem(s, failed))
	}
	return items, nil
}

// failedItem is the envelope that becomes a report on those who have failed. It is due at once, even if the message is to be held.
func (l *layer) failedItem(s *esmtp.Session, failed []spool.Recipient) *spool.Item {
	item := l.item(s, s.Transaction().From(), esmtp.Verdict{})
	item.Recipients = failed
	item.Route = s.Transaction().From().Domain()
	item.NotBefore = time.Time{}
	return item
}

// errNoRecipient is a mistake of a layer above: to keep nothing is what Discard is for.
var errNoRecipient = errors.New("queue: an envelope to be sent has no recipient")

// split tells recipients that are to get the message from those for whom a layer above has failed. Where the client gets a reply for each it hears of those
// itself; where it gets one for all, and they have failed for good, it is told by a report, unless that one is of a failure.
func (l *layer) split(s *esmtp.Session) (to []esmtp.Path, failed []spool.Recipient) {
	tx := s.Transaction()
	for i, rcpt := range tx.Recipients() {
		r, set := tx.Outcome(i)
		if !set || r.IsZero() || r.Accepted() {
			to = append(to, rcpt.Path)
			continue
		}
		failed = append(failed, spool.Recipient{Path: address(s, rcpt.Path), State: spool.Failed, Reply: r.Error(), Tried: time.Now()})
	}
	if s.PerRecipient() {
		failed = nil
	}
	return to, failed
}

// takeOver makes one success of replies that differ: those that failed are in the spool, to be reported.
func (l *layer) takeOver(s *esmtp.Session) {
	if s.PerRecipient() {
		return
	}
	tx := s.Transaction()
	for i := range tx.Recipients() {
		if _, set := tx.Outcome(i); set {
			tx.SetReply(i, esmtp.Reply{})
		}
	}
}

// envelope makes the items of one envelope: recipients of one domain share one, unless all go to the same hops.
func (l *layer) envelope(s *esmtp.Session, v esmtp.Verdict, e esmtp.Envelope) (items []*spool.Item) {
	byRoute := make(map[string]*spool.Item)
	for _, to := range e.To {
		rcpt := spool.Recipient{Path: address(s, to)}
		route := to.Domain()
		if route == "" {
			route = strings.ToLower(s.Hostname())
		}
		if len(e.NextHops) > 0 {
			route = e.NextHops[0]
		}
		item := byRoute[route]
		if item == nil || len(item.Recipients) == maxRecipients {
			item = l.item(s, e.From, v)
			item.Route, item.NextHops = route, e.NextHops
			if len(e.Retry) > 0 {
				item.Retry = append(slices.Clone(e.Retry), relay.Stop)
			}
			byRoute[route] = item
			items = append(items, item)
		}
		if !mailtext.IsASCII(rcpt.Address) {
			item.Needs |= spool.NeedsUTF8
		}
		item.Recipients = append(item.Recipients, rcpt)
	}
	return items
}

// item is an envelope without recipients.
func (l *layer) item(s *esmtp.Session, from esmtp.Path, v esmtp.Verdict) *spool.Item {
	item := &spool.Item{Sender: sender(s, from), Needs: l.needs, WaivesTLS: l.waive, Origin: origin(s), Reason: v.Reason}
	switch v.Disposition {
	case esmtp.Held:
		item.State = spool.Frozen
	case esmtp.Quarantine:
		item.State = spool.Quarantined
	}
	own := s.Transaction().From() // what it asks for holds for all that comes of it
	if own.Body() == esmtp.BodyBinaryMIME {
		item.Needs |= spool.NeedsBinary
	}
	if own.RequireTLS() && !own.IsNull() { // of a report it is only a wish (RFC 8689 §5)
		item.Needs |= spool.NeedsRequireTLS
		item.WaivesTLS = false // RFC 8689 §3
	}
	if !mailtext.IsASCII(item.Sender.Address) {
		item.Needs |= spool.NeedsUTF8
	}
	if at, ok := own.ReleaseAt(time.Now()); ok {
		item.NotBefore = at // RFC 4865 §4
	}
	if level, ok := own.Priority(); ok && s.User() != "" { // RFC 6710 §5.1: whoever is nobody has none to give
		item.Priority = level
	}
	return item
}

// origin is where the message came from: if a filter has passed it on, and we believe it, before that.
func origin(s *esmtp.Session) spool.Origin {
	o := spool.Origin{Session: s.ID(), Transaction: s.Transaction().ID(), Helo: s.HELO(), User: s.User(), Protocol: s.Protocol()}
	if f := s.Forwarded(); f.Given {
		o.Name, o.Helo, o.Protocol, o.Port = f.Name, f.HELO, f.Proto, int(f.Port)
		if f.Addr.IsValid() {
			o.Client = f.Addr.String()
		}
		return o
	}
	o.Name, _ = s.RemoteName()
	if tcp, ok := s.RemoteAddr().(*net.TCPAddr); ok {
		if addr, ok := netip.AddrFromSlice(tcp.IP); ok {
			o.Client, o.Port = addr.Unmap().String(), tcp.Port
		}
	}
	return o
}

// sender is the reverse-path as it is kept. Who is not logged in has no priority to give, and vouches for nobody (RFC 6710 §5.1, RFC 4954 §5).
func sender(s *esmtp.Session, from esmtp.Path) spool.Path {
	p := spool.PathOf(from)
	if s.User() == "" {
		p.Params = strings.Join(slices.DeleteFunc(strings.Fields(p.Params), func(param string) bool {
			name, _, _ := strings.Cut(param, "=")
			return strings.EqualFold(name, "AUTH") || strings.EqualFold(name, "MT-PRIORITY")
		}), " ")
	}
	return p
}

// address is the address of a recipient as it is kept; that of <postmaster> gets our own name (RFC 5321 §4.5.1).
func address(s *esmtp.Session, to esmtp.Path) spool.Path {
	p := spool.PathOf(to)
	if to.Domain() == "" && !to.IsNull() {
		p.Address += "@" + strings.Trim(s.Hostname(), ".")
	}
	return p
}

var (
	replyFull     = esmtp.Deny(452, 4, 3, 1, "Insufficient system storage") // RFC 5321 §4.2.3
	replyError    = esmtp.Deny(451, 4, 3, 0, "Message can't be queued now, try again later")
	replyNotYours = esmtp.Deny(550, 5, 7, 1, "Only users who are logged in can have mail held")
	replyLoop     = esmtp.Deny(554, 5, 4, 6, "Too many hops, this message goes round in circles") // RFC 5321 §6.3
)

// refuse is the reply to an error of the spool. It is ours alone: the client is told only whether there is no room.
func refuse(s *esmtp.Session, err error) esmtp.Reply {
	s.Logger().Error("message can't be queued", "transaction", s.Transaction().ID(), "error", err)
	if errors.Is(err, spool.ErrFull) {
		return replyFull
	}
	return replyError
}
