package smtpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// Conn is a connection to a server. Its methods are for one goroutine at a time; only [Conn.Close] may be called by any, at any time.
type Conn struct {
	opts Options
	host string // for TLS, as given to Dial
	raw  net.Conn
	conn net.Conn // raw, or TLS on it
	in   *bufio.Reader
	out  []byte // commands to be sent

	greeting   esmtp.Reply
	hello      esmtp.Reply
	extensions map[string]string
	tls        *tls.ConnectionState

	data      *DataWriter // the message that is being sent
	user      bool        // logged in
	speaking  bool        // for another client, after XCLIENT
	inMail    bool        // after MAIL
	binary    bool        // MAIL said BODY=BINARYMIME
	chunkCR   bool        // the last chunk ended in a CR
	accepted  int         // recipients of this transaction
	completed int         // messages
	since     time.Time
	closed    atomic.Bool
	err       error // why the connection is of no more use
}

// Dial connects to a server, and does all that comes before the first message: greeting, EHLO, TLS, XCLIENT, AUTH. The network is "tcp", "tcp4",
// "tcp6" or "unix", the address as for [net.Dial]. options may be nil. What can go wrong is an [*Error]; there is no connection then. Whatever its Class, it concerns the server
// and not any message: try another, or again later.
func Dial(ctx context.Context, network, address string, options *Options) (*Conn, error) {
	opts := options.withDefaults()
	dialer := net.Dialer{Timeout: opts.Timeouts.Connect}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, &Error{Class: Network, Verb: "connect", Reply: replyConnect, Local: true, Err: err}
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = "localhost" // a Unix socket
	}
	return newConn(ctx, conn, strings.TrimSuffix(host, "."), opts)
}

// New is [Dial] for a connection that there is already. It is closed if there is an error. TLS needs the ServerName of Options.TLSConfig.
func New(ctx context.Context, conn net.Conn, options *Options) (*Conn, error) {
	return newConn(ctx, conn, "", options.withDefaults())
}

func newConn(ctx context.Context, conn net.Conn, host string, opts Options) (*Conn, error) {
	c := &Conn{opts: opts, host: host, raw: conn, conn: conn, since: time.Now()}
	c.in = bufio.NewReader(conn)
	if err := c.guard(ctx, "connect", c.open); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// open does what comes before the first message.
func (c *Conn) open() error {
	steps := []struct {
		wanted bool
		do     func() error
	}{
		{c.opts.Proxy != nil, c.sendProxy},
		{c.opts.ImplicitTLS, c.handshake},
		{true, c.readGreeting},
		{true, c.sayHello},
		{!c.opts.ImplicitTLS && c.opts.TLS != Never, c.startTLS},
		{c.opts.XClient != nil, c.xclient},
		{c.opts.Auth != nil, c.login},
	}
	for _, step := range steps {
		if step.wanted {
			if err := step.do(); err != nil {
				return err
			}
		}
	}
	return nil
}

// guard does something that the context can end: by closing the connection, for no exchange can be taken up in its middle.
func (c *Conn) guard(ctx context.Context, verb string, do func() error) error {
	release, err := c.watch(ctx, verb)
	if err != nil {
		return err
	}
	return release(do())
}

// watch closes the connection when the context ends. release ends the watch, and puts the context's cause into the error that came of it.
func (c *Conn) watch(ctx context.Context, verb string) (release func(error) error, err error) {
	switch {
	case ctx.Err() != nil:
		return nil, &Error{Class: Network, Verb: verb, Reply: replyLost, Local: true, Err: context.Cause(ctx)}
	case c.err != nil: // what ended an earlier message says nothing about this one
		return nil, &Error{Class: Network, Verb: verb, Reply: replyLost, Local: true, Err: fmt.Errorf("%w after %w", ErrClosed, c.err)}
	case c.closed.Load():
		return nil, c.fail(&Error{Class: Network, Verb: verb, Reply: replyLost, Local: true, Err: ErrClosed})
	case c.data != nil:
		return nil, localError(verb, fmt.Errorf("%w: a message is being sent", ErrArgument))
	}
	if ctx.Done() == nil {
		return func(err error) error { return err }, nil
	}
	stop := context.AfterFunc(ctx, func() { c.raw.Close() })
	return func(err error) error {
		if stop() {
			return err
		}
		lost := c.fail(&Error{Class: Network, Verb: verb, Reply: replyLost, Local: true, Err: context.Cause(ctx)})
		if err == nil {
			return nil // it was done before
		}
		return lost
	}, nil
}

// fail makes the connection one of no more use, and returns why.
func (c *Conn) fail(err *Error) error {
	c.err = err
	c.Close()
	return err
}

// lost is fail for what a read or write returned.
func (c *Conn) lost(verb string, err error) error {
	if errors.Is(err, ErrBadReply) || errors.Is(err, ErrReplyTooLong) {
		return c.fail(&Error{Class: Unexpected, Verb: verb, Reply: replyUnexpected, Local: true, Err: err})
	}
	return c.fail(&Error{Class: Network, Verb: verb, Reply: replyLost, Local: true, Err: err})
}

// command sends a command and reads its reply, which has to be 2xx, or have the code in also.
func (c *Conn) command(line string, also int) (esmtp.Reply, error) {
	verb := verbOf(line)
	if err := c.append(line); err != nil {
		return esmtp.Reply{}, err
	}
	if err := c.flush(verb); err != nil {
		return esmtp.Reply{}, err
	}
	return c.receive(verb, c.opts.Timeouts.Command, also)
}

// append puts a command behind those to be sent.
func (c *Conn) append(line string) error {
	if !isLine(line) {
		return localError(verbOf(line), fmt.Errorf("%w: %q", ErrArgument, line))
	}
	c.out = append(c.out, line...)
	c.out = append(c.out, '\r', '\n')
	return nil
}

// flush sends the commands.
func (c *Conn) flush(verb string) error {
	if c.in.Buffered() > 0 {
		return c.unasked(verb)
	}
	err := c.write(c.out)
	if c.out = c.out[:0]; err != nil {
		return c.afterWrite(verb, err)
	}
	return nil
}

// write writes at most a block.
func (c *Conn) write(b []byte) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.opts.Timeouts.Block)); err != nil {
		return err
	}
	_, err := c.conn.Write(b)
	return err
}

