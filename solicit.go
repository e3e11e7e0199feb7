package esmtp

import "strings"

// Solicit returns the classes of solicitation that MAIL says the message has, such as "net.example:ADV"; nil without the parameter
// (RFC 3865 §2.3). What to do with them is policy: refuse those that [Session.Offers] lists for "NO-SOLICITING" with 550 5.7.1.
func (p Path) Solicit() []string {
	v, ok := p.Param("SOLICIT")
	if !ok {
		return nil
	}
	return strings.Split(v, ",")
}

// isSolicit checks Solicitation-keywords (RFC 3865 §2.2).
func isSolicit(v string) bool {
	for word := range strings.SplitSeq(v, ",") {
		if word == "" || !isAlnum(word[0]) || '0' <= word[0] && word[0] <= '9' {
			return false
		}
		for i := range len(word) {
			if c := word[i]; !isAlnum(c) && strings.IndexByte(".-_:", c) < 0 {
				return false
			}
		}
	}
	return len(v) <= 1000
}
