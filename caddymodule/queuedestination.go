package caddymodule

import (
	"net/url"
	"strings"
	"sync"

	"github.com/caddy-esmtp/esmtp/relay"
	"github.com/caddy-esmtp/esmtp/relay/route"
)

// destination is where an attempt went, in labels that senders and recipients have no say in: all mail exchangers are one.
type destination struct{ hop, protocol, tls, policy string }

func destinationOf(a relay.Attempt) destination {
	d := destination{"none", "none", "none", "none"}
	if hop, err := route.ParseHop(a.Hop); err == nil {
		hop.User = ""
		if d.hop = hop.String(); hop.MX {
			d.hop = "mx"
		}
		d.protocol = hop.Protocol.String()
	} else if web, err := url.Parse(a.Hop); err == nil && web.Host != "" {
		d.hop, d.protocol = web.Scheme+"://"+web.Host, strings.ToLower(web.Scheme) // the rest can be a secret
	}
	if a.Host == "" {
		d.protocol = "none"
	}
	switch a.TLS {
	case "":
	case "TLS 1.2", "TLS 1.3":
		d.tls = a.TLS[len("TLS "):]
	default:
		d.tls = "other"
	}
	switch a.Policy {
	case "":
	case "configured", "dane", "mta-sts":
		d.policy = a.Policy
	default:
		d.policy = "other"
	}
	return d
}

// maxHopLabels is how many next hops are counted by themselves: a program can choose another one for each message.
const maxHopLabels = 100

// hopLabels are the next hops that are counted by themselves.
type hopLabels struct {
	mu   sync.Mutex
	seen map[string]bool
}

// label returns the label of a next hop: itself, or "other" if there are so many.
func (l *hopLabels) label(hop string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.seen[hop]:
		return hop
	case len(l.seen) >= maxHopLabels:
		return "other"
	case l.seen == nil:
		l.seen = make(map[string]bool)
	}
	l.seen[hop] = true
	return hop
}
