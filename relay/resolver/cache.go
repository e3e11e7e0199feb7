package resolver

import (
	"time"

	"github.com/caddy-esmtp/esmtp/relay/internal/ttlmap"
)

// question is what was asked: the key of the cache.
type question struct {
	name string
	t    Type
}

// result is an answer that may be used again, or the error that there is no such name.
type result struct {
	answer Answer
	err    error
}

// maxCached is how many octets an answer may have to be kept, so that the size of the cache bounds its memory.
const maxCached = 4096

// cache keeps results until they expire.
type cache struct{ m *ttlmap.Map[question, result] }

func newCache(size int) cache { return cache{ttlmap.New[question, result](size)} }

func (c cache) get(q question) (Answer, error, bool) {
	r, ok := c.m.Get(q)
	return r.answer, r.err, ok
}

func (c cache) put(q question, a Answer, err error, ttl time.Duration) {
	if a.octets() <= maxCached {
		c.m.Put(q, result{a, err}, time.Now().Add(ttl))
	}
}

// octets is about how much memory an answer takes.
func (a Answer) octets() int {
	n := 24 * len(a.Addrs)
	for _, mx := range a.MX {
		n += 24 + len(mx.Host)
	}
	for _, s := range a.TXT {
		n += 16 + len(s)
	}
	for _, t := range a.TLSA {
		n += 32 + len(t.Data)
	}
	return n
}
