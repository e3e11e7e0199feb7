//go:build unix && !linux

package spool

import "errors"

func mountSmall(string, int) (func() error, error) { return nil, errors.ErrUnsupported }
