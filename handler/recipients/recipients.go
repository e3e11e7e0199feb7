// Package recipients is a layer that says which addresses are ours, and refuses all others, so that the server is no open relay.
//
//	ours, err := recipients.New("example.org", "info@example.net", "*@*.example.net")
//	…
//	srv := &esmtp.Server{NewHandler: esmtp.Stack(ours.NewLayer, store.NewLayer)}
//
// The one idea to hold: only the domain decides whether mail is relayed. A percent sign, a bang or a source route in an address is
// part of a name that we don't have, never an instruction.
package recipients

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/handler/internal/pattern"
)

// List is a set of addresses and domains. Any number of sessions may use it at the same time.
type List struct {
	domains map[string]*domain // by name
	below   map[string]*domain // by the name that they are below
}

// domain is what we have of a domain.
type domain struct {
	all   bool
	users map[string]bool // folded local parts
}

// New makes a list from patterns, at least one:
//
//	user@example.org    an address
//	*@example.org       all addresses of a domain; also written example.org
//	*@*.example.org     all addresses of all domains below it; also written *.example.org
//
// Domains can be given as U-labels or A-labels, or be an address literal in brackets. Local parts and domains are compared without
// case.
func New(patterns ...string) (*List, error) {
	if len(patterns) == 0 {
		return nil, errors.New("recipients: no addresses are given: nobody could get mail")
	}
	l := &List{domains: map[string]*domain{}, below: map[string]*domain{}}
	for _, s := range patterns {
		p, err := pattern.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("recipients: %w", err)
		}
		if p.Domain == "" {
			return nil, errors.New("recipients: the null path <> is no recipient")
		}
		l.add(p)
	}
	return l, nil
}

func (l *List) add(p pattern.Pattern) {
	names := l.domains
	if p.Below {
		names = l.below
	}
	d := names[p.Domain]
	if d == nil {
		d = &domain{users: map[string]bool{}}
		names[p.Domain] = d
	}
	if p.Local == "" {
		d.all = true
	} else {
		d.users[p.Local] = true
	}
}

// Find reports whether the domain of an address is ours, and whether the address is. Postmaster is in every domain that is ours (RFC
// 5321 §4.5.1). Any goroutine may call it.
func (l *List) Find(to esmtp.Path) (domain, address bool) {
	local := pattern.Fold(to.Local())
	name := to.Domain()
	for d := range l.all(name) {
		domain = true
		if d.all || d.users[local] || local == "postmaster" {
			return true, true
		}
	}
	return domain, false
}

// all returns what the list has for a domain: its own entry, and those of the domains that it is below.
func (l *List) all(name string) func(yield func(*domain) bool) {
	return func(yield func(*domain) bool) {
		if d := l.domains[name]; d != nil && !yield(d) {
			return
		}
		if len(l.below) == 0 || strings.HasPrefix(name, "[") {
			return
		}
		for {
			_, parent, ok := strings.Cut(name, ".")
			if !ok {
				return
			}
			if d := l.below[parent]; d != nil && !yield(d) {
				return
			}
			name = parent
		}
	}
}

// NewLayer makes the layer of a connection; it is an [esmtp.Layer].
func (l *List) NewLayer(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return &layer{Handler: next, list: l}
}

type layer struct {
	esmtp.Handler
	list *List
}

var (
	replyRelay   = esmtp.Deny(550, 5, 7, 1, "We do not relay")
	replyUnknown = esmtp.Deny(550, 5, 1, 1, "No such user here")
)

// RCPT hands an address of ours on, and refuses one of a foreign domain with 550 5.7.1 and one that doesn't exist with 550 5.1.1.
func (l *layer) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	domain, address := l.list.Find(to)
	switch {
	case address || to.IsPostmaster(s.Hostname()): // RFC 5321 §4.5.1
		return l.Handler.RCPT(s, to)
	case domain:
		return replyUnknown
	}
	return replyRelay
}
