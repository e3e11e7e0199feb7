package caddymodule

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/soheilhy/cmux"
)

// client is a connection that is being recognized. It notes what came of reading from it.
type client struct {
	net.Conn
	begun bool  // octets were read
	err   error // of the last read

	handshake *handshake // nil if none was made here

	place   *list.Element // among those that are not decided; it and hurried are guarded by the mux
	hurried bool
}

func (c *client) Read(p []byte) (n int, err error) {
	n, c.err = c.Conn.Read(p)
	c.begun = c.begun || n > 0
	return n, c.err
}

// isGone reports whether the client left before it said anything, as health checks do.
func (c *client) isGone() bool {
	var t net.Error
	return !c.begun && c.err != nil && !(errors.As(c.err, &t) && t.Timeout())
}

// unwrap makes of what cmux returns what a server can make the most of: the connection itself, if nothing was read from it.
func (c *client) unwrap(muxed *cmux.MuxConn) net.Conn {
	if !c.begun {
		return c.Conn
	}
	s := &sniffed{muxed, c.Conn}
	if state, ok := c.Conn.(connectionStater); ok {
		return sniffedTLS{s, state}
	}
	return s
}

// sniffed is a connection of which the first octets have been read, and come again.
type sniffed struct {
	*cmux.MuxConn
	conn net.Conn
}

// CloseWrite does what MuxConn hides.
func (s *sniffed) CloseWrite() error { return closeWrite(s.conn) }

func closeWrite(conn net.Conn) error {
	if conn, ok := conn.(interface{ CloseWrite() error }); ok {
		return conn.CloseWrite()
	}
	return errors.ErrUnsupported
}

// sniffedTLS is one in TLS: web server and mail server see that by the method.
type sniffedTLS struct {
	*sniffed
	connectionStater
}

type connectionStater interface {
	ConnectionState() tls.ConnectionState
}

// forMail makes of a connection what tells a mail server of its handshake, so that it counts there.
func (c *client) forMail(conn net.Conn) net.Conn {
	if state, ok := conn.(connectionStater); ok && c.handshake != nil {
		return shaken{conn, state, c.handshake}
	}
	return conn
}

// shaken is a connection whose handshake was made before its server got it.
type shaken struct {
	net.Conn
	connectionStater
	*handshake
}

// CloseWrite does what net.Conn hides.
func (s shaken) CloseWrite() error { return closeWrite(s.Conn) }

// handshake is what came of one, and how long it took.
type handshake struct {
	err  error
	took time.Duration
}

func (h *handshake) HandshakeContext(context.Context) error { return h.err }
func (h *handshake) HandshakeTime() time.Duration           { return h.took }
