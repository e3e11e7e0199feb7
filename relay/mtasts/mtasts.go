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
	"errors"
	"fmt"
	"strconv"
	"strings"
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

// Bounds (RFC 8461 §3.2, §3.3).
const (
	maxPolicy = 64 << 10 // octets
	maxAge    = 31557600 * time.Second
	maxMX     = 64 // our own: what is kept must be small
)

// ErrPolicy is what [Parse] returns, wrapped.
var ErrPolicy = errors.New("mtasts: bad policy")

// Parse reads the text of a policy (RFC 8461 §3.2). A policy with a mistake is none: its error wraps [ErrPolicy]. Of fields that must not
// be repeated the first counts, and unknown ones are skipped.
func Parse(text []byte) (Policy, error) {
	if len(text) > maxPolicy {
		return Policy{}, fmt.Errorf("%w: more than %d octets", ErrPolicy, maxPolicy)
	}
	first := map[string]string{}
	var p Policy
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		key, value, ok := strings.Cut(line, ":")
		key, value = strings.Trim(key, " \t"), strings.Trim(value, " \t")
		if !ok {
			if strings.Trim(line, " \t") == "" {
				continue
			}
			return Policy{}, fmt.Errorf("%w: a line without a colon", ErrPolicy)
		}
		if key == "mx" {
			if err := p.addMX(value); err != nil {
				return Policy{}, err
			}
		} else if _, ok := first[key]; !ok {
			first[key] = value
		}
	}
	return p, p.check(first)
}

func (p *Policy) addMX(pattern string) error {
	pattern = strings.ToLower(pattern)
	if !resolver.IsName(strings.TrimPrefix(pattern, "*.")) {
		return fmt.Errorf("%w: mx %q", ErrPolicy, pattern)
	}
	if len(p.MX) == maxMX {
		return fmt.Errorf("%w: more than %d hosts", ErrPolicy, maxMX)
	}
	p.MX = append(p.MX, pattern)
	return nil
}

// check looks at the fields that a policy must have.
func (p *Policy) check(first map[string]string) error {
	if first["version"] != "STSv1" {
		return fmt.Errorf("%w: version %q", ErrPolicy, first["version"])
	}
	switch first["mode"] {
	case "none":
	case "testing":
		p.Mode = ModeTesting
	case "enforce":
		p.Mode = ModeEnforce
	default:
		return fmt.Errorf("%w: mode %q", ErrPolicy, first["mode"])
	}
	age, err := strconv.ParseUint(first["max_age"], 10, 64)
	if err != nil || len(first["max_age"]) > 10 {
		return fmt.Errorf("%w: max_age %q", ErrPolicy, first["max_age"])
	}
	p.MaxAge = time.Duration(min(age, uint64(maxAge/time.Second))) * time.Second
	if p.Mode != ModeNone && len(p.MX) == 0 {
		return fmt.Errorf("%w: no mx", ErrPolicy)
	}
	return nil
}

// Matches reports whether a host is one of those that the policy names. A wildcard stands for exactly one label (RFC 8461 §4.1).
func (p Policy) Matches(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	label, parent, _ := strings.Cut(host, ".")
	for _, pattern := range p.MX {
		if suffix, ok := strings.CutPrefix(pattern, "*."); ok && label != "" && suffix == parent || pattern == host {
			return true
		}
	}
	return false
}

// recordID reads the TXT records at _mta-sts of a domain: the id of the policy, if there is exactly one record for it (RFC 8461 §3.1).
func recordID(records []string) (id string, ok bool) {
	found := 0
	for _, r := range records {
		version, fields, _ := strings.Cut(r, ";")
		if strings.TrimRight(version, " \t") != "v=STSv1" {
			continue
		}
		found++
		for field := range strings.SplitSeq(fields, ";") {
			if v, isID := strings.CutPrefix(strings.Trim(field, " \t"), "id="); isID && !ok {
				id, ok = v, isAlnum(v)
			}
		}
	}
	return id, ok && found == 1
}

// isAlnum reports whether s is what an id can be: 1 to 32 letters and digits.
func isAlnum(s string) bool {
	for i := range len(s) {
		if c := s[i]; !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 32
}
