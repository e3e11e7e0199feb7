package relay

import (
	"math/rand/v2"
	"time"

	"github.com/caddy-esmtp/esmtp/spool"
)

// Schedule says when a message is tried again, and when that ends (RFC 5321 §4.5.4.1). Its times count from when the message came into the queue: see
// [spool.Item.Entered].
type Schedule struct {
	// Retry is how long to wait after each failed attempt, the last one again and again. Each wait is up to an eighth longer or shorter, so that what failed
	// together is not tried together. Empty: 1, 3, 10, 20 and 30 minutes, 1, 2 and then every 4 hours.
	Retry []time.Duration

	// Expire is how long a message is tried at all, 5 days if zero; ExpireReport is the same for reports, which nobody waits for: 1 day if zero.
	Expire       time.Duration
	ExpireReport time.Duration

	// Warn is after how long the sender is told of the delay (RFC 3461 §4.1), 4 hours if zero, never if negative.
	Warn time.Duration
}

// Stop, as the last interval of an item's own schedule ([spool.Item].Retry), says that the item is frozen when the intervals before it are used up, and
// not tried as the relay's Schedule has it.
const Stop time.Duration = -1

func (s Schedule) resolve() Schedule {
	if len(s.Retry) == 0 {
		s.Retry = []time.Duration{time.Minute, 3 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour}
	}
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&s.Expire, 5*24*time.Hour)
	set(&s.ExpireReport, 24*time.Hour)
	set(&s.Warn, 4*time.Hour)
	return s
}

// next takes the wait after this attempt from the item's own schedule, or from the relay's. It reports false if the item's own is over.
func (s Schedule) next(item *spool.Item, now time.Time) (due time.Time, ok bool) {
	wait := s.Retry[min(max(item.Attempts-1, 0), len(s.Retry)-1)]
	if len(item.Retry) > 0 {
		if item.Retry[0] < 0 {
			return time.Time{}, false
		}
		wait, item.Retry = item.Retry[0], item.Retry[1:]
	}
	return now.Add(jitter(wait)), true
}

// jitter makes a wait up to an eighth longer or shorter.
func jitter(d time.Duration) time.Duration {
	span := int64(d) / 4
	if span <= 0 {
		return d
	}
	return d - time.Duration(span/2) + time.Duration(rand.Int64N(span))
}

// expires is when the item is given up.
func (s Schedule) expires(item *spool.Item) time.Time {
	switch {
	case !item.Expires.IsZero():
		return item.Expires
	case item.Sender.Address == "":
		return item.Entered().Add(s.ExpireReport)
	}
	return item.Entered().Add(s.Expire)
}
