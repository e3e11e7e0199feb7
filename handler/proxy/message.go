package proxy

import (
	"context"
	"io"
	"strings"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/internal/mailtext"
	"github.com/caddy-esmtp/esmtp/relay/received"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// writer is a message on its way to the next hop.
type writer interface {
	io.Writer
	End() ([]esmtp.Reply, error)
	Abort()
}

// DATA asks the next hop whether the message may come. Binary mail goes by BDAT, all other by DATA, however it comes.
func (l *layer) DATA(s *esmtp.Session) esmtp.Reply {
	r := l.Handler.DATA(s)
	switch {
	case !r.IsZero() && !r.Accepted():
		return r
	case !l.begun:
		return l.notBegun(s)
	case l.body != nil: // a layer above has refused the first DATA, after we had our 354
		l.body.Abort()
		return replyLost
	case l.accepted != len(s.Transaction().Recipients()):
		s.Logger().Error("a layer above has changed its mind about a recipient after the next hop had been asked", "transaction", s.Transaction().ID(),
			"next_hop", l.accepted, "session", len(s.Transaction().Recipients()))
		return replyNotOurs
	case s.Transaction().From().Body() == esmtp.BodyBinaryMIME:
		l.body = &chunks{ctx: s.Context(), conn: l.backend.Conn}
		return r
	}
	w, reply, err := l.backend.Data(s.Context())
	if err != nil {
		return l.answer(s, "DATA", err)
	}
	l.body = w
	return passOn(reply)
}

// HEADER hands on a field as it came, and counts the servers on the way.
func (l *layer) HEADER(s *esmtp.Session, name, value string) esmtp.Reply {
	if r := l.Handler.HEADER(s, name, value); !r.IsZero() {
		return r
	}
	if strings.EqualFold(name, "Received") {
		if l.hops++; l.hops > received.Limit {
			return l.cut(replyLoop)
		}
	}
	return l.write(s, s.Field(name, value))
}

// EOH hands on what is between header and body.
func (l *layer) EOH(s *esmtp.Session, why esmtp.HeaderEnd) esmtp.Reply {
	if r := l.Handler.EOH(s, why); !r.IsZero() {
		return r
	}
	return l.write(s, []byte(s.Separator()))
}

// BODY hands on a piece of the body.
func (l *layer) BODY(s *esmtp.Session, chunk []byte) esmtp.Reply {
	if r := l.Handler.BODY(s, chunk); !r.IsZero() {
		return r
	}
	return l.write(s, chunk)
}

// write hands on a piece of the message, after the Received field if it is the first.
func (l *layer) write(s *esmtp.Session, p []byte) esmtp.Reply {
	if l.body == nil {
		return replyNotHere // a layer above has said 354 without asking
	}
	if !l.traced {
		l.traced = true
		if r := l.write(s, s.AppendReceived(nil, onlyRecipient(s))); !r.IsZero() {
			return r
		}
	}
	if _, ok := l.backend.Extension("8BITMIME"); !ok && mailtext.Has8Bit(p) { // RFC 6152 §3
		return l.cut(replyNo8Bit)
	}
	if _, err := l.body.Write(p); err != nil {
		return l.cut(l.answer(s, "message", err))
	}
	return esmtp.Reply{}
}

// cut ends the message on the next hop's side, and the connection with it.
func (l *layer) cut(r esmtp.Reply) esmtp.Reply {
	if l.body != nil {
		l.body.Abort()
	}
	return r
}

// onlyRecipient is the recipient for the Received field, if there is but one (RFC 5321 §7.2).
func onlyRecipient(s *esmtp.Session) string {
	if rcpts := s.Transaction().Recipients(); len(rcpts) == 1 {
		return rcpts[0].Path.String()
	}
	return ""
}

// EOM ends the message, if everybody here agrees, and hands on what the next hop says.
func (l *layer) EOM(s *esmtp.Session) esmtp.Reply {
	r := l.Handler.EOM(s)
	if !r.IsZero() && !r.Accepted() {
		return r
	}
	if r := l.write(s, nil); !r.IsZero() {
		return r
	}
	if s.Transaction().Verdict().Disposition != esmtp.Keep {
		return l.cut(esmtp.Reply{}) // discarded or consumed; what can't be done here is 451 by the engine
	}
	if r, ok := l.agreed(s); !ok {
		return l.cut(r)
	}
	replies, err := l.body.End()
	l.body, l.begun = nil, false
	switch lmtp := l.backend.LMTP(); {
	case lmtp && len(replies) > 0:
		return l.each(s, replies)
	case err != nil:
		return l.answer(s, "message", err)
	}
	return passOn(replies[0])
}

// agreed reports whether no layer above has failed for a recipient. The next hop has them all, so the message can't go on to the others alone: they are to
// try again without that one, if they hear of it. If they don't, the refusal of that one is that of all.
func (l *layer) agreed(s *esmtp.Session) (r esmtp.Reply, ok bool) {
	tx, failed := s.Transaction(), 0
	rcpts := tx.Recipients()
	bad := make([]bool, len(rcpts))
	for i := range rcpts {
		if reply, set := tx.Outcome(i); set && !reply.IsZero() && !reply.Accepted() {
			bad[i] = true
			failed++
			if reply.Code/100 == 5 && r.Code/100 != 5 || r.IsZero() {
				r = reply // for good, if one is: to try again would end as this has
			}
		}
	}
	switch {
	case failed == 0:
		return r, true
	case failed == len(rcpts):
		return esmtp.Reply{}, false // each has its reply
	case !s.PerRecipient():
		return r, false
	}
	for i := range rcpts {
		if !bad[i] {
			tx.SetReply(i, replyNotOurs)
		}
	}
	return esmtp.Reply{}, false
}

// each gives the recipients the replies of a next hop that speaks LMTP. Those that it didn't come to before it was lost are to be tried again.
func (l *layer) each(s *esmtp.Session, replies []esmtp.Reply) esmtp.Reply {
	tx := s.Transaction()
	var good esmtp.Reply
	for i := range tx.Recipients() {
		r := replyLost
		if i < len(replies) {
			r = passOn(replies[i])
		}
		if r.Code == 421 && len(tx.Recipients()) > 1 {
			r.Code = 451 // the other replies follow it
		}
		if r.Accepted() && good.IsZero() {
			good = r
		}
		tx.SetReply(i, r)
	}
	return good
}

// chunks sends a message by BDAT, for the next hop of binary mail (RFC 3030).
type chunks struct {
	ctx  context.Context // the session's
	conn *smtpclient.Conn
	buf  []byte
	err  error
}

// chunkSize is how much goes in a BDAT.
const chunkSize = 64 << 10

func (c *chunks) Write(p []byte) (int, error) {
	octets := len(p)
	for len(c.buf)+len(p) > chunkSize && c.err == nil {
		n := chunkSize - len(c.buf)
		c.buf = append(c.buf, p[:n]...)
		_, c.err = c.conn.Bdat(c.ctx, c.buf, false)
		c.buf, p = c.buf[:0], p[n:]
	}
	c.buf = append(c.buf, p...)
	return octets, c.err
}

func (c *chunks) End() ([]esmtp.Reply, error) {
	if c.err != nil {
		return nil, c.err
	}
	return c.conn.Bdat(c.ctx, c.buf, true)
}

func (c *chunks) Abort() { c.conn.Close() }
