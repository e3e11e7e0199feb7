//go:build !unix

package esmtp

import "errors"

func (in *input) initRaw() {}

func (in *input) readRaw() error { return errors.ErrUnsupported }
