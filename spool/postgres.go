package spool

import (
	"context"
	"errors"
)

func (s *store) openPostgres(ctx context.Context, url string) error {
	return errors.New("PostgreSQL: not there yet")
}
