package esmtp

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// What EHLO offers to those who are trusted with it: the verb and the attributes that it takes.
const (
	xclientLine  = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
	xforwardLine = "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"
)

// maxAttribute is the longest value of an attribute, as it is sent (Postfix XCLIENT_README and XFORWARD_README, note 1).
const maxAttribute = 255

// isAttributeList checks what EHLO offers of a line's attributes: it can leave some out.
func isAttributeList(params, line string) bool {
	for name := range strings.FieldsSeq(params) {
		if !slices.Contains(strings.Fields(line)[1:], name) {
			return false
		}
	}
	return params != ""
}

// mayUse is the reply to XCLIENT or XFORWARD where it can't be used, the zero Reply where it can.
func (s *Session) mayUse(e extension, trust []netip.Prefix) Reply {
	switch {
	case !s.trusts(trust):
		return replyNotTrusted
	case s.offers != 0 && !s.offered(e):
		return replyNotOffered // a handler took it out of EHLO
	case s.tx != nil:
		return replyInMail
	}
	return Reply{}
}

// setAttributes reads NAME=value pairs, and calls set with each name, in upper case, and its value, decoded. set reports whether it
// can be a value of that name. line has the names that are taken, unless EHLO offered fewer.
func (s *Session) setAttributes(arg, line string, set func(name, value string) bool) Reply {
	verb, names, _ := strings.Cut(line, " ")
	if params, ok := s.Offers(verb); ok {
		names = params
	}
	problem := parseAttributes(arg, strings.Fields(names), set)
	if problem != "" {
		return Deny(501, 5, 5, 4, verb+": "+problem)
	}
	return Reply{}
}

// parseAttributes tells what is wrong with the attributes, "" if nothing is.
func parseAttributes(arg string, names []string, set func(name, value string) bool) (problem string) {
	if arg == "" {
		return "attribute=value expected"
	}
	var seen uint
	for attr := range strings.FieldsSeq(arg) {
		name, raw, _ := strings.Cut(attr, "=")
		i := slices.IndexFunc(names, func(n string) bool { return equalFold(n, name) })
		switch {
		case raw == "":
			return "attribute=value expected"
		case i < 0:
			return "unknown attribute " + name[:min(len(name), 64)]
		case len(raw) > maxAttribute:
			return "value too long: " + names[i]
		case seen&(1<<i) != 0:
			return "given twice: " + names[i]
		}
		seen |= 1 << i
		value, ok := decodeXtext(raw)
		if !ok {
			value = raw // Postfix before 2.3 encodes nothing, says note 3
		}
		if value == "" || !isText([]byte(value)) || !set(names[i], value) {
			return "bad value of " + names[i]
		}
	}
	return ""
}

// isUnavailable reports whether a value says that there is none.
func isUnavailable(value string) bool { return equalFold(value, "[UNAVAILABLE]") }

// neuter makes a text that came from who knows where safe for header fields: what isn't plain there becomes '?', as in Postfix.
func neuter(value string) string {
	return strings.Map(func(c rune) rune {
		if c <= ' ' || c > '~' || strings.ContainsRune("<>()\\\";@", c) {
			return '?'
		}
		return c
	}, value)
}

// setText is the set of an attribute that is a text of at most so many octets.
func setText(to *string, value string, most int) bool {
	if isUnavailable(value) {
		*to = ""
		return true
	}
	*to = neuter(value)
	return len(value) <= most
}

// setAddr is the set of an attribute that is an address: an IPv4 address, or "IPV6:" and an IPv6 address.
func setAddr(to *netip.Addr, value string) bool {
	if isUnavailable(value) {
		*to = netip.Addr{}
		return true
	}
	v6, is6 := value, false
	if len(value) > 5 && equalFold(value[:5], "IPV6:") {
		v6, is6 = value[5:], true
	}
	addr, err := netip.ParseAddr(v6)
	if err != nil || addr.Is6() != is6 || addr.Zone() != "" {
		return false
	}
	*to = addr.Unmap()
	return true
}

// setPort is the set of an attribute that is a port.
func setPort(to *uint16, value string) bool {
	if isUnavailable(value) {
		*to = 0
		return true
	}
	n, ok := parseDigits(value, 5)
	*to = uint16(n)
	return ok && n <= 65535
}

// trusts reports whether the client's address is in a list: that of the connection, and, once XCLIENT has said on whose behalf it speaks, that
// one too. A proxy that passes on what its client says would pass on that client's XCLIENT as well.
func (s *Session) trusts(list []netip.Prefix) bool {
	return len(list) > 0 && inPrefixes(list, s.PeerAddr()) && inPrefixes(list, s.remote)
}

func inPrefixes(list []netip.Prefix, addr net.Addr) bool {
	ip, ok := addrIP(addr)
	return ok && slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// addrIP returns the IP address of a TCP address, IPv4 as IPv4 and without a zone.
func addrIP(addr net.Addr) (ip netip.Addr, ok bool) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return ip, false
	}
	ip = tcp.AddrPort().Addr().Unmap().WithZone("")
	return ip, ip.IsValid()
}

// checkPrefixes looks for prefixes that nothing is in.
func checkPrefixes(field string, list []netip.Prefix) error {
	for _, p := range list {
		if !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("esmtp: %s: bad prefix %v", field, p)
		}
	}
	return nil
}
