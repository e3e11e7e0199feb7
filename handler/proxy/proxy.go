// Package proxy is a layer that hands mail on while its client waits: a front door to a mail server that is there already.
//
//	p := &proxy.Proxy{Hops: []route.Hop{hop}}
//	srv := &esmtp.Server{NewHandler: esmtp.Stack(checks.NewLayer, p.NewLayer)}
//
// The one idea to hold: the next hop's answer is the client's answer. MAIL, RCPT and DATA are asked there before they are answered here, the message
// streams through, and who says 250 is the next hop: nothing is kept on the way, so nothing can be lost or has to be bounced. What isn't
// finished is never ended: when anything goes wrong in a message, the connection to the next hop is closed without the final dot.
//
// # Connections
//
// A session has one connection to the next hop, made at its first MAIL, so that those who only knock cost the next hop nothing, and used for all its
// transactions. If the first hop doesn't answer the next one is asked, until one has accepted MAIL; who didn't answer is left alone for a while.
//
// # What EHLO offers
//
// What EHLO returns is enabled, so it must be what the next hop can do: a message that was accepted for SMTPUTF8 can't be made one without. The
// extensions of the next hop are known from the last connection to it. If that is more than ten minutes ago, or there was none, one session asks
// for them, over a connection of its own; if nobody answers only that is offered which needs no help from there. A hop that can do less than another
// is found out at MAIL and RCPT: what it can't take is refused there, before it is transferred.
//
// # Replies
//
// A reply is handed on with its code, its enhanced status code and all its lines. One without an enhanced status code gets X.0.0, for EHLO has promised one
// (RFC 2034 §4); 421 closes the session, as it would have without us between. Where the next hop speaks LMTP there is a reply for each recipient, and
// so there is for the client if it speaks LMTP or has asked for PRDR; any other client gets 451 if the replies differ ([esmtp.Transaction].SetReply).
//
// # Layers
//
// Layers above may refuse anything, as always: a recipient before it is handed on, for the next hop would keep one that is refused afterwards; a
// message at any time until EOM is handed on. Discard and Consume are obeyed. Send, Hold and Quarantine need a spool, and are answered with 451.
package proxy

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// Proxy hands mail on to next hops. Any number of sessions may use it at the same time. Set its fields before the first.
type Proxy struct {
	// Hops are tried in this order, until one answers. Their hosts are looked up as the system does it, but for those with MX.
	Hops []route.Hop

	// Router finds the hosts of hops with MX. Without such hops it isn't needed.
	Router *route.Router

	// Level is the least protection of connections; TLS finds out what a host asks for beyond that. Nil: only Level counts. A socket has no TLS unless
	// Level asks for it.
	Level tlspolicy.Level
	TLS   *tlspolicy.Policies

	// Auth is how to log in at the next hop. Nil: not at all. With it, unless it has AllowInsecure, Level Opportunistic counts as Verified, but for a
	// socket: a password is for the server that it is meant for.
	Auth *smtpclient.Auth

	// Forward is how to tell the next hop who the client is.
	Forward Forward

	// Timeouts are for the next hop. Zero: as [smtpclient.Timeouts] has them, but 10 seconds for a connection, a minute for a greeting, and 2 seconds for
	// the reply to QUIT, as somebody waits.
	Timeouts smtpclient.Timeouts

	// Dial makes connections. Nil: a [net.Dialer]'s DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu       sync.Mutex
	known    *offers              // of the last connection
	learning chan struct{}        // closed when the session that asks has its answer
	down     map[string]time.Time // until when to leave a host alone
}

// NewLayer makes the layer of a connection; it is an [esmtp.Layer]. It ends the stack: what is below it hears of the envelope, and keeps nothing.
func (p *Proxy) NewLayer(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return &layer{Handler: next, proxy: p}
}

type layer struct {
	esmtp.Handler
	proxy *Proxy

	backend *backend // nil: there is none yet

	// Of the transaction:
	begun    bool   // MAIL was accepted
	utf8     bool   // with SMTPUTF8
	accepted int    // recipients
	body     writer // the message that is on its way, nil before
	traced   bool   // it has its Received field
	hops     int    // Received fields that it came with
}

// end ends the transaction, however it came to its end. A message that is on its way is cut off.
func (l *layer) end() {
	switch {
	case l.body != nil:
		l.body.Abort()
	case l.begun && l.backend.alive():
		l.backend.reset()
	}
	l.begun, l.utf8, l.accepted, l.body, l.traced, l.hops = false, false, 0, nil, false, 0
}

// Closed says goodbye to the next hop.
func (l *layer) Closed(s *esmtp.Session, err error) {
	l.leave()
	l.Handler.Closed(s, err)
}

// leave ends the connection to the next hop.
func (l *layer) leave() {
	if l.backend != nil {
		l.backend.Quit(context.Background()) // Timeouts.Quit bounds it
		l.backend = nil
	}
}

func or(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}
