package esmtp

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// Sizes of the read buffers: a small one while commands are read, a large one while a message is.
const (
	lineBuffer  = 4 << 10
	chunkBuffer = 64 << 10
)

var (
	lineBuffers  = sync.Pool{New: func() any { return new([lineBuffer]byte) }}
	chunkBuffers = sync.Pool{New: func() any { return new([chunkBuffer]byte) }}
)

func takeBuffer(size int) []byte {
	if size <= lineBuffer {
		return lineBuffers.Get().(*[lineBuffer]byte)[:]
	}
	return chunkBuffers.Get().(*[chunkBuffer]byte)[:]
}

func giveBuffer(b []byte) {
	switch cap(b) {
	case lineBuffer:
		lineBuffers.Put((*[lineBuffer]byte)(b[:lineBuffer]))
	case chunkBuffer:
		chunkBuffers.Put((*[chunkBuffer]byte)(b[:chunkBuffer]))
	}
}

// input reads from a connection. While it waits with nothing but a few octets at hand it holds no buffer: that is what keeps an
// idle session small.
type input struct {
	conn net.Conn
	buf  []byte // buf[r:w] is read and not yet consumed
	r, w int
	kept [8]byte // what stands in for buf[:w] while there is none
	size int     // of the buffer to take

	// On a plain socket the buffer is taken only when the kernel has octets; see input_unix.go.
	raw   syscall.RawConn
	try   func(fd uintptr) bool
	tryN  int
	tryIO error

	primed bool // an octet was read without a buffer: more may be there

	total atomic.Int64 // octets that were read

	pushed    byte // an octet that was read ahead while a hook was at work
	hasPushed bool
}

func (in *input) init(conn net.Conn) {
	in.conn = conn
	in.raw, in.try = nil, nil // TLS came over the socket that was read
	in.size = lineBuffer
	if conn != nil {
		in.initRaw()
	}
}

// buffered is how many octets are read and not yet consumed.
func (in *input) buffered() int { return in.w - in.r }

// bytes returns what is read and not yet consumed.
func (in *input) bytes() []byte {
	if in.buf == nil {
		return in.kept[in.r:in.w]
	}
	return in.buf[in.r:in.w]
}

// pending reports whether there are octets that were read and not yet consumed.
func (in *input) pending() bool { return in.buffered() > 0 || in.hasPushed }

// push gives an octet that was read elsewhere to the next fill. The buffer stays as it is: slices of it may be in use.
func (in *input) push(c byte) { in.pushed, in.hasPushed = c, true }

// release gives the buffer back; nothing in it is needed any more, or it fits into kept.
func (in *input) release() {
	n := copy(in.kept[:], in.bytes())
	if in.buf != nil {
		giveBuffer(in.buf)
		in.buf = nil
	}
	in.r, in.w = 0, n
}

// fill reads at least one more octet. What bytes returned before is not valid any more. The caller sees to it that less than
// a buffer is waiting.
func (in *input) fill() error {
	switch n := in.buffered(); {
	case in.hasPushed:
		in.makeRoom()
		in.buf[in.w] = in.pushed
		in.w++
		in.hasPushed, in.primed = false, true
		return nil
	case in.primed || n >= len(in.kept):
		in.primed = false
		in.makeRoom()
		return in.read()
	default:
		in.release()
		return in.wait()
	}
}

// wait reads while no buffer is held.
func (in *input) wait() error {
	if in.raw != nil {
		return in.readRaw()
	}
	n, err := in.conn.Read(in.kept[in.w : in.w+1])
	if n > 0 {
		in.total.Add(int64(n))
		in.w += n
		in.primed = true
		return nil
	}
	return readError(err)
}

func (in *input) read() error {
	n, err := in.conn.Read(in.buf[in.w:])
	if n > 0 {
		in.total.Add(int64(n))
		in.w += n
		return nil
	}
	return readError(err)
}

// readError makes sure that a read that got nothing is an error.
func readError(err error) error {
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// makeRoom moves what waits to the front of a buffer of the size that is wanted.
func (in *input) makeRoom() {
	p := in.bytes()
	if cap(in.buf) != in.size && len(p) < in.size {
		b := takeBuffer(in.size)
		n := copy(b, p)
		if in.buf != nil {
			giveBuffer(in.buf)
		}
		in.buf, in.r, in.w = b, 0, n
		return
	}
	if in.r > 0 {
		in.w = copy(in.buf, p)
		in.r = 0
	}
}

// line returns the next line without its end, if it is whole. It is valid until the next fill. A line ends with CRLF, or, if lone is
// true, with a lone LF.
func (in *input) line(lone bool) (line []byte, ok bool) {
	p := in.bytes()
	for i := 0; ; {
		j := bytes.IndexByte(p[i:], '\n')
		if j < 0 {
			return nil, false
		}
		i += j + 1
		if i > 1 && p[i-2] == '\r' {
			in.r += i
			return p[:i-2], true
		}
		if lone {
			in.r += i
			return p[:i-1], true
		}
	}
}

// dropLine drops what is there up to the end of the line, that included, and reports how much and whether the end was there.
func (in *input) dropLine(lone bool) (n int, end bool) {
	p := in.bytes()
	if _, end = in.line(lone); end {
		return len(p) - in.buffered(), true
	}
	n = len(bytes.TrimSuffix(p, cr)) // it may be half a CRLF
	in.r += n
	return n, false
}
