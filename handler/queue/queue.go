// Package queue is a layer that keeps mail in a spool, to be delivered by a relay: 250 means that the message is on disk.
//
//	q := &queue.Queue{Spool: s}
//	srv := &esmtp.Server{NewHandler: esmtp.Stack(ours.NewLayer, q.NewLayer)}
//
// The one idea to hold: the body streams into a draft while it comes, and EOM commits the draft with one item for each destination, all of them
// or none. What the layers above have decided ([esmtp.Transaction].Send, Hold, Quarantine, Discard, Consume) is done there too. Where the
// client gets one reply for all, a recipient that a layer above failed for good is told of in a report to the sender; one that it failed for now has the whole
// message refused for now.
package queue

import (
	"slices"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/internal/mailtext"
	"github.com/caddy-esmtp/esmtp/relay/received"
	"github.com/caddy-esmtp/esmtp/spool"
)

// Queue keeps mail in a spool. Any number of sessions may use it at the same time. Set its fields before the first.
type Queue struct {
	// Spool is where the mail goes: a [spool.Spool].
	Spool Spool

	// NextHops are for all messages that have none of their own by [esmtp.Transaction].Send; as [github.com/caddy-esmtp/esmtp/relay/route]
	// reads them. Empty: what the relay is set to do.
	NextHops []string

	// Retry is the schedule of attempts for all messages that have none of their own; when it is over they are frozen. Empty: the relay's.
	Retry []time.Duration

	// Quarantine and Hold are the reason for keeping all messages in quarantine, or frozen, unless a layer above has decided otherwise.
	// Empty: they are sent.
	Quarantine string
	Hold       string

	// MaxHops is how many Received fields a message may have: with more it is taken to be going round in circles, and refused with 554 5.4.6.
	// Default 100 (RFC 5321 §6.3).
	MaxHops int
}

// Spool takes messages in. A [spool.Spool] is one.
type Spool interface {
	Create() *spool.Draft
	Room(n int64) error
}

// maxRecipients is how many recipients an item has at most: every server takes that many (RFC 5321 §4.5.3.1.8).
const maxRecipients = 100

// NewLayer makes the layer of a connection; it is an [esmtp.Layer]. It ends the stack: what is below it hears of the envelope, and keeps nothing.
func (q *Queue) NewLayer(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return &layer{Handler: next, queue: q}
}

type layer struct {
	esmtp.Handler
	queue *Queue

	draft *spool.Draft // of the message that is coming, nil before
	needs spool.Needs
	waive bool // TLS-Required: No
	hops  int  // Received fields
}

// EHLO offers what a queue can do: notifications, a time by which to deliver, TLS all the way, and, where users log in, a time before which not to
// deliver, and priorities.
func (l *layer) EHLO(s *esmtp.Session, domain string) esmtp.Reply {
	r := l.Handler.EHLO(s, domain)
	if !r.Accepted() || len(r.Lines) == 0 {
		return r
	}
	r.Lines = append(slices.Clip(r.Lines), "DELIVERBY", "REQUIRETLS")
	if len(s.Handler().Mechanisms(s)) > 0 {
		r.Lines = append(r.Lines, futureRelease(time.Now()), "MT-PRIORITY MIXER")
	}
	return r
}

// MAIL keeps what is for users from others, and refuses what there is no room for before it comes.
func (l *layer) MAIL(s *esmtp.Session, from esmtp.Path) esmtp.Reply {
	if _, ok := from.ReleaseAt(time.Now()); ok && s.User() == "" {
		return replyNotYours // RFC 4865 §9: a server that lets anybody store mail lets anybody fill its disk
	}
	size, _ := from.Size()
	if err := l.queue.Spool.Room(size); err != nil { // RFC 1870 §6.1
		return refuse(s, err)
	}
	return l.Handler.MAIL(s, from)
}

// HEADER writes a field as it came, and counts the servers on the way.
func (l *layer) HEADER(s *esmtp.Session, name, value string) esmtp.Reply {
	if r := l.Handler.HEADER(s, name, value); !r.IsZero() {
		return r
	}
	if isReceived(name) {
		if l.hops++; l.hops > l.maxHops() {
			return replyLoop
		}
	}
	l.waive = l.waive || waivesTLS(name, value)
	field := s.Field(name, value)
	if l.needs&spool.Needs8Bit == 0 && mailtext.Has8Bit(field) {
		l.needs |= spool.Needs8Bit
		if s.Transaction().From().SMTPUTF8() { // RFC 6532; who didn't ask for it sends what servers have always passed on
			l.needs |= spool.NeedsUTF8
		}
	}
	return l.write(s, field)
}

// EOH writes what is between header and body.
func (l *layer) EOH(s *esmtp.Session, why esmtp.HeaderEnd) esmtp.Reply {
	if r := l.Handler.EOH(s, why); !r.IsZero() {
		return r
	}
	return l.write(s, []byte(s.Separator()))
}

// BODY writes a piece of the body.
func (l *layer) BODY(s *esmtp.Session, chunk []byte) esmtp.Reply {
	if r := l.Handler.BODY(s, chunk); !r.IsZero() {
		return r
	}
	if l.needs&spool.Needs8Bit == 0 && mailtext.Has8Bit(chunk) {
		l.needs |= spool.Needs8Bit
	}
	return l.write(s, chunk)
}

// EOM commits the message, if the layers below accept it.
func (l *layer) EOM(s *esmtp.Session) esmtp.Reply {
	r := l.Handler.EOM(s)
	if !r.IsZero() && !r.Accepted() {
		return r
	}
	if r := l.write(s, nil); !r.IsZero() {
		return r
	}
	return l.commit(s)
}

// write begins the draft if this is the first that comes of a message, and writes p.
func (l *layer) write(s *esmtp.Session, p []byte) esmtp.Reply {
	if l.draft == nil {
		draft := l.queue.Spool.Create()
		l.draft = draft
		s.Transaction().OnEnd(func() {
			draft.Abort()
			l.draft, l.needs, l.waive, l.hops = nil, 0, false, 0
		})
		if _, err := draft.Write(l.trace(s)); err != nil {
			return refuse(s, err)
		}
	}
	if _, err := l.draft.Write(p); err != nil {
		return refuse(s, err)
	}
	return esmtp.Reply{}
}

// trace is the Received field. It names the recipient if there is one (RFC 5321 §7.2).
func (l *layer) trace(s *esmtp.Session) []byte {
	to := ""
	if rcpts := s.Transaction().Recipients(); len(rcpts) == 1 {
		to = address(s, rcpts[0].Path).Address
	}
	return s.AppendReceived(nil, to)
}

func (l *layer) maxHops() int {
	if l.queue.MaxHops > 0 {
		return l.queue.MaxHops
	}
	return received.Limit
}
