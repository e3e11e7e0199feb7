// Package fakedns is a DNS for tests: a map.
package fakedns

import (
	"context"
	"net/netip"
	"strings"

	"github.com/caddy-esmtp/esmtp/relay/resolver"
)

// Zone has, for keys like "MX example.org", a [resolver.Answer] or an error. A name without any key doesn't exist. Don't change it while it
// is in use.
type Zone map[string]any

// Lookup implements [resolver.Resolver].
func (z Zone) Lookup(ctx context.Context, name string, t resolver.Type) (resolver.Answer, error) {
	if err := ctx.Err(); err != nil {
		return resolver.Answer{}, err
	}
	switch v := z[t.String()+" "+name].(type) {
	case resolver.Answer:
		if v.Name == "" {
			v.Name = name
		}
		return v, nil
	case error:
		return resolver.Answer{}, v
	}
	for key, v := range z {
		if strings.HasSuffix(key, " "+name) {
			secure := false
			if a, ok := v.(resolver.Answer); ok {
				secure = a.Secure
			}
			return resolver.Answer{Name: name, Secure: secure}, nil
		}
	}
	return resolver.Answer{}, resolver.ErrNotFound
}

// MX makes the answer with mail exchangers of preferences 10, 20 and so on.
func MX(hosts ...string) resolver.Answer {
	var a resolver.Answer
	for i, h := range hosts {
		a.MX = append(a.MX, resolver.Exchange{Preference: uint16(10 * (i + 1)), Host: h})
	}
	return a
}

// Addrs makes the answer with addresses.
func Addrs(addrs ...string) resolver.Answer {
	var a resolver.Answer
	for _, s := range addrs {
		a.Addrs = append(a.Addrs, netip.MustParseAddr(s))
	}
	return a
}

// Secure marks an answer as vouched for by DNSSEC.
func Secure(a resolver.Answer) resolver.Answer {
	a.Secure = true
	return a
}
