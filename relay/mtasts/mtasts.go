// Package mtasts finds and keeps the MTA-STS policies of domains (RFC 8461): which hosts take a domain's mail, and that they do it in TLS
// with a certificate that is valid for their names.
//
// The one idea: a policy that has been seen once is believed until it expires, so that somebody who can suppress DNS answers or the
// HTTPS server can't make us forget it. A new one is fetched when the id in the DNS changes.
//
//	finder := &mtasts.Finder{Resolver: dns}
//	policy, ok := finder.Find(ctx, "example.org")
package mtasts

import (
	"context"
	"time"

	"github.com/caddy-esmtp/esmtp/relay/resolver"
)

// Mode says what a policy is good for.
type Mode uint8

// The modes (RFC 8461 §5).
const (
	ModeNone    Mode = iota // there is none any more
	ModeTesting             // deliver even if the host doesn't fit the policy
	ModeEnforce             // deliver only to hosts that do
)

// String names the mode as it stands in a policy.
func (m Mode) String() string { return [...]string{"none", "testing", "enforce"}[m] }

// Policy is what a domain has published.
type Policy struct {
	Mode   Mode
	MX     []string      // patterns, in lower case: "mx.example.org", "*.example.org"
	MaxAge time.Duration // how long to believe it, at most a year
}

// Entry is a policy that was fetched.
type Entry struct {
	Policy  Policy
	ID      string    // of the DNS record that it was fetched for
	Expires time.Time // when it is no longer believed
}

// Cache keeps policies, in memory or, better, where they outlive a restart. Any goroutine may call it. A domain is in lower case with
// A-labels, safe as the name of a file.
type Cache interface {
	// Get returns what is kept for a domain.
	Get(ctx context.Context, domain string) (Entry, bool)

	// Put keeps an entry, in place of an older one.
	Put(ctx context.Context, domain string, e Entry)
}

// Finder finds the policy of a domain.
type Finder struct {
	Resolver resolver.Resolver
	Cache    Cache // nil: in memory
}

// Find is not there yet.
func (f *Finder) Find(ctx context.Context, domain string) (Policy, bool) { return Policy{}, false }
