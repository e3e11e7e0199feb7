package proxy

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// Replies of our own.
var (
	replyNotHere  = esmtp.Deny(451, 4, 3, 0, "Message can't be handed on, try again later")
	replyLost     = esmtp.Deny(451, 4, 4, 2, "bad connection to the next host")
	replyLoop     = esmtp.Deny(554, 5, 4, 6, "Too many hops, this message goes round in circles") // RFC 5321 §6.3
	replyLacking  = esmtp.Deny(451, 4, 3, 3, "The next host can't do what a parameter asks for")  // RFC 3463 §3.4
	replyNo8Bit   = esmtp.Deny(554, 5, 6, 3, "the next host takes no 8-bit mail")                 // RFC 6152 §3
	replyNotOurs  = esmtp.Deny(451, 4, 3, 0, "Some recipients can't get this message now, try again later")
	replyNoSender = esmtp.Deny(451, 4, 3, 0, "The next host hasn't heard of this message")
)

// MAIL begins a transaction with the next hop, over the session's connection if it has one that is still good.
func (l *layer) MAIL(s *esmtp.Session, from esmtp.Path) esmtp.Reply {
	if r := l.Handler.MAIL(s, from); !r.IsZero() && !r.Accepted() {
		return r
	}
	ctx := s.Context()
	reply, err := l.begin(ctx, s, from)
	if err != nil {
		return l.answer(s, "MAIL", err)
	}
	l.begun, l.utf8 = true, from.SMTPUTF8()
	s.Transaction().OnEnd(l.end)
	return passOn(reply)
}

// begin says MAIL to the next hop. If the connection turns out to be dead another is made: no harm is done before MAIL is accepted.
func (l *layer) begin(ctx context.Context, s *esmtp.Session, from esmtp.Path) (reply esmtp.Reply, err error) {
	for range maxTries {
		reused := l.reusable(s)
		if !reused {
			l.leave()
			if l.backend, err = l.proxy.connect(ctx, s, l.proxy.claimFor(s)); err != nil {
				return reply, err
			}
		}
		reply, err = l.mail(ctx, s, from)
		switch {
		case err == nil || ctx.Err() != nil || !l.backend.Closed():
			return reply, err
		case reused: // the next hop has left while the client was silent; it can say so with 421
		case reply.Code == 421:
			return reply, err
		default:
			l.proxy.failed(s.Logger(), l.backend.host, 0, err) // so that connect goes on to another
		}
	}
	return reply, err
}

// reusable reports whether the session's connection is good for another transaction: it lives, and says of the client what is true now.
func (l *layer) reusable(s *esmtp.Session) bool {
	return l.backend != nil && l.backend.Usable() && l.backend.claim == l.proxy.claimFor(s)
}

// mail says XFORWARD, if it is to be said, and MAIL.
func (l *layer) mail(ctx context.Context, s *esmtp.Session, from esmtp.Path) (reply esmtp.Reply, err error) {
	b := l.backend
	params, err := l.mailParams(s, from)
	if err != nil {
		return reply, err
	}
	if l.proxy.Forward == ForwardXFORWARD {
		if err := b.XForward(ctx, forwarded(s)); err != nil {
			return reply, err
		}
	}
	return b.Mail(ctx, from, params...)
}

// mailParams are the parameters of MAIL for the next hop. What it can't take is an error: 8-bit, binary and internationalized mail, a size, REQUIRETLS, a time
// that can't be kept.
func (l *layer) mailParams(s *esmtp.Session, from esmtp.Path) ([]string, error) {
	m := &smtpclient.Message{From: from, Type: from.Body(), UTF8: from.SMTPUTF8()}
	if size, ok := from.Size(); ok {
		m.Size = size + int64(len(s.AppendReceived(nil, "")))
	}
	params, err := l.backend.MailParams(m)
	if err != nil {
		return nil, err
	}
	if s.User() == "" { // whoever is nobody has no priority to give, and vouches for nobody (RFC 6710 §5.1, RFC 4954 §5)
		params = slices.DeleteFunc(params, func(p string) bool {
			return strings.HasPrefix(p, "MT-PRIORITY=") || strings.HasPrefix(p, "AUTH=")
		})
	}
	return params, l.lacking(from, map[string]string{"RET": "DSN", "ENVID": "DSN", "BY": "DELIVERBY"})
}

// lacking is an error if a path asks by a parameter for an extension that this hop, unlike the one of which EHLO spoke, doesn't offer.
func (l *layer) lacking(p esmtp.Path, keywords map[string]string) error {
	for param, keyword := range keywords {
		if _, asked := p.Param(param); !asked {
			continue
		}
		if _, offered := l.backend.Extension(keyword); !offered {
			return replyLacking
		}
	}
	return nil
}

// RCPT asks the next hop for a recipient.
func (l *layer) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	if r := l.Handler.RCPT(s, to); !r.IsZero() && !r.Accepted() {
		return r
	}
	if !l.begun {
		return l.notBegun(s)
	}
	if err := l.lacking(to, map[string]string{"NOTIFY": "DSN", "ORCPT": "DSN", "RRVS": "RRVS"}); err != nil {
		return esmtp.ReplyOf(err)
	}
	reply, err := l.backend.Rcpt(s.Context(), to, l.backend.RcptParams(to, l.utf8)...)
	if err != nil {
		return l.answer(s, "RCPT", err)
	}
	l.accepted++
	return passOn(reply)
}

// notBegun is for a transaction that a layer above has begun on its own account.
func (l *layer) notBegun(s *esmtp.Session) esmtp.Reply {
	s.Logger().Error("a layer above has accepted MAIL without handing it on: the next hop can't take the message")
	return replyNoSender
}

// answer is what the client hears of an error: the next hop's own reply if there was one.
func (l *layer) answer(s *esmtp.Session, verb string, err error) esmtp.Reply {
	var e *smtpclient.Error
	if errors.As(err, &e) && !e.Local {
		return passOn(e.Reply)
	}
	if e == nil || e.Class != smtpclient.MissingRequirement {
		s.Logger().Warn("next hop failed", "verb", verb, "error", err)
	}
	return passOn(esmtp.ReplyOf(err))
}

// passOn makes a next hop's reply one that our own client understands: RFC 5321 §4.2 has no second digit over 5, but some servers do.
func passOn(r esmtp.Reply) esmtp.Reply {
	if r.Code/10%10 > 5 {
		r.Code = r.Code/100*100 + 50
	}
	return r
}
