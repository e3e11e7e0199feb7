package auth

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds on what Dovecot says.
const (
	maxDovecotLine  = 16 << 10
	maxDovecotHello = 200 // lines
)

var errProtocol = errors.New("auth: dovecot is out of step")

// dovecotConn is a connection to Dovecot, after the handshake.
type dovecotConn struct {
	net.Conn
	r          *bufio.Reader
	timeout    time.Duration
	mechanisms []string
}

// dial connects to Dovecot, and exchanges what both sides have to say first.
func (d *Dovecot) dial() (*dovecotConn, error) {
	conn, err := net.DialTimeout("unix", d.Socket, d.timeout())
	if err != nil {
		return nil, fmt.Errorf("auth: dovecot: %w", err)
	}
	c := &dovecotConn{Conn: conn, r: bufio.NewReaderSize(conn, maxDovecotLine), timeout: d.timeout()}
	// Dovecot tells connections apart by this number; a process has one connection, it thinks.
	err = c.send("VERSION", "1", "1\nCPID", strconv.FormatUint(1+uint64(rand.Uint32N(1<<31-1)), 10))
	if err == nil {
		err = c.readHello()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// readHello reads the server's side of the handshake.
func (c *dovecotConn) readHello() error {
	spoken := false
	for range maxDovecotHello {
		fields, err := c.line()
		if err != nil {
			return err
		}
		switch fields[0] {
		case "VERSION":
			if len(fields) < 2 || fields[1] != "1" {
				return fmt.Errorf("auth: dovecot speaks another version of its protocol: %.20q", fields[1:])
			}
			spoken = true
		case "MECH":
			if len(fields) > 1 && isRelayed(fields[1], fields[2:]) {
				c.mechanisms = append(c.mechanisms, fields[1])
			}
		case "DONE":
			if !spoken {
				return errProtocol
			}
			return nil
		}
	}
	return errProtocol
}

// isRelayed reports whether a mechanism is for us to offer: not those that need what only an end of the TLS connection has, or that are for Dovecot's own use.
func isRelayed(mechanism string, properties []string) bool {
	return mechanism != "EXTERNAL" && !strings.HasSuffix(mechanism, "-PLUS") && !slices.Contains(properties, "private")
}

// send writes a line of fields.
func (c *dovecotConn) send(fields ...string) error {
	if err := c.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	_, err := c.Write([]byte(strings.Join(fields, "\t") + "\n"))
	if err != nil {
		return fmt.Errorf("auth: dovecot: %w", err)
	}
	return nil
}

// line reads a line, and returns its fields.
func (c *dovecotConn) line() ([]string, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("auth: dovecot: %w", err)
	}
	return strings.Split(string(line[:len(line)-1]), "\t"), nil
}

// unescape undoes Dovecot's way of writing tabs and line ends.
var unescape = strings.NewReplacer("\x01"+"1", "\x01", "\x01t", "\t", "\x01n", "\n", "\x01r", "\r", "\x01"+"0", "\x00")

// answer reads the answer to our request: OK, FAIL or CONT, and its parameters; that of CONT has no name.
func (c *dovecotConn) answer() (verb string, params map[string]string, err error) {
	for range maxDovecotHello {
		fields, err := c.line()
		if err != nil {
			return "", nil, err
		}
		if !slices.Contains([]string{"OK", "FAIL", "CONT"}, fields[0]) || len(fields) < 2 || fields[1] != "1" {
			continue // it can tell us of other things at any time
		}
		params = make(map[string]string)
		for _, field := range fields[2:] {
			key, value, _ := strings.Cut(field, "=")
			if fields[0] == "CONT" {
				key, value = "", field
			}
			params[key] = unescape.Replace(value)
		}
		return fields[0], params, nil
	}
	return "", nil, errProtocol
}
