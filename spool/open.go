package spool

import (
	"context"
	"errors"
)

// Open opens the spool at url, and makes it if there is none:
//
//	sqlite:///var/spool/esmtp   a folder, which holds spool.db and bodies/; a path without a scheme is the same
//	postgres://user@host/db     a database, with the settings in the URL that pgx knows; several processes may share it
//
// The folder belongs to one process at a time ([ErrLocked]). ctx bounds the opening only.
func Open(ctx context.Context, url string, o *Options) (Spool, error) {
	return nil, errors.New("spool: not there yet")
}
