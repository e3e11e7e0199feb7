package esmtptest

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/caddy-esmtp/esmtp"
)

// delivered compares what HEADER, EOH and BODY got with the message so far. It reports whether they got all of it.
func (m *Model) delivered(calls []Call, text []byte, whole bool) (complete bool, err error) {
	want := m.repaired(text)
	h := m.header(text, whole)
	fields, begin, body := 0, -1, []byte(nil)
	for _, c := range calls {
		switch c.Verb {
		case "HEADER":
			if begin >= 0 || fields >= len(h.fields) {
				return false, fmt.Errorf("HEADER%q: the message has no such field, but %q", c.Args, h.fields)
			}
			name, value := splitField(h.fields[fields])
			if c.Args[0] != name || c.Args[1] != value || string(c.Chunk) != h.fields[fields] {
				return false, fmt.Errorf("HEADER%q %q, want %q %q", c.Args, c.Chunk, name, h.fields[fields])
			}
			fields++
		case "EOH":
			if begin >= 0 {
				return false, fmt.Errorf("EOH called twice")
			}
			if begin, err = m.checkEOH(c, h, fields); err != nil {
				return false, err
			}
		case "BODY":
			if len(c.Chunk) == 0 || len(c.Chunk) > 64<<10 || begin < 0 {
				return false, fmt.Errorf("BODY of %d octets, body began at %d", len(c.Chunk), begin)
			}
			body = append(body, c.Chunk...)
		}
	}
	switch {
	case begin >= 0 && !strings.HasPrefix(want[begin:], string(body)):
		return false, fmt.Errorf("body is %.200q, want %.200q", body, want[begin:])
	case m.rules.BareNewlines != esmtp.PassBare && !m.tx.binary && hasBare(bytes.TrimSuffix(body, []byte("\r"))):
		return false, fmt.Errorf("bare newline in a body: %.200q", body)
	}
	return begin >= 0 && len(body) == len(want)-begin, nil
}

// checkEOH checks why the header ended, and returns where the body begins.
func (m *Model) checkEOH(c Call, h header, fields int) (begin int, err error) {
	separator := ""
	if h.why == esmtp.HeaderBlank || h.why == esmtp.HeaderMalformed && m.rules.BadHeader == esmtp.InsertBlank {
		separator = "\r\n"
	}
	switch {
	case c.Why == esmtp.HeaderSwitched && !m.rules.NoDisconnect && fields <= len(h.fields):
		return len(strings.Join(h.fields[:fields], "")), nil
	case !h.ended || c.Why != h.why || fields != len(h.fields) || c.Args[0] != separator:
		return -1, fmt.Errorf("EOH got %v after %d fields with separator %q, want %v (%v) after %d with %q",
			c.Why, fields, c.Args[0], h.why, h.ended, len(h.fields), separator)
	}
	return h.body, nil
}