// unasked deals with a reply that there is before anything was asked: a server may say 421 at any time (RFC 5321 §3.8), and nothing else.
func (c *Conn) unasked(verb string) error {
	c.conn.SetReadDeadline(time.Now().Add(time.Second)) // the rest of a line of which there is the beginning
	reply, err := readReply(c.in, c.opts.Limits)
	switch {
	case err != nil:
		return c.lost(verb, err)
	case reply.Code != 421:
		return c.lost(verb, fmt.Errorf("%w: unasked: %d", ErrBadReply, reply.Code))
	}
	_, err = c.judge(verb, reply, 0)
	return err
}

// afterWrite is the error for a write that failed. A server that says 421 and closes may have been heard before that.
func (c *Conn) afterWrite(verb string, failed error) error {
	c.conn.SetReadDeadline(time.Now().Add(time.Second))
	reply, err := readReply(c.in, c.opts.Limits)
	if err == nil && reply.Code >= 400 {
		_, err = judge(verb, reply, 0)
		return c.fail(asError(err, verb))
	}
	return c.lost(verb, failed)
}

// receive waits for a reply.
func (c *Conn) receive(verb string, timeout time.Duration, also int) (esmtp.Reply, error) {
	err := c.conn.SetReadDeadline(time.Now().Add(timeout))
	if err != nil {
		return esmtp.Reply{}, c.lost(verb, err)
	}
	reply, err := readReply(c.in, c.opts.Limits)
	if err != nil {
		return esmtp.Reply{}, c.lost(verb, err)
	}
	return c.judge(verb, reply, also)
}

// judge is the function of that name, and closes the connection after 421 and where nobody can tell what the server thinks comes next.
func (c *Conn) judge(verb string, reply esmtp.Reply, also int) (esmtp.Reply, error) {
	reply, err := judge(verb, reply, also)
	if e := asError(err, verb); e != nil && (e.Class == Unexpected || reply.Code == 421) {
		return reply, c.fail(e)
	}
	return reply, err
}

// judge makes an error of a reply that is not a success: not 2xx, nor the code in also.
func judge(verb string, reply esmtp.Reply, also int) (esmtp.Reply, error) {
	switch class := reply.Code / 100; {
	case class == 2, also != 0 && reply.Code == also:
		return reply, nil
	case class == 4:
		return reply, &Error{Class: Temporary, Verb: verb, Reply: reply}
	case class == 5:
		return reply, &Error{Class: Permanent, Verb: verb, Reply: reply}
	}
	err := fmt.Errorf("%w: %w", ErrBadReply, reply)
	return reply, &Error{Class: Unexpected, Verb: verb, Reply: replyUnexpected, Local: true, Err: err}
}

// Greeting returns the server's first reply.
func (c *Conn) Greeting() esmtp.Reply { return c.greeting }

// Hello returns the server's reply to the last EHLO, LHLO or HELO.
func (c *Conn) Hello() esmtp.Reply { return c.hello }

// Extension returns the parameters of an extension that the server offers, and whether it does. The name is compared without case.
func (c *Conn) Extension(name string) (params string, ok bool) {
	params, ok = c.extensions[upper(name)]
	return params, ok
}

// TLS returns the state of TLS, nil if the connection has none.
func (c *Conn) TLS() *tls.ConnectionState { return c.tls }

// Verified reports whether the connection has TLS with a server that is who it should be: its certificate was verified, or
// [Options.VerifiesServer] says so.
func (c *Conn) Verified() bool {
	return c.tls != nil && (len(c.tls.VerifiedChains) > 0 || c.opts.VerifiesServer)
}

// LMTP reports whether the server speaks LMTP.
func (c *Conn) LMTP() bool { return c.opts.LMTP }

// NetConn returns the connection below, for its addresses. Don't read from it or write to it.
func (c *Conn) NetConn() net.Conn { return c.raw }

// Messages returns how many messages went over the connection to their end, whatever the server answered.
func (c *Conn) Messages() int { return c.completed }

// Since returns when the connection was made.
func (c *Conn) Since() time.Time { return c.since }

// Usable reports whether the connection can take another message, as far as the client knows: that the server has left is known only
// by the next command, [Conn.Noop] for one.
func (c *Conn) Usable() bool { return c.err == nil && !c.closed.Load() && c.data == nil && !c.inMail }

// Closed reports whether the connection is of no more use for anything: it was closed, by either side, or nobody can tell what comes next.
func (c *Conn) Closed() bool { return c.err != nil || c.closed.Load() }

// Close closes the connection without a word, and ends what is going on there. Any goroutine may call it, more than once.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	return c.raw.Close()
}
