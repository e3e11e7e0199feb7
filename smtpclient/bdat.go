package smtpclient

import (
	"context"
	"fmt"
	"strconv"

	"github.com/caddy-esmtp/esmtp"
)

// Bdat sends a chunk of a message (RFC 3030 §2), the last one with last set. It returns the reply; with LMTP and last one for each
// accepted recipient. Unless MAIL said BODY=BINARYMIME, a bare CR or LF is [ErrBareNewline] and closes the connection, as the
// server must not take what it has for the message.
func (c *Conn) Bdat(ctx context.Context, chunk []byte, last bool) (replies []esmtp.Reply, err error) {
	if _, ok := c.Extension("CHUNKING"); !ok {
		return nil, localError("BDAT", fmt.Errorf("%w: the server does not offer CHUNKING", ErrArgument))
	}
	release, err := c.watch(ctx, "BDAT")
	if err != nil {
		return nil, err
	}
	w := c.newDataWriter(release)
	w.beginChunk(int64(len(chunk)), last)
	if !c.binary {
		bare := false
		if bare, c.chunkCR = bareNewline(chunk, c.chunkCR); bare || last && c.chunkCR {
			return nil, w.fail(ErrBareNewline)
		}
	}
	w.enc.raw = true
	if _, err := w.Write(chunk); err != nil {
		return nil, err
	}
	return w.end(last)
}

// beginChunk puts a BDAT before what is written.
func (w *DataWriter) beginChunk(size int64, last bool) {
	w.verb = "BDAT"
	line := strconv.AppendInt(append(w.enc.buf, "BDAT "...), size, 10)
	if last {
		line = append(line, " LAST"...)
	} else {
		w.replies = 1
	}
	w.enc.buf = append(line, '\r', '\n')
}

// bareNewline looks for a CR or LF that is not part of CRLF. cr tells, before and after, that a CR came last.
func bareNewline(p []byte, cr bool) (bare, endsInCR bool) {
	for len(p) > 0 {
		if cr {
			if p[0] != '\n' {
				return true, false
			}
			p, cr = p[1:], false
			continue
		}
		text, end := cutLine(p)
		if cr = len(end) == 1 && end[0] == '\r'; len(end) == 1 && !cr {
			return true, false
		}
		p = p[len(text)+len(end):]
	}
	return false, cr
}
