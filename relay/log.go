package relay

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/spool"
)

// maxLogged is how many recipients stand in a line: some logs take no line that is longer than that makes it.
const maxLogged = 100

// logAttempt writes the line of an attempt.
func (r *Relay) logAttempt(a *attempt) {
	if !r.log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	text, o := "delivered", a.item.Origin
	switch {
	case a.last.Later > 0:
		text = "delayed"
	case a.last.Failed > 0:
		text = "failed"
	}
	to, refusals := a.whoAndWhyNot()
	args := []any{"item", a.item.ID.String(), "message", a.item.Message.String(), "transaction", o.Transaction, "from", a.item.Sender.Address,
		"to", to, "hop", a.last.Hop, "host", a.last.Host, "tls", a.last.TLS, "accepted", a.last.Accepted, "failed", a.last.Failed, "later", a.last.Later,
		"attempts", a.item.Attempts, "age", time.Since(a.item.Created()).Round(time.Millisecond), "reply", a.last.Reply, "took", a.last.Took.Round(time.Microsecond)}
	if a.item.Parent != 0 {
		args = append(args, "parent", a.item.Parent.String())
	}
	if len(a.rcpts) > 1 && len(refusals) > 0 {
		args = append(args, "refusals", refusals)
	}
	if a.last.Later > 0 && a.item.State == spool.Queued {
		args = append(args, "due", a.item.Due)
	}
	for i := range a.rcpts {
		if err := a.rcpts[i].err; err != nil && !errors.As(err, new(esmtp.Reply)) {
			args = append(args, "error", err) // not what the reply says already
			break
		}
	}
	r.log.Info(text, args...)
}

// tellingReply is the last reply about a recipient that failed, else about one that is tried again, else about any.
func (a *attempt) tellingReply() (reply string) {
	weights, most := [...]int{accepted: 1, done: 2, later: 3, failed: 4}, 0
	for _, rcpt := range a.rcpts {
		if w := weights[rcpt.fate]; w > most {
			most, reply = w, a.item.Recipients[rcpt.index].Reply
		}
	}
	return reply
}

// whoAndWhyNot lists the recipients, and those that were not accepted with the last reply about them.
func (a *attempt) whoAndWhyNot() (to, refusals []string) {
	for _, rcpt := range a.rcpts {
		if len(to) < maxLogged {
			to = append(to, rcpt.to.String())
		}
		if rcpt.fate != accepted && len(refusals) < maxLogged {
			refusals = append(refusals, rcpt.to.String()+": "+a.item.Recipients[rcpt.index].Reply)
		}
	}
	return to, refusals
}

func (r *Relay) logPanic(item *spool.Item, p any) {
	r.log.Error("panic while delivering", "item", item.ID.String(), "panic", p, "stack", string(debug.Stack()))
}
