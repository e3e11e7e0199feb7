package esmtp

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"
)

// Session IDs sort by time: 41 bits of milliseconds and 23 bits of a counter that begins anywhere.
var idCounter = func() *atomic.Uint64 {
	var n atomic.Uint64
	n.Store(rand.Uint64())
	return &n
}()

const (
	idCounterBits = 23
	idEpoch       = 1577836800000 // 2020, in milliseconds
	idDigits      = "0123456789abcdefghjkmnpqrstvwxyz"
)

func newID() uint64 {
	ms := uint64(time.Now().UnixMilli() - idEpoch)
	return ms<<idCounterBits | idCounter.Add(1)&(1<<idCounterBits-1)
}

// formatID writes an ID in base 32.
func formatID(id uint64) string {
	var b [13]byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = idDigits[id&31]
		id >>= 5
	}
	return string(b[:])
}

// IsSessionID reports whether a text can be the ID of a session, in any case.
func IsSessionID(text string) bool {
	_, ok := parseID(text)
	return ok
}

// parseID reads what formatID wrote, in any case.
func parseID(text string) (id uint64, ok bool) {
	if len(text) != 13 {
		return 0, false
	}
	for i := range len(text) {
		digit := strings.IndexByte(idDigits, lower(text[i]))
		if digit < 0 {
			return 0, false
		}
		id = id<<5 | uint64(digit)
	}
	return id, formatID(id) == strings.ToLower(text)
}
