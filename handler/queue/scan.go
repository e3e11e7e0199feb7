package queue

import (
	"strings"
	"time"
)

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
