package relay

import (
	"context"
	"strings"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay/webhook"
)

// isURL reports whether a next hop is a program on the web.
func isURL(hop string) bool {
	scheme, _, _ := strings.Cut(strings.ToLower(hop), "://")
	return scheme == "http" || scheme == "https"
}

// post tries to deliver to next hops that are URLs, one after the other until one answers.
func (a *attempt) post(ctx context.Context) {
	for _, url := range a.item.NextHops {
		if a.decided() || ctx.Err() != nil {
			return
		}
		a.last.Hop = redacted(url)
		if a.requireTLS() && !strings.EqualFold(url[:len("https:")], "https:") {
			a.note(replyInTheClear, "", nil)
			a.lacking = replyInTheClear
			continue
		}
		a.postTo(ctx, url)
	}
}

// replyInTheClear is for a message that is to stay in TLS (RFC 8689 §5).
var replyInTheClear = esmtp.Deny(550, 5, 7, 30, "the web server can't be reached in TLS")

// replyNoHook is for a URL that nobody says any more how to post to (RFC 3463 §3.4).
var replyNoHook = esmtp.Deny(451, 4, 3, 5, "the URL that it is to be posted to is not in the configuration now")

// postTo posts the message for those that are undecided.
func (a *attempt) postTo(ctx context.Context, url string) {
	hook := new(webhook.Hook)
	if a.r.Webhook != nil {
		hook = a.r.Webhook(url)
	}
	if hook == nil {
		a.reached = true
		a.note(replyNoHook, "", nil)
		return
	}
	body, err := a.r.Spool.OpenBody(ctx, a.item)
	if err != nil {
		a.unreadable(err)
		return
	}
	defer body.Close()
	watched := &reader{ReadSeekCloser: body}
	var result webhook.Result
	a.r.patiently(func() { result = hook.Post(ctx, url, a.envelope(), watched) })
	if watched.err != nil {
		a.unreadable(watched.err)
		return
	}
	if result.Err != nil {
		a.reached = true
		a.note(esmtp.Deny(451, 4, 4, 1, "no answer from the web server"), "", result.Err)
		return
	}
	if result.RetryAfter > 0 {
		a.notBefore = time.Now().Add(result.RetryAfter)
	}
	a.last.Host = hostOf(url)
	next := 0
	for i := range a.rcpts {
		r := &a.rcpts[i]
		if r.fate != undecided {
			continue
		}
		r.reply, r.host = result.Replies[next], a.last.Host
		next++
		switch r.reply.Code / 100 {
		case 2:
			r.fate = accepted
		case 5:
			r.fate = failed
		default:
			r.fate = later
		}
	}
}

// envelope is what a program is told of the message.
func (a *attempt) envelope() webhook.Envelope {
	o := a.item.Origin
	e := webhook.Envelope{
		Item: a.item.ID.String(), Attempt: a.item.Attempts + 1, Received: a.item.Created().UTC(), Size: a.item.Size,
		Sender: webhook.AddressOf(a.from), Session: o.Session, Transaction: o.Transaction,
		Client: webhook.Client{IP: o.Client, Port: o.Port, Name: o.Name, HELO: o.Helo, User: o.User, Protocol: o.Protocol},
	}
	for _, rcpt := range a.rcpts {
		if rcpt.fate == undecided {
			e.Recipients = append(e.Recipients, webhook.AddressOf(rcpt.to))
		}
	}
	return e
}

// redacted is a URL without what may be secret in it: its query, and who logs in.
func redacted(url string) string {
	url, _, _ = strings.Cut(url, "?")
	url, _, _ = strings.Cut(url, "#")
	scheme, rest, _ := strings.Cut(url, "://")
	authority, path, _ := strings.Cut(rest, "/")
	return scheme + "://" + authority[strings.LastIndexByte(authority, '@')+1:] + "/" + path
}

// hostOf is the host of a URL, for the log and for hooks.
func hostOf(url string) string {
	_, rest, _ := strings.Cut(redacted(url), "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}
