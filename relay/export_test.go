package relay

import "time"

// SetSlow changes how long trying a hop must take to be remembered. It returns what puts it back.
func SetSlow(d time.Duration) (restore func()) {
	old := slow
	slow = d
	return func() { slow = old }
}
