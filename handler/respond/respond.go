// Package respond is a layer that answers a verb with a fixed reply: for policies ("no mail without a sender"), and for testing how
// clients take a refusal.
//
//	deny, err := respond.New(respond.Rule{Verb: "RCPT", To: "old@example.org", Code: 551, Lines: []string{"gone to new@example.org"}})
//	…
//	srv := &esmtp.Server{NewHandler: esmtp.Stack(deny.NewLayer, store.NewLayer)}
//
// What it answers, the layers below never hear of.
package respond

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/handler/internal/pattern"
)

// Rule is a reply, and when to give it.
type Rule struct {
	// Verb is the method of [esmtp.Handler] to answer for, in any case: CONNECT, HELO, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, EOH, EOM, RSET,
	// VRFY, EXPN, HELP, NOOP, ETRN, QUIT or UNKNOWN. EOM answers a message at its end; EOH does so too, but decides after the header and keeps the
	// rest of the message from the layers below.
	Verb string

	// From makes the rule hold only for this sender: user@example.org, *@example.org or example.org, *.example.org for the domains
	// below, or <> for the null reverse-path. For MAIL and what follows it. Default: any.
	From string

	// To makes the rule hold only for this recipient, written as in From; at DATA and later, if any of the accepted recipients is
	// one. Default: any.
	To string

	// Code is the reply code, one that the verb can have.
	Code int

	// Enhanced is the enhanced status code. Default: x.0.0.
	Enhanced esmtp.Enhanced

	// Lines is the text, as it is: nothing in it is replaced. Default: the usual text of the code. For EHLO the first is the
	// greeting, and the others are the extensions that are offered.
	Lines []string

	// Close closes the connection after the reply.
	Close bool
}

// Responder gives the reply of a rule. Any number of sessions may use it at the same time.
type Responder struct {
	verb     string
	reply    esmtp.Reply
	from, to *pattern.Pattern
}

// Verbs are the verbs that a rule can be for.
var Verbs = []string{
	"CONNECT", "HELO", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "EOH", "EOM", "RSET", "VRFY", "EXPN", "HELP", "NOOP", "ETRN",
	"QUIT", "UNKNOWN",
}

// New checks a rule.
func New(r Rule) (*Responder, error) {
	verb := strings.ToUpper(r.Verb)
	if !slices.Contains(Verbs, verb) {
		return nil, fmt.Errorf("respond: %q is not one of %s", r.Verb, strings.Join(Verbs, ", "))
	}
	if !canAnswer(verb, r.Code) {
		return nil, fmt.Errorf("respond: %d is no reply code for %s", r.Code, verb)
	}
	if c := r.Enhanced[0]; c != 0 && r.Enhanced != esmtp.NoEnhanced && int(c) != r.Code/100 {
		return nil, fmt.Errorf("respond: the enhanced status code %v does not go with %d", r.Enhanced, r.Code)
	}
	for _, line := range r.Lines {
		if strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return nil, fmt.Errorf("respond: the text %q has a control character", line)
		}
	}
	resp := &Responder{verb: verb, reply: esmtp.Reply{Code: r.Code, Enh: r.Enhanced, Lines: r.Lines, Close: r.Close}}
	var err error
	if resp.from, err = condition(verb, "from", r.From, "MAIL", "RCPT", "DATA", "EOH", "EOM"); err != nil {
		return nil, err
	}
	if resp.to, err = condition(verb, "to", r.To, "RCPT", "DATA", "EOH", "EOM"); err != nil {
		return nil, err
	}
	return resp, nil
}

// condition reads From or To, which some verbs can have.
func condition(verb, name, value string, verbs ...string) (*pattern.Pattern, error) {
	if value == "" {
		return nil, nil
	}
	if !slices.Contains(verbs, verb) {
		return nil, fmt.Errorf("respond: %s is a condition for %s, not for %s", name, strings.Join(verbs, ", "), verb)
	}
	p, err := pattern.Parse(value)
	if err != nil {
		return nil, fmt.Errorf("respond: %s: %w", name, err)
	}
	return &p, nil
}

// canAnswer reports whether a verb can have a reply code (RFC 5321 §4.3.2).
func canAnswer(verb string, code int) bool {
	switch {
	case code/10%10 > 5: // RFC 5321 §4.2
		return false
	case code >= 400 && code <= 599:
		return true
	case verb == "DATA":
		return code == 354
	case verb == "HELO" || verb == "EHLO" || verb == "MAIL":
		return code == 250
	case verb == "CONNECT" || verb == "STARTTLS":
		return code == 220
	case verb == "AUTH":
		return false // nobody is let in by a rule
	case verb == "QUIT":
		return code == 221
	}
	return code >= 200 && code <= 299
}

// NewLayer makes the layer of a connection; it is an [esmtp.Layer].
func (r *Responder) NewLayer(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return &layer{Handler: next, r: r}
}
