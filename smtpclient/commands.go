package smtpclient

import (
	"context"
	"crypto/tls"
	"slices"
	"strings"

	"github.com/caddy-esmtp/esmtp"
)

// Mail begins a transaction (RFC 5321 §4.1.1.2). Parameters are given as on the wire, "SIZE=1000"; [Conn.MailParams] makes them.
// Those of the path itself are not sent. As with all commands the reply is there, beside the error, whenever the server gave one.
func (c *Conn) Mail(ctx context.Context, from esmtp.Path, params ...string) (esmtp.Reply, error) {
	reply, err := c.do(ctx, pathCommand("MAIL FROM:<", from, params))
	if err == nil {
		c.beginMail(params)
	}
	return reply, err
}

// Rcpt adds a recipient (RFC 5321 §4.1.1.3). See [Conn.Mail]; [Conn.RcptParams] makes the parameters.
func (c *Conn) Rcpt(ctx context.Context, to esmtp.Path, params ...string) (esmtp.Reply, error) {
	reply, err := c.do(ctx, pathCommand("RCPT TO:<", to, params))
	if err == nil {
		c.accepted++
	}
	return reply, err
}

// Reset ends the transaction (RFC 5321 §4.1.1.5).
func (c *Conn) Reset(ctx context.Context) (esmtp.Reply, error) {
	reply, err := c.do(ctx, "RSET")
	if err == nil {
		c.endMail()
	}
	return reply, err
}

func (c *Conn) beginMail(params []string) {
	c.endMail()
	c.inMail = true
	c.binary = slices.ContainsFunc(params, func(p string) bool { return upper(p) == "BODY=BINARYMIME" })
}

func (c *Conn) endMail() { c.inMail, c.binary, c.chunkCR, c.accepted = false, false, false, 0 }

// Noop does nothing, but shows whether the server is still there (RFC 5321 §4.1.1.9).
func (c *Conn) Noop(ctx context.Context) (esmtp.Reply, error) { return c.do(ctx, "NOOP") }

// Vrfy asks for a user or mailbox (RFC 5321 §4.1.1.6).
func (c *Conn) Vrfy(ctx context.Context, name string) (esmtp.Reply, error) {
	return c.do(ctx, "VRFY "+name)
}

// Command sends a command of the caller's, such as "ETRN example.org", and returns its reply. It is not for commands that change what
// the connection knows, nor for those that are followed by something else than a reply.
func (c *Conn) Command(ctx context.Context, line string) (esmtp.Reply, error) { return c.do(ctx, line) }

// Quit says QUIT, waits a moment for the reply, and closes the connection.
func (c *Conn) Quit(ctx context.Context) error {
	defer c.Close()
	c.opts.Timeouts.Command = c.opts.Timeouts.Quit
	_, err := c.do(ctx, "QUIT")
	if err == nil {
		if conn, ok := c.conn.(*tls.Conn); ok {
			conn.CloseWrite() // within the deadline of QUIT itself
		}
		c.err = &Error{Class: Network, Verb: "QUIT", Reply: replyLost, Local: true, Err: ErrClosed}
	}
	return err
}

func (c *Conn) do(ctx context.Context, line string) (reply esmtp.Reply, err error) {
	err = c.guard(ctx, verbOf(line), func() error {
		reply, err = c.command(line, 0)
		return err
	})
	return reply, err
}

// giveUp ends a transaction in the way that [Options.QuitOnError] says.
func (c *Conn) giveUp() {
	if c.err != nil || c.closed.Load() {
		return
	}
	if c.opts.QuitOnError {
		c.opts.Timeouts.Command = c.opts.Timeouts.Quit
		c.command("QUIT", 0)
		c.fail(&Error{Class: Network, Verb: "QUIT", Reply: replyLost, Local: true, Err: ErrClosed})
		return
	}
	if _, err := c.command("RSET", 0); err == nil {
		c.endMail()
		return
	}
	c.Close()
}

// pathCommand is MAIL or RCPT.
func pathCommand(command string, path esmtp.Path, params []string) string {
	var b strings.Builder
	b.WriteString(command)
	b.WriteString(path.String())
	b.WriteByte('>')
	for _, p := range params {
		b.WriteByte(' ')
		b.WriteString(p)
	}
	return b.String()
}

// verbOf is the verb of a command.
func verbOf(line string) string {
	verb, _, _ := strings.Cut(line, " ")
	return verb
}

// isLine reports whether a text can be sent as a command: nothing in it ends a line.
func isLine(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return s != ""
}

// isVisible reports whether a text is printable ASCII without spaces.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// isASCII reports whether a text has no octet over 127.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// upper is ASCII in upper case; unlike strings.ToUpper it leaves all else alone.
func upper(s string) string {
	return strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' {
			return c - ('a' - 'A')
		}
		return c
	}, s)
}
