package smtpclient

import (
	"bytes"

	"github.com/caddy-esmtp/esmtp/internal/mailtext"
)

// blockSize is how much of a message goes out in a write.
const blockSize = 64 << 10

// ascii tells what of a message has to be 7-bit.
type ascii uint8

const (
	ascii8Bit   ascii = iota // nothing
	asciiHeader              // the header: no SMTPUTF8 (RFC 6531 §3.6)
	ascii7Bit                // all of it: no 8BITMIME (RFC 6152 §3)
)

// encoder makes of a message what goes over the wire: lines that end with CRLF and nothing else, with a dot before a leading dot if the
// message goes by DATA (RFC 5321 §4.5.2). What it can't encode is an error before that octet, or the end of data, is sent.
type encoder struct {
	send func(block []byte) error
	buf  []byte // at most blockSize octets that wait for more

	dots  bool  // for DATA
	raw   bool  // for BINARYMIME: no lines, no checks
	fix   bool  // make CRLF of a bare CR or LF
	ascii ascii // what to check

	inLine bool // not at the beginning of one
	cr     bool // a CR came last, and waits for its LF
	inBody bool // an empty line has been
}

// write encodes a piece of the message. It takes lines from it, found by IndexByte, which looks at many octets at once.
func (e *encoder) write(p []byte) error {
	if e.raw {
		return e.put(p)
	}
	for len(p) > 0 {
		if e.cr {
			e.cr = false
			if p[0] == '\n' {
				p = p[1:]
			} else if !e.fix {
				return ErrBareNewline
			}
			if err := e.endLine(); err != nil {
				return err
			}
			continue
		}
		text, end := cutLine(p)
		if err := e.text(text); err != nil {
			return err
		}
		switch p = p[len(text)+len(end):]; {
		case len(end) == 0:
		case len(end) == 1 && end[0] == '\r':
			e.cr = true // with what comes next it is CRLF or bare
		case len(end) == 1 && !e.fix:
			return ErrBareNewline
		default:
			if err := e.endLine(); err != nil {
				return err
			}
		}
	}
	return nil
}

// cutLine returns the text up to the first CR or LF, and that: CRLF, CR, LF, or nothing.
func cutLine(p []byte) (text, end []byte) {
	n := bytes.IndexByte(p, '\n')
	line := p
	if n >= 0 {
		line = p[:n]
	}
	r := bytes.IndexByte(line, '\r')
	switch {
	case r < 0 && n < 0:
		return p, nil
	case r < 0:
		return line, p[n : n+1]
	case r == n-1:
		return line[:r], p[r : n+1]
	}
	return line[:r], p[r : r+1]
}

// text puts a part of a line.
func (e *encoder) text(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if (e.ascii == ascii7Bit || e.ascii == asciiHeader && !e.inBody) && mailtext.Has8Bit(p) {
		return Err8Bit
	}
	if !e.inLine && p[0] == '.' && e.dots {
		if err := e.put(dot); err != nil {
			return err
		}
	}
	e.inLine = true
	return e.put(p)
}

var (
	crlf = []byte("\r\n")
	dot  = []byte(".")
)

func (e *encoder) endLine() error {
	e.inBody = e.inBody || !e.inLine
	e.inLine = false
	return e.put(crlf)
}

// put sends full blocks and keeps the rest.
func (e *encoder) put(p []byte) error {
	for len(e.buf)+len(p) > blockSize {
		n := blockSize - len(e.buf)
		e.buf = append(e.buf, p[:n]...)
		if p = p[n:]; len(p) > 0 {
			if err := e.flush(); err != nil {
				return err
			}
		}
	}
	e.buf = append(e.buf, p...)
	return nil
}

func (e *encoder) flush() error {
	if len(e.buf) == 0 {
		return nil
	}
	err := e.send(e.buf)
	e.buf = e.buf[:0]
	return err
}

// end sends what is left, and for DATA the end: the last line gets its CRLF if it has none.
func (e *encoder) end() error {
	if e.cr {
		if !e.fix {
			return ErrBareNewline
		}
		e.cr = false
		if err := e.endLine(); err != nil {
			return err
		}
	}
	if e.dots {
		last := []byte("\r\n.\r\n")
		if !e.inLine {
			last = last[2:]
		}
		if err := e.put(last); err != nil {
			return err
		}
	}
	return e.flush()
}
