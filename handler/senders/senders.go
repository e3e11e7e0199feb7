// Package senders is a layer that says who may send as whom: of the clients that are logged in, each uses only the reverse-paths that are his.
//
//	rules := senders.New()
//	rules.Add("*", "{user}@example.org")             // everybody has an address of his own name
//	rules.Add("ann", "*@sales.example.org")          // and she has more
//	srv := &esmtp.Server{NewHandler: esmtp.Stack(rules.NewLayer, ours.NewLayer)}
package senders

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/handler/internal/pattern"
)

// Rules are who may send as whom. Any number of sessions may use them at the same time, once all are added.
type Rules struct {
	users map[string]*rule
	all   rule
}

// rule is the addresses of a user.
type rule struct {
	patterns  []pattern.Pattern
	templates []string // with {user} in them
}

const placeholder = "{user}"

// New makes an empty set of rules: by it nobody who is logged in may send.
func New() *Rules { return &Rules{users: make(map[string]*rule)} }

// Add lets a user send as what a pattern means: user@example.org, *@example.org, or *.example.org. In a pattern {user} stands for his name: {user}@example.org,
// or {user} alone if names are addresses. The user "*" means all. Names are compared octet for octet, addresses as [esmtp.Path] has
// them, and local parts without case.
func (r *Rules) Add(user, text string) error {
	to := &r.all
	if user == "" {
		return errors.New("senders: the name of the user is empty")
	}
	if user != "*" {
		if r.users[user] == nil {
			r.users[user] = new(rule)
		}
		to = r.users[user]
	}
	if strings.Contains(text, placeholder) {
		if strings.Count(text, placeholder) > 1 || !strings.HasPrefix(text, placeholder) {
			return fmt.Errorf("senders: %q: {user} stands first, as in {user}@example.org, or alone", text)
		}
		if domain := text[len(placeholder):]; domain != "" {
			p, err := pattern.Parse("x" + domain)
			if err != nil || domain[0] != '@' || p.Below {
				return fmt.Errorf("senders: %q: behind {user} there is a domain, as in {user}@example.org, or nothing", text)
			}
		}
		to.templates = append(to.templates, text)
		return nil
	}
	p, err := pattern.Parse(text)
	if err != nil {
		return fmt.Errorf("senders: %w", err)
	}
	to.patterns = append(to.patterns, p)
	return nil
}

// NewLayer makes the layer of a connection; it is an [esmtp.Layer].
func (r *Rules) NewLayer(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return &layer{next, r}
}

type layer struct {
	esmtp.Handler
	rules *Rules
}

var replyNotYours = esmtp.Deny(553, 5, 7, 1, "Sender address is not yours")

// MAIL refuses a reverse-path that is not the user's. The null path is everybody's: disposition notifications have it (RFC 8098 §3). Clients that are not
// logged in are none of its business.
func (l *layer) MAIL(s *esmtp.Session, from esmtp.Path) esmtp.Reply {
	if user := s.User(); user != "" && !from.IsNull() && !l.rules.allow(user, from) {
		s.Logger().Info("sender address is not the user's", "user", user, "from", from.String())
		return replyNotYours
	}
	return l.Handler.MAIL(s, from)
}

func (r *Rules) allow(user string, from esmtp.Path) bool {
	own := r.users[user]
	return r.all.allow(user, from) || own != nil && own.allow(user, from)
}

func (r *rule) allow(user string, from esmtp.Path) bool {
	for _, p := range r.patterns {
		if p.Match(from) {
			return true
		}
	}
	if strings.ContainsAny(user, "*<>\"") {
		return false // it would be a pattern
	}
	for _, template := range r.templates {
		text := strings.Replace(template, placeholder, user, 1)
		if p, err := pattern.Parse(text); err == nil && strings.Contains(text, "@") && p.Match(from) {
			return true
		}
	}
	return false
}
