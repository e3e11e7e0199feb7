package relay

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
	"github.com/caddy-esmtp/esmtp/smtpclient"
	"github.com/caddy-esmtp/esmtp/spool"
)

// login is how to log in at a hop; nil: not at all.
func (r *Relay) login(hop route.Hop) *smtpclient.Auth {
	if r.Auth == nil {
		return nil
	}
	return r.Auth(hop)
}

// replyNoLogin is for a hop whose user has no password any more: without it the server would refuse for good what only somebody of ours can put right.
var replyNoLogin = esmtp.Deny(451, 4, 3, 5, "the login for the next host is not in the configuration now")

// least is the least protection of a hop, where we log in more than elsewhere. Nobody is in between us and a socket.
func (r *Relay) least(hop route.Hop, level tlspolicy.Level) tlspolicy.Level {
	if hop.Path != "" {
		return level
	}
	if auth := r.login(hop); auth == nil || auth.AllowInsecure {
		return level
	}
	return level.ForPassword()
}

// requireTLS reports whether the message asks for TLS all the way, or the one that it was made of. For a report that is only a wish (RFC 8689 §5).
func (a *attempt) requireTLS() bool {
	return a.item.Needs&spool.NeedsRequireTLS != 0 || !a.from.IsNull() && a.from.RequireTLS()
}

// waivesTLS reports whether the sender wants it delivered whatever the receiving domain's policy says. To ask for TLS at the same time makes no sense, and then that
// counts (RFC 8689 §3).
func (a *attempt) waivesTLS() bool {
	return a.item.WaivesTLS && !a.requireTLS()
}

// send sends the message to those that are undecided, over a connection: in several transactions if the server takes fewer recipients in one. It reports whether the pool
// has the connection again.
func (a *attempt) send(ctx context.Context, key poolKey, conn *conn) (kept bool) {
	conn.patient.hold(true)
	for more := true; more; {
		before := a.remaining()
		if err := a.transact(ctx, key.hop, conn); err != nil {
			a.unreadable(err)
			break
		}
		n := a.remaining()
		more = n > 0 && n < before && conn.Usable() && !conn.spent()
	}
	if !conn.Usable() {
		conn.Close()
		return false
	}
	conn.patient.hold(false)
	a.r.pool.give(key, conn)
	return true
}

// transact makes one transaction, for as many as the server takes. Its error is that of the body, which can't be read.
func (a *attempt) transact(ctx context.Context, hop route.Hop, conn *conn) error {
	body, err := a.r.Spool.OpenBody(ctx, a.item)
	if err != nil {
		return err
	}
	defer body.Close()
	watched := &reader{ReadSeekCloser: body}
	m := a.message(hop, watched, conn.Limit("RCPTMAX"))
	result, _ := conn.Send(ctx, m) // its error is that of a recipient
	if a.silent = timedOut(result); !a.silent {
		a.r.slots.hear(hop)
	}
	a.last.Host = conn.host
	if state := conn.TLS(); state != nil {
		a.last.TLS = tlsVersion(state.Version)
	}
	a.last.Policy = conn.policy
	if watched.err != nil { // it was our own disk
		return watched.err
	}
	a.sort(conn, result)
	return nil
}

// timedOut reports whether a reply was waited for in vain.
func timedOut(result *smtpclient.Result) bool {
	return slices.ContainsFunc(result.Recipients, func(o smtpclient.Outcome) bool {
		return o.Err != nil && errors.Is(o.Err, os.ErrDeadlineExceeded)
	})
}

// message is what is to be sent to those that are undecided: to the first few, if there is a limit.
func (a *attempt) message(hop route.Hop, body *reader, limit int) *smtpclient.Message {
	m := &smtpclient.Message{
		From: a.from, Body: body, Size: a.item.Size,
		UTF8:       a.item.Needs&spool.NeedsUTF8 != 0,
		RequireTLS: a.requireTLS(),
		Deadline:   a.by, FixNewlines: a.fix,
	}
	switch {
	case a.item.Needs&spool.NeedsBinary != 0:
		m.Type = esmtp.BodyBinaryMIME
	case a.item.Needs&spool.Needs8Bit != 0:
		m.Type = esmtp.Body8BitMIME
	}
	if a.r.Forward != nil && a.r.Forward(hop) {
		m.Forwarded = forwarded(a.item)
	}
	for _, rcpt := range a.rcpts {
		if rcpt.fate == undecided && (limit == 0 || len(m.To) < limit) {
			m.To = append(m.To, rcpt.to)
		}
	}
	return m
}

// unreadable takes note that the body can't be read: damaged, and then it has been set aside, or not now.
func (a *attempt) unreadable(err error) {
	if errors.Is(err, spool.ErrDamaged) {
		a.damaged = true
	}
	a.decide(later, esmtp.Deny(451, 4, 3, 0, "message can't be read now"), "", err)
}
