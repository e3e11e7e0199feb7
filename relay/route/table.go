package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
)

// ErrRule is what [NewTable] returns, wrapped.
var ErrRule = errors.New("route: bad rule")

// Rule is the way for the mail of some domains.
type Rule struct {
	// Domain is "example.org" for itself, ".example.org" or "*.example.org" for all below it, "*" for every other.
	Domain string

	// Hops are tried in this order. None: the mail exchangers of the domain.
	Hops []Hop

	// TLS is the least protection.
	TLS tlspolicy.Level
}

// Table finds the rule for a domain: an exact one, else that of the longest suffix, else that for "*". It is immutable.
type Table struct{ rules map[string]Rule }

// NewTable makes a table. Its error wraps [ErrRule], and names a rule that can't be, or that is there twice.
func NewTable(rules []Rule) (*Table, error) {
	t := &Table{rules: make(map[string]Rule, len(rules))}
	for _, r := range rules {
		key, err := ruleKey(r.Domain)
		if err != nil {
			return nil, fmt.Errorf("%w for %q: %w", ErrRule, r.Domain, err)
		}
		if _, ok := t.rules[key]; ok {
			return nil, fmt.Errorf("%w for %q: there are two", ErrRule, r.Domain)
		}
		r.Hops = slices.Clone(r.Hops)
		t.rules[key] = r
	}
	return t, nil
}

// ruleKey is "example.org", ".example.org" for what is below it, or "" for every other.
func ruleKey(domain string) (string, error) {
	if domain == "*" {
		return "", nil
	}
	if strings.HasPrefix(domain, "[") {
		return literalKey(domain)
	}
	name, below := strings.CutPrefix(strings.TrimPrefix(domain, "*"), ".")
	if strings.HasPrefix(domain, "*") && !below {
		return "", errors.New("'*' stands alone, or before a dot")
	}
	name, err := hostName(name)
	if err != nil {
		return "", errors.New("that is no domain")
	}
	if below {
		name = "." + name
	}
	return name, nil
}

// literalKey is an address literal (RFC 5321 §4.1.3), in one form.
func literalKey(domain string) (string, error) {
	h, err := literal(domain)
	if err != nil {
		return "", err
	}
	return "[" + h.String() + "]", nil
}

// Find returns the rule for a domain, as [esmtp.Path.Domain] has it; false if there is none. A nil table has no rules.
func (t *Table) Find(domain string) (Rule, bool) {
	if t == nil {
		return Rule{}, false
	}
	if strings.HasPrefix(domain, "[") {
		if key, err := literalKey(domain); err == nil {
			domain = key
		}
	}
	if r, ok := t.rules[domain]; ok && domain != "" {
		return r, true
	}
	for rest := domain; ; { // the longest suffix first: from the left
		i := strings.IndexByte(rest, '.')
		if i < 0 || strings.HasPrefix(domain, "[") {
			break
		}
		if r, ok := t.rules[rest[i:]]; ok {
			return r, true
		}
		rest = rest[i+1:]
	}
	r, ok := t.rules[""]
	return r, ok
}
