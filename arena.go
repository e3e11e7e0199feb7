package esmtp

import "strings"

// arena cuts the strings that hooks see out of larger blocks, so that a command costs no allocation of its
// own. A block is only ever appended to, never reused: a string that a hook keeps stays good.
type arena struct {
	block strings.Builder
	lines []string // the same, for one-line texts of replies
}

const arenaBlock = 1024

// text returns p as a string.
func (a *arena) text(p []byte) string {
	if len(p) == 0 {
		return ""
	}
	a.room(len(p))
	a.block.Write(p)
	return a.block.String()[a.block.Len()-len(p):]
}

// line returns x followed by y as the only line of a reply.
func (a *arena) line(x, y string) []string {
	n := len(x) + len(y)
	a.room(n)
	a.block.WriteString(x)
	a.block.WriteString(y)
	if len(a.lines) == cap(a.lines) {
		a.lines = make([]string, 0, 16)
	}
	a.lines = append(a.lines, a.block.String()[a.block.Len()-n:])
	return a.lines[len(a.lines)-1 : len(a.lines) : len(a.lines)]
}

// room begins a new block if n octets don't fit into what is left of this one.
func (a *arena) room(n int) {
	if a.block.Len()+n > a.block.Cap() {
		a.block.Reset()
		a.block.Grow(max(n, arenaBlock))
	}
}
