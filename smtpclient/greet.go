package smtpclient

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// readGreeting waits for the 220.
func (c *Conn) readGreeting() (err error) {
	c.greeting, err = c.receive("greeting", c.opts.Timeouts.Greeting, 0)
	return err
}

// sayHello says EHLO, or to a server that doesn't know it HELO (RFC 5321 §3.2). LMTP has LHLO and nothing else (RFC 2033 §4.1).
func (c *Conn) sayHello() error {
	name := c.opts.localName(c.raw.LocalAddr())
	if x := c.opts.XClient; c.speaking && isVisible(x.HELO) {
		name = x.HELO
	}
	verb := "EHLO "
	if c.opts.LMTP {
		verb = "LHLO "
	}
	reply, err := c.command(verb+name, 0)
	if !c.opts.LMTP && c.err == nil && slices.Contains([]int{500, 501, 502, 504}, reply.Code) {
		c.extensions = nil
		c.hello, err = c.command("HELO "+name, 0)
		return err
	}
	if err == nil {
		c.hello = reply
		c.extensions = parseExtensions(reply.Lines, c.opts.Ignore)
	}
	return err
}

// parseExtensions reads what the lines of EHLO behind the first offer (RFC 5321 §4.1.1.1). "AUTH=" is an old form of AUTH that
// some servers still send beside the right one.
func parseExtensions(lines, ignore []string) map[string]string {
	extensions := make(map[string]string, len(lines))
	for _, line := range lines[1:] {
		keyword, params, _ := strings.Cut(strings.TrimSpace(line), " ")
		keyword = upper(keyword)
		ignored := slices.ContainsFunc(ignore, func(k string) bool { return upper(k) == keyword })
		if _, twice := extensions[keyword]; keyword != "" && !ignored && !twice {
			extensions[keyword] = strings.TrimSpace(params)
		}
	}
	return extensions
}

// MaxSize returns how many octets of a message the server takes (RFC 1870), and whether it said so. 0 is no limit.
func (c *Conn) MaxSize() (octets int64, ok bool) {
	params, ok := c.Extension("SIZE")
	octets, err := strconv.ParseInt(params, 10, 64)
	if err != nil || octets < 0 {
		octets = 0
	}
	return octets, ok
}

// Limit returns a limit that the server has told of (RFC 9422): "MAILMAX" transactions of a connection, "RCPTMAX" recipients of a transaction,
// "RCPTDOMAINMAX" domains of recipients of a connection. 0: none was told.
func (c *Conn) Limit(name string) int {
	params, _ := c.Extension("LIMITS")
	for limit := range strings.FieldsSeq(params) {
		if key, value, _ := strings.Cut(limit, "="); strings.EqualFold(key, name) {
			if n, err := strconv.Atoi(value); err == nil && n > 0 && len(value) <= 6 { // RFC 9422 §3.1
				return n
			}
		}
	}
	return 0
}

// startTLS says STARTTLS if it is offered, and EHLO again (RFC 3207).
func (c *Conn) startTLS() error {
	_, offered := c.Extension("STARTTLS")
	if !offered {
		if c.opts.TLS == Required {
			return missing("STARTTLS", replyNoTLS)
		}
		return nil
	}
	reply, err := c.command("STARTTLS", 0)
	switch {
	case c.err != nil:
		return err
	case err != nil && c.opts.TLS == Opportunistic:
		return nil
	case err != nil:
		return err
	case reply.Code != 220:
		return c.lost("STARTTLS", fmt.Errorf("%w: %w", ErrBadReply, reply))
	case c.in.Buffered() > 0:
		// Whoever sent that wants it to be read as if it had come inside TLS.
		return c.fail(&Error{Class: Unexpected, Verb: "STARTTLS", Reply: replyUnexpected, Local: true, Err: ErrInjection})
	}
	if err := c.handshake(); err != nil {
		return err
	}
	return c.sayHello() // all that was learned in the clear is forgotten (RFC 3207 §4.2)
}

// handshake begins TLS.
func (c *Conn) handshake() error {
	conn := tls.Client(c.raw, c.opts.tlsConfig(c.host))
	err := c.raw.SetDeadline(time.Now().Add(c.opts.Timeouts.Greeting))
	if err == nil {
		err = conn.HandshakeContext(context.Background()) // guard closes the connection when its own context ends
	}
	if err != nil {
		return c.fail(&Error{Class: Network, Verb: "STARTTLS", Reply: replyTLS, Local: true, Err: fmt.Errorf("%w: %w", ErrHandshake, err)})
	}
	c.raw.SetDeadline(time.Time{})
	state := conn.ConnectionState()
	c.conn, c.tls, c.extensions = conn, &state, nil
	c.in.Reset(conn)
	return nil
}
