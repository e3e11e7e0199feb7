package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/handler/queue"
	"github.com/caddy-esmtp/esmtp/relay/webhook"
)

func init() {
	caddy.RegisterModule(new(Webhook))
}

// Webhook posts mail to a program on the web, envelope and message in one form; see [github.com/caddy-esmtp/esmtp/relay/webhook] for what it looks like. The
// client gets its 250 when the message is in a queue, on disk; from there it is posted, and tried again as often as it takes.
//
//	webhook <url...> {
//		header  <name> <value>
//		secret  <secret>
//		timeout <duration>
//		queue   <name>
//		retry   <duration...>
//	}
//
// Several URLs are tried in their order until one answers. 2xx accepts, 408, 425, 429, 401, 404, 405, 407, 3xx and 5xx are tried again, and any other 4xx refuses: the
// sender gets a report. With a secret the envelope, which has a hash of the message, is signed. It ends the stack.
type Webhook struct {
	// URLs are tried in their order. Placeholders such as {env.URL} are allowed.
	URLs []string `json:"urls"`

	// Headers are fields to put into each request, such as a token. Placeholders are allowed.
	Headers http.Header `json:"headers,omitempty"`

	// Secret signs the envelope, in the field X-Esmtp-Signature. Placeholders are allowed.
	Secret string `json:"secret,omitempty"`

	// Timeout is for a whole request. Default 10m.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// Queue is the name of the queue. Default: default.
	Queue string `json:"queue,omitempty"`

	// Retry is how long to wait after each failed attempt; then the message is frozen. Default: as the queue is set.
	Retry []caddy.Duration `json:"retry,omitempty"`

	layer *queue.Queue
}

// CaddyModule returns the Caddy module information.
func (*Webhook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.handlers.webhook", New: func() caddy.Module { return new(Webhook) }}
}

// Provision finds the queue, and tells it how to post.
func (h *Webhook) Provision(ctx caddy.Context) error {
	q, err := queueOf(ctx, h.Queue)
	if err != nil {
		return err
	}
	hook, err := h.hook()
	if err != nil {
		return err
	}
	h.layer = &queue.Queue{Spool: q}
	for _, text := range h.URLs {
		if text, err = replace("webhook: url", text); err != nil {
			return err
		}
		if err := checkURL(text); err != nil {
			return err
		}
		if err := q.addHook(text, hook); err != nil {
			return err
		}
		h.layer.NextHops = append(h.layer.NextHops, text)
	}
	if len(h.URLs) == 0 {
		return errors.New("webhook: there is no URL")
	}
	h.layer.Retry, err = waits(h.Retry)
	return err
}

// hook is how to post.
func (h *Webhook) hook() (*webhook.Hook, error) {
	secret, err := replaceFree("webhook: secret", h.Secret)
	if err != nil {
		return nil, err
	}
	if err := checkTime("webhook: timeout", h.Timeout); err != nil {
		return nil, err
	}
	hook := &webhook.Hook{Header: make(http.Header), Secret: []byte(secret), Timeout: time.Duration(h.Timeout)}
	for name, values := range h.Headers {
		for _, value := range values {
			if value, err = replaceFree("webhook: header "+name, value); err != nil {
				return nil, err
			}
			if err := checkHeader(name, value); err != nil {
				return nil, err
			}
			hook.Header.Add(name, value)
		}
	}
	return hook, nil
}

// addHook tells the queue how to post to a URL.
func (q *Queue) addHook(url string, hook *webhook.Hook) error {
	if other := q.hooks[url]; other != nil && !reflect.DeepEqual(other, hook) {
		return fmt.Errorf("webhook: there are two for %s in queue %s, and they differ", shownHop(url), q.name)
	}
	if q.hooks == nil {
		q.hooks = make(map[string]*webhook.Hook)
	}
	q.hooks[url] = hook
	return nil
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Fragment != "" {
		text, _, _ = strings.Cut(text, "?") // what follows can be a secret
		return fmt.Errorf("webhook: %q is no URL, such as https://app.example.org/mail", text)
	}
	if u.User != nil {
		return errors.New("webhook: a password must not stand in a URL: use header Authorization")
	}
	return nil
}

func checkHeader(name, value string) error {
	if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
		return fmt.Errorf("webhook: %q is no header field, or has a value that none can have", name)
	}
	return nil
}

// NewLayer makes the layer of a connection.
func (h *Webhook) NewLayer(s *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return h.layer.NewLayer(s, next)
}

// endsStack reports that what is below keeps nothing.
func (*Webhook) endsStack() bool { return true }

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	webhook <url...> {
//		header  <name> <value>
//		secret  <secret>
//		timeout <duration>
//		queue   <name>
//		retry   <duration...>
//	}
func (h *Webhook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	for d.NextArg() {
		if !strings.Contains(d.Val(), "{") {
			if err := checkURL(d.Val()); err != nil {
				return d.WrapErr(err)
			}
		}
		h.URLs = append(h.URLs, d.Val())
	}
	if len(h.URLs) == 0 {
		return d.Err("webhook takes a URL, such as https://app.example.org/mail")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := h.option(d); err != nil {
			return err
		}
	}
	return nil
}

func (h *Webhook) option(d *caddyfile.Dispenser) error {
	switch name := d.Val(); name {
	case "header":
		var field, value string
		if !d.AllArgs(&field, &value) {
			return d.Err(`header takes a name and a value: header Authorization "Bearer {env.TOKEN}"`)
		}
		if err := checkHeader(field, value); err != nil {
			return d.WrapErr(err)
		}
		if h.Headers == nil {
			h.Headers = make(http.Header)
		}
		h.Headers.Add(field, value)
		return nil
	case "secret":
		return oneArgument(d, &h.Secret)
	case "timeout":
		var list []caddy.Duration
		if err := durations(d, &list); err != nil {
			return err
		}
		if len(list) > 1 {
			return d.Err("timeout takes one duration")
		}
		h.Timeout = list[0]
		return nil
	case "queue":
		return oneArgument(d, &h.Queue)
	case "retry":
		return durations(d, &h.Retry)
	default:
		return d.Errf("webhook: unrecognized option %q%s", name, didYouMean(name, []string{"header", "secret", "timeout", "queue", "retry"}))
	}
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Webhook)(nil)
	_ caddyfile.Unmarshaler = (*Webhook)(nil)
	_ Layer                 = (*Webhook)(nil)
)
