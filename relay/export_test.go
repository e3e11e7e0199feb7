package relay

import "time"

// SetSlow changes how long trying a hop must take to be remembered. It returns what puts it back.
func SetSlow(d time.Duration) (restore func()) {
	old := slow
	slow = d
	return func() { slow = old }
}

// SetPatience changes how long an attempt waits before it stands aside. It returns what puts it back.
func SetPatience(d time.Duration) (restore func()) {
	old := patience
	patience = d
	return func() { patience = old }
}

// SetMaxWaiting changes how many may wait at a hop. It returns what puts it back.
func SetMaxWaiting(n int) (restore func()) {
	old := maxWaiting
	maxWaiting = n
	return func() { maxWaiting = old }
}

// SetPause changes how long to wait at first when the spool doesn't answer. It returns what puts it back.
func SetPause(d time.Duration) (restore func()) {
	old := pause
	pause = d
	return func() { pause = old }
}
