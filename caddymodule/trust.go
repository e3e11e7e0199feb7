package caddymodule

import (
	"fmt"
	"net/netip"
	"strings"
)

// trust is who may speak for others.
type trust struct{ xclient, xforward []netip.Prefix }

func (s *Settings) trust() (t trust, err error) {
	if t.xclient, err = prefixes("xclient", s.XCLIENT); err == nil {
		t.xforward, err = prefixes("xforward", s.XFORWARD)
	}
	return t, err
}

// prefixes reads networks, such as 192.0.2.0/24 and 2001:db8::/32, or single addresses.
func prefixes(setting string, values []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, value := range values {
		if !strings.Contains(value, "/") {
			addr, err := netip.ParseAddr(value)
			if err != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("%s: %q is no address and no network, such as 192.0.2.0/24", setting, value)
			}
			list = append(list, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(value)
		if err != nil || prefix != prefix.Masked() {
			return nil, fmt.Errorf("%s: %q is no network, such as 192.0.2.0/24", setting, value)
		}
		list = append(list, prefix)
	}
	return list, nil
}

// networks reads the arguments of a setting as networks.
func (p *parser) networks(v *[]string) error {
	name := p.Val()
	values := p.RemainingArgs()
	if len(values) == 0 {
		return p.Errf("%s takes the networks that are trusted, such as 192.0.2.0/24", name)
	}
	if _, err := prefixes(name, values); err != nil {
		return p.WrapErr(err)
	}
	*v = append(*v, values...)
	return nil
}

// words reads the arguments of a setting.
func (p *parser) words(v *[]string) error {
	name := p.Val()
	values := p.RemainingArgs()
	if len(values) == 0 {
		return p.Errf("%s takes at least one argument", name)
	}
	*v = append(*v, values...)
	return nil
}
