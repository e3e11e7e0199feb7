package caddymodule

import (
	"container/list"
	"crypto/tls"
	"errors"
	"net"

	"github.com/soheilhy/cmux"
)

// client is a connection that is being recognized. It notes what came of reading from it.
type client struct {
	net.Conn
	begun bool  // octets were read
	err   error // of the last read

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
func (s *sniffed) CloseWrite() error {
	if conn, ok := s.conn.(interface{ CloseWrite() error }); ok {
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
