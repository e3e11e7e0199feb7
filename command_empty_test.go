package esmtp_test

import (
	"testing"

	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// Some clients send an empty line where none belongs: with the setting it gets no reply, and too many of them end the session.
func TestEmptyLinesArePassedOver(t *testing.T) {
	for _, test := range []struct {
		ignore bool
		script string
	}{
		{false, greeting + "C:\nS: 500 5.5.2 *\nC: QUIT\nS: 221 *\nclose"},
		{true, greeting + "C:\nC: NOOP\nS: 250 *\nC:\nC:\nC: QUIT\nS: 221 *\nclose"},
		{true, greeting + "C| \\x20\\r\\n\nS: 500 *\nC: QUIT\nS: 221 *\nclose"}, // that is not empty
		{true, greeting + "C:\nC:\nC:\nC:\nC:\nS: 421 4.7.0 *\nclose"},
		{true, opening + "C: DATA\nS: 354 *\nC:\nC: body\nC: .\nS: 250 *\nC: QUIT\nS: 221 *\nclose"},
	} {
		srv, _ := newSpy(nil)
		srv.IgnoreEmptyLines = test.ignore
		srv.Limits.Junk = 4
		esmtptest.Run(t, srv, test.script)
	}
}
