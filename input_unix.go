//go:build unix

package esmtp

import (
	"io"
	"net"
	"os"
	"syscall"
)

// initRaw prepares reading from plain sockets. Other connections, such as TLS, may have read ahead, and are read as usual.
func (in *input) initRaw() {
	switch c := in.conn.(type) {
	case *net.TCPConn:
		in.raw, _ = c.SyscallConn()
	case *net.UnixConn:
		in.raw, _ = c.SyscallConn()
	}
	if in.raw != nil {
		in.try = in.tryRead
	}
}

// readRaw reads into a buffer that is taken only when there is something to read.
func (in *input) readRaw() error {
	in.tryN, in.tryIO = 0, nil
	if err := in.raw.Read(in.try); err != nil {
		return err
	}
	switch {
	case in.tryIO != nil:
		return os.NewSyscallError("read", in.tryIO)
	case in.tryN == 0:
		return io.EOF
	}
	return nil
}

// tryRead is called by the runtime's poller: at once, and, if it returns false, again when the socket is readable.
func (in *input) tryRead(fd uintptr) bool {
	in.buf = takeBuffer(in.size)
	copy(in.buf, in.kept[:in.w])
	for {
		n, err := syscall.Read(int(fd), in.buf[in.w:])
		switch err {
		case nil:
			in.tryN = n
			in.w += n
			in.total.Add(int64(max(n, 0)))
			return true
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			giveBuffer(in.buf)
			in.buf = nil
			return false
		}
		in.tryIO = err
		return true
	}
}
