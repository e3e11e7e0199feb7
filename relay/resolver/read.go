package resolver

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Bounds on what an answer can make us keep. Whoever owns a domain decides what is in it.
const (
	maxRecords = 100
	maxCNAMEs  = 8
	maxTTL     = time.Hour
	maxNegTTL  = 5 * time.Minute // RFC 2308 §5 allows hours; somebody is waiting for his mail
)

// read makes an Answer of a response, and says how long it may be kept.
func read(msg *dns.Msg, q question, trusted bool) (Answer, time.Duration, error) {
	a := Answer{Name: q.name, Secure: trusted && msg.AuthenticatedData}
	switch msg.Rcode {
	case dns.RcodeNameError:
		return Answer{}, negativeTTL(msg), fmt.Errorf("%w: %s", ErrNotFound, q.name)
	case dns.RcodeSuccess:
	default:
		return Answer{}, 0, fmt.Errorf("%w: %s: %s", ErrTemporary, q.name, dns.RcodeToString[msg.Rcode])
	}
	ttl := maxTTL
	if q.t != CNAME {
		var err error
		if a.Name, ttl, err = follow(msg, q.name); err != nil {
			return Answer{}, 0, err
		}
	}
	n := 0
	for _, rr := range msg.Answer {
		h := rr.Header()
		if h.Class != dns.ClassINET || h.Rrtype != uint16(q.t) || plain(h.Name) != a.Name {
			continue
		}
		if n++; n > maxRecords {
			break
		}
		ttl = min(ttl, time.Duration(h.Ttl)*time.Second)
		a.add(rr)
		if q.t == CNAME {
			break // a name has one
		}
	}
	if n == 0 {
		ttl = min(ttl, negativeTTL(msg))
	}
	return a, ttl, nil
}

// follow finds where the CNAMEs of an answer lead.
func follow(msg *dns.Msg, name string) (string, time.Duration, error) {
	ttl, start := maxTTL, name
	for range maxCNAMEs {
		next := ""
		for _, rr := range msg.Answer {
			if c, ok := rr.(*dns.CNAME); ok && c.Hdr.Class == dns.ClassINET && plain(c.Hdr.Name) == name {
				next = plain(c.Target)
				ttl = min(ttl, time.Duration(c.Hdr.Ttl)*time.Second)
				break
			}
		}
		if next == "" {
			return name, ttl, nil
		}
		name = next
	}
	return "", 0, fmt.Errorf("%w: %s: too many CNAMEs", ErrTemporary, start)
}

// add takes over one record. What can't be read is left out.
func (a *Answer) add(rr dns.RR) {
	switch rr := rr.(type) {
	case *dns.A:
		if addr, ok := netip.AddrFromSlice(rr.A); ok {
			a.Addrs = append(a.Addrs, addr.Unmap())
		}
	case *dns.AAAA:
		if addr, ok := netip.AddrFromSlice(rr.AAAA); ok {
			a.Addrs = append(a.Addrs, addr.Unmap())
		}
	case *dns.MX:
		a.MX = append(a.MX, Exchange{rr.Preference, plain(rr.Mx)})
	case *dns.TXT:
		a.TXT = append(a.TXT, unescape(strings.Join(rr.Txt, "")))
	case *dns.TLSA:
		if data, err := hex.DecodeString(rr.Certificate); err == nil {
			a.TLSA = append(a.TLSA, Association{rr.Usage, rr.Selector, rr.MatchingType, data})
		}
	case *dns.CNAME:
		a.Name = plain(rr.Target)
	}
}

// negativeTTL is how long to believe that there is nothing (RFC 2308 §5).
func negativeTTL(msg *dns.Msg) time.Duration {
	for _, rr := range msg.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(time.Duration(min(soa.Minttl, soa.Hdr.Ttl))*time.Second, maxNegTTL)
		}
	}
	return 0
}

// plain is a name as this package writes them.
func plain(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// unescape undoes the escapes of the library's text form, "\"" and "\065".
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 >= len(s) {
			b = append(b, s[i])
			continue
		}
		if i+3 < len(s) && isDigits(s[i+1:i+4]) {
			b = append(b, (s[i+1]-'0')*100+(s[i+2]-'0')*10+(s[i+3]-'0'))
			i += 3
			continue
		}
		i++
		b = append(b, s[i])
	}
	return string(b)
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
