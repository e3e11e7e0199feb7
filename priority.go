package esmtp

import "strings"

// Priority returns the MT-PRIORITY parameter of MAIL, -9 to 9, and whether there was one; a message without has priority 0 (RFC 6710
// §4.1). Believe a positive one only from a client that you trust: any other is to be lowered, or refused with 550 5.7.15.
func (p Path) Priority() (level int, ok bool) {
	v, ok := p.Param("MT-PRIORITY")
	if !ok {
		return 0, false
	}
	return parsePriority(v)
}

// parsePriority reads priority-value: a digit, or '-' and one that is not 0 (RFC 6710 §7).
func parsePriority(v string) (level int, ok bool) {
	digit, negative := strings.CutPrefix(v, "-")
	if len(digit) != 1 || digit[0] < '0' || digit[0] > '9' || negative && digit == "0" {
		return 0, false
	}
	level = int(digit[0] - '0')
	if negative {
		level = -level
	}
	return level, true
}

func isPriority(v string) bool {
	_, ok := parsePriority(v)
	return ok
}

// isPriorityProfile checks the parameter of MT-PRIORITY in EHLO, the name of a Priority Assignment Policy (RFC 6710 §7).
func isPriorityProfile(name string) bool {
	for i := range len(name) {
		if c := name[i]; !isAlnum(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return 1 <= len(name) && len(name) <= 20
}
