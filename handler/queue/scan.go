package queue

import (
	"encoding/binary"
	"strings"
	"time"
)

// has8Bit reports whether there is an octet over 127 in p: eight at a time.
func has8Bit(p []byte) bool {
	const high = 0x8080808080808080
	for ; len(p) >= 32; p = p[32:] {
		if (binary.LittleEndian.Uint64(p)|binary.LittleEndian.Uint64(p[8:])|binary.LittleEndian.Uint64(p[16:])|binary.LittleEndian.Uint64(p[24:]))&high != 0 {
			return true
		}
	}
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

func isReceived(name string) bool {
	return len(name) == len("Received") && strings.EqualFold(name, "Received")
}

// waivesTLS reports whether a field says that TLS is not required (RFC 8689 §3).
func waivesTLS(name, value string) bool {
	return len(name) == len("TLS-Required") && strings.EqualFold(name, "TLS-Required") && strings.EqualFold(strings.TrimSpace(value), "No")
}

// maxHold is how long a message can be held back (RFC 4865 §3).
const maxHold = 30 * 24 * time.Hour

// futureRelease is the line of EHLO for it: how many seconds, and until when.
func futureRelease(now time.Time) string {
	return "FUTURERELEASE 2592000 " + now.Add(maxHold).UTC().Format("2006-01-02T15:04:05Z")
}
