// Package pattern reads and matches patterns of mail addresses, as handlers are configured with.
package pattern

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"golang.org/x/net/idna"

	"github.com/caddy-esmtp/esmtp"
)

// Pattern is one of
//
//	user@example.org    an address
//	*@example.org       all addresses of a domain; also written example.org
//	*@*.example.org     all addresses of all domains below it; also written *.example.org
//	<>                  the null reverse-path
//
// A domain is compared without case, and as A-labels; a local part without case. It can be an address literal in brackets.
type Pattern struct {
	Local  string // in lower case; "" means any
	Domain string // in lower case, as A-labels; "" only in the null path
	Below  bool   // the domains below Domain are meant, and not itself
}

var errEmpty = errors.New("empty")

// Parse reads a pattern.
func Parse(s string) (p Pattern, err error) {
	if s == "<>" {
		return p, nil
	}
	local, domain := "*", s
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		local, domain = s[:i], s[i+1:]
	}
	if domain, p.Below = strings.CutPrefix(domain, "*."); p.Below && strings.HasPrefix(domain, "[") {
		return p, fmt.Errorf("address pattern %q: nothing is below an address literal", s)
	}
	if p.Domain, err = normalize(domain); err != nil {
		return p, fmt.Errorf("address pattern %q: domain: %w", s, err)
	}
	switch {
	case local == "*":
	case local == "" || strings.ContainsAny(local, "*\r\n\x00"):
		return p, fmt.Errorf("address pattern %q: the local part is a name or *", s)
	default:
		p.Local = Fold(strings.Trim(local, `"`))
	}
	return p, nil
}

// normalize brings a domain to the form of esmtp.Path.Domain.
func normalize(domain string) (string, error) {
	switch {
	case domain == "":
		return "", errEmpty
	case domain[0] == '[':
		inner, ok := strings.CutSuffix(domain[1:], "]")
		tag, ip, tagged := strings.Cut(inner, ":")
		if !tagged {
			ip = inner
		}
		_, err := netip.ParseAddr(ip)
		if !ok || err != nil || tagged && !strings.EqualFold(tag, "IPv6") {
			return "", errors.New("not an address literal such as [192.0.2.1] or [IPv6:2001:db8::1]")
		}
		return strings.ToLower(domain), nil
	case strings.Contains(domain, "*"):
		return "", errors.New("* stands only for a whole local part, or for all domains below one")
	case strings.IndexFunc(domain, func(c rune) bool { return c > unicode.MaxASCII }) >= 0:
		var err error
		if domain, err = idna.Lookup.ToASCII(domain); err != nil {
			return "", err
		}
	}
	domain = strings.ToLower(domain)
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", fmt.Errorf("%q is no domain name", domain)
		}
	}
	return domain, nil
}

// Fold brings a local part to the form in which two are compared.
func Fold(local string) string { return strings.ToLower(local) }

// Match reports whether the pattern means path.
func (p Pattern) Match(path esmtp.Path) bool {
	switch {
	case p.Domain == "":
		return path.IsNull()
	case p.Local != "" && p.Local != Fold(path.Local()):
		return false
	case p.Below:
		return strings.HasSuffix(path.Domain(), "."+p.Domain)
	}
	return path.Domain() == p.Domain
}

// String returns the pattern in its canonical form.
func (p Pattern) String() string {
	local, below := p.Local, ""
	switch {
	case p.Domain == "":
		return "<>"
	case local == "":
		local = "*"
	}
	if p.Below {
		below = "*."
	}
	return local + "@" + below + p.Domain
}
