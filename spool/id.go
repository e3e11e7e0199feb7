package spool

import (
	"errors"
	"strings"
	"sync"
	"time"
)

// ID names an item or a message, and sorts by the time when it was made: 41 bits of milliseconds since 2026, 10 bits for the process among
// those that share the spool, and a counter of 12 bits. Zero is no ID.
type ID int64

const (
	idEpoch    = 1767225600000 // 2026-01-01, in milliseconds
	idNodeBits = 10
	idSeqBits  = 12
	idLen      = 13
	idDigits   = "0123456789abcdefghjkmnpqrstvwxyz"
)

// errID is what [ParseID] returns.
var errID = errors.New("spool: not an ID: want 13 digits of 0-9 and a-z without i, l, o and u")

// String is the text form: 13 characters of [0-9a-z], which sort as the IDs do.
func (id ID) String() string {
	var b [idLen]byte
	n := uint64(id)
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = idDigits[n&31]
		n >>= 5
	}
	return string(b[:])
}

// Time is when the ID was made, to the millisecond.
func (id ID) Time() time.Time {
	return time.UnixMilli(int64(id)>>(idNodeBits+idSeqBits) + idEpoch)
}

// ParseID reads the text form of an ID.
func ParseID(s string) (ID, error) {
	if len(s) != idLen || s[0] > '7' {
		return 0, errID
	}
	var n uint64
	for i := range len(s) {
		d := strings.IndexByte(idDigits, s[i])
		if d < 0 {
			return 0, errID
		}
		n = n<<5 | uint64(d)
	}
	return ID(n), nil
}

// MarshalText and UnmarshalText use the text form in JSON.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is the reverse of [ID.MarshalText].
func (id *ID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseID(string(b))
	return err
}

// idClock makes IDs that never repeat in this process, nor between processes with different nodes: if more than 4096 are wanted in one
// millisecond, or the clock is set back, it runs ahead of the clock.
type idClock struct {
	mu   sync.Mutex
	node int64
	last int64 // milliseconds and counter, without the node
}

// next makes an ID.
func (c *idClock) next() ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last+1, (time.Now().UnixMilli()-idEpoch)<<idSeqBits)
	const seq = 1<<idSeqBits - 1
	return ID((c.last&^seq)<<idNodeBits | c.node<<idSeqBits | c.last&seq)
}

// after makes sure that all IDs to come are greater than id.
func (c *idClock) after(id ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ms := int64(id) >> (idNodeBits + idSeqBits)
	c.last = max(c.last, (ms+1)<<idSeqBits)
}
