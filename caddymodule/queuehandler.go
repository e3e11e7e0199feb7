package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/handler/queue"
	"github.com/caddy-esmtp/esmtp/relay/route"
)

func init() {
	caddy.RegisterModule(new(QueueMail))
	caddy.RegisterModule(new(QuarantineMail))
}

// QueueMail keeps mail in a queue, which delivers it: 250 means that the message is on disk. See [Queue] for the queue itself.
//
//	queue [<hop...>] {
//		queue    <name>
//		retry    <duration...>
//		hold     <reason>
//		max_hops <n>
//	}
//
// With next hops all mail of this server goes there, whatever the queue is set to do; they are tried in their order. With retry it is tried as
// often as there are durations, and then frozen. With hold it is frozen at once, until somebody lets it go. A message with more than max_hops
// Received fields, 100 without the setting, goes round in circles and is refused.
//
// What handlers above decide is done: send it elsewhere, hold it, put it into quarantine, discard it. It offers DELIVERBY and REQUIRETLS, and,
// where users log in, FUTURERELEASE and MT-PRIORITY. It ends the stack.
type QueueMail struct {
	// Queue is the name of the queue. Default: default.
	Queue string `json:"queue,omitempty"`

	// NextHops are for all mail of this server. Default: as the queue is set.
	NextHops []string `json:"next_hops,omitempty"`

	// Retry is how long to wait after each failed attempt; then the message is frozen. Default: as the queue is set.
	Retry []caddy.Duration `json:"retry,omitempty"`

	// Hold freezes all mail, for this reason.
	Hold string `json:"hold,omitempty"`

	// MaxHops is how many Received fields a message can have. Default 100.
	MaxHops int `json:"max_hops,omitempty"`

	queue *Queue
	layer *queue.Queue
}

// CaddyModule returns the Caddy module information.
func (*QueueMail) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.handlers.queue", New: func() caddy.Module { return new(QueueMail) }}
}

// Provision finds the queue.
func (h *QueueMail) Provision(ctx caddy.Context) error {
	q, err := queueOf(ctx, h.Queue)
	if err != nil {
		return err
	}
	hops, err := parseHops(h.NextHops)
	if err != nil {
		return err
	}
	if err := q.checkLogins(hops); err != nil {
		return err
	}
	q.handlerHops = append(q.handlerHops, h.NextHops...)
	if err := checkCount("max_hops", h.MaxHops); err != nil {
		return err
	}
	h.queue = q
	h.layer = &queue.Queue{Spool: q, NextHops: h.NextHops, Hold: h.Hold, MaxHops: h.MaxHops}
	h.layer.Retry, err = waits(h.Retry)
	return err
}

// NewLayer makes the layer of a connection.
func (h *QueueMail) NewLayer(s *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return h.layer.NewLayer(s, next)
}

// endsStack reports that what is below keeps nothing.
func (*QueueMail) endsStack() bool { return true }

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	queue [<hop...>] {
//		queue    <name>
//		retry    <duration...>
//		hold     <reason>
//		max_hops <n>
//	}
func (h *QueueMail) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	for d.NextArg() {
		if _, err := route.ParseHop(d.Val()); err != nil {
			return d.WrapErr(err)
		}
		h.NextHops = append(h.NextHops, d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); name {
		case "queue":
			err = oneArgument(d, &h.Queue)
		case "retry":
			err = durations(d, &h.Retry)
		case "hold":
			err = oneArgument(d, &h.Hold)
		case "max_hops":
			err = count(d, &h.MaxHops)
		default:
			err = d.Errf("queue: unrecognized option %q%s", name, didYouMean(name, []string{"queue", "retry", "hold", "max_hops"}))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// QuarantineMail keeps all mail for inspection: clients get 250, and nothing is delivered before somebody releases it, with
// "caddy esmtp queue release" or the admin API.
//
//	quarantine [<reason>] {
//		queue <name>
//	}
//
// It is for what stands in a handle, say, or below a handler that lets only some mail through. To put single messages into quarantine is up to
// handlers above a queue. It ends the stack.
type QuarantineMail struct {
	// Queue is the name of the queue. Default: default.
	Queue string `json:"queue,omitempty"`

	// Reason is for those who look after the quarantine. Default: the server is set to quarantine all mail.
	Reason string `json:"reason,omitempty"`

	layer *queue.Queue
}

// CaddyModule returns the Caddy module information.
func (*QuarantineMail) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.handlers.quarantine", New: func() caddy.Module { return new(QuarantineMail) }}
}

// Provision finds the queue.
func (h *QuarantineMail) Provision(ctx caddy.Context) error {
	q, err := queueOf(ctx, h.Queue)
	if err != nil {
		return err
	}
	if h.Reason == "" {
		h.Reason = "the server is set to quarantine all mail"
	}
	h.layer = &queue.Queue{Spool: q, Quarantine: h.Reason}
	return nil
}

// NewLayer makes the layer of a connection.
func (h *QuarantineMail) NewLayer(s *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return h.layer.NewLayer(s, next)
}

// endsStack reports that what is below keeps nothing.
func (*QuarantineMail) endsStack() bool { return true }

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	quarantine [<reason>] {
//		queue <name>
//	}
func (h *QuarantineMail) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	if d.NextArg() {
		h.Reason = d.Val()
	}
	if d.NextArg() {
		return d.Errf("quarantine takes one reason, in quotes if it has spaces; %q is another", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "queue" {
			return d.Errf("quarantine: unrecognized option %q%s", d.Val(), didYouMean(d.Val(), []string{"queue"}))
		}
		if err := oneArgument(d, &h.Queue); err != nil {
			return err
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*QueueMail)(nil)
	_ caddyfile.Unmarshaler = (*QueueMail)(nil)
	_ Layer                 = (*QueueMail)(nil)
	_ caddy.Provisioner     = (*QuarantineMail)(nil)
	_ caddyfile.Unmarshaler = (*QuarantineMail)(nil)
	_ Layer                 = (*QuarantineMail)(nil)
)
