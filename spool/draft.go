package spool

import (
	"context"
	"errors"
)

// Draft is a message that is coming in: Write its body, then Commit it. It belongs to one goroutine at a time.
type Draft struct{}

// Write adds to the body. It copies p. Its error is [ErrFull], or that of the disk; Commit returns it, too.
func (d *Draft) Write(p []byte) (int, error) { return 0, errors.New("spool: not there yet") }

// Size is how many octets the body has so far.
func (d *Draft) Size() int64 { return 0 }

// Commit puts the message into the spool, as one item or more. When it returns without an error, all of it is on disk; with one, nothing
// is, and ids is nil. It sets ID, Message, Size and what else the spool sets in the items. [ErrItem] if an item can't be kept, [ErrFull] if
// there is no room. If ctx ends first, the message may be there nevertheless.
func (d *Draft) Commit(ctx context.Context, items ...*Item) (ids []ID, err error) {
	return nil, errors.New("spool: not there yet")
}

// Abort throws the draft away. After Commit it does nothing, so it can be deferred.
func (d *Draft) Abort() {}
