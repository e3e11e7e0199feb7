package spool

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The bounds of an item. They are far above what a session lets through.
const (
	maxText       = 8 << 10
	maxReply      = 2 << 10
	maxRecipients = 100_000
	maxHops       = 100
)

// validate refuses what would be somebody else's line, row or command later on.
func (it *Item) validate() error {
	switch {
	case len(it.Recipients) == 0:
		return badItem("no recipient")
	case len(it.Recipients) > maxRecipients:
		return badItem("more than %d recipients", maxRecipients)
	case len(it.NextHops) > maxHops || len(it.Retry) > maxHops:
		return badItem("more than %d next hops or retries", maxHops)
	case it.Priority < -9 || it.Priority > 9:
		return badItem("priority %d is not from -9 to 9 (RFC 6710)", it.Priority)
	}
	if err := it.Sender.validate("sender"); err != nil {
		return err
	}
	for i := range it.Recipients {
		if it.Recipients[i].Address == "" {
			return badItem("a recipient without an address")
		}
		if err := it.Recipients[i].validate("recipient"); err != nil {
			return err
		}
	}
	o := &it.Origin
	for _, s := range append([]string{it.Route, o.Session, o.Transaction, o.Client, o.Name, o.Helo, o.User, o.Protocol}, it.NextHops...) {
		if !isText(s) {
			return badItem("%.100q is too long, no UTF-8 or has control characters", s)
		}
	}
	return nil
}

func (p Path) validate(what string) error {
	if !isText(p.Address) || !isText(p.Params) {
		return badItem("the %s %.100q is too long, no UTF-8 or has control characters", what, p.Address)
	}
	if _, err := p.Path(); err != nil {
		return badItem("the %s %.100q %.100q: %w", what, p.Address, p.Params, err)
	}
	return nil
}

// clean makes texts from elsewhere fit to be kept: nobody's mail is refused for them.
func (it *Item) clean() {
	it.Reason, it.LastError = cleanText(it.Reason), cleanText(it.LastError)
	for i := range it.Recipients {
		it.Recipients[i].Reply = cleanText(it.Recipients[i].Reply)
	}
}

func badItem(format string, a ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrItem}, a...)...)
}

func isText(s string) bool {
	return len(s) <= maxText && utf8.ValidString(s) && !strings.ContainsFunc(s, isControl)
}

func isControl(c rune) bool { return c < ' ' || 0x7f <= c && c < 0xa0 }

// cleanText makes one line of a text, of bounded length.
func cleanText(s string) string {
	if len(s) > maxReply {
		s = s[:maxReply]
	}
	if utf8.ValidString(s) && !strings.ContainsFunc(s, isControl) {
		return s
	}
	return strings.Map(func(c rune) rune {
		if isControl(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
}
