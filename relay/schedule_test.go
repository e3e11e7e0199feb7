package relay

import (
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/spool"
)

// Warnings and giving up count from when a message came into the queue, however long before that it was accepted.
func TestTimesCountFromTheQueue(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	s := Schedule{Expire: 10 * time.Hour, ExpireReport: 5 * time.Hour, Warn: time.Hour}.resolve()
	for _, test := range []struct {
		name    string
		item    spool.Item // its ID is that of one that was accepted long ago
		late    bool
		expires time.Time
	}{
		{"never kept out", spool.Item{}, true, spool.ID(0).Time().Add(5 * time.Hour)},
		{"just released", spool.Item{Since: now}, false, now.Add(5 * time.Hour)},
		{"for a while", spool.Item{Since: ago(time.Hour)}, true, ago(time.Hour).Add(5 * time.Hour)},
		{"and its sender was told", spool.Item{Since: ago(2 * time.Hour), Warned: ago(time.Hour)}, false, ago(2 * time.Hour).Add(5 * time.Hour)},
		{"told before it was kept out", spool.Item{Since: ago(2 * time.Hour), Warned: ago(3 * time.Hour)}, true, ago(2 * time.Hour).Add(5 * time.Hour)},
		{"a message", spool.Item{Since: now, Sender: spool.Path{Address: "ann@example.org"}}, false, now.Add(10 * time.Hour)},
		{"with an end of its own", spool.Item{Since: now, Expires: now.Add(time.Minute)}, false, now.Add(time.Minute)},
	} {
		a := &attempt{r: &Relay{Schedule: s}, item: &test.item, last: Attempt{Later: 1}}
		if got := a.late(now); got != test.late {
			t.Errorf("%s: late is %t", test.name, got)
		}
		if got := s.expires(&test.item); !got.Equal(test.expires) {
			t.Errorf("%s: it expires %v, want %v", test.name, got, test.expires)
		}
	}
}
