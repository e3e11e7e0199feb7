package smtpclient

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// maxRefused is how many refusals the error of [Replay] has.
const maxRefused = 100

// Refused is a command of a batch to which the server said no.
type Refused struct {
	Line    int    // in the batch, from 1
	Command string // as it stands there; of AUTH, and of what follows it, nothing but "AUTH"
	Reply   esmtp.Reply
}

// Error returns the line, the command and the reply.
func (e *Refused) Error() string {
	return fmt.Sprintf("smtpclient: line %d: %.200q: %v", e.Line, e.Command, e.Reply)
}

// Unwrap returns the reply.
func (e *Refused) Unwrap() error { return e.Reply }

// Replay says what stands in a batch (batch SMTP, RFC 2442): all that the client says in a session, from EHLO to QUIT, with dots stuffed. Lines may end with LF or
// with CRLF; only CRLF is sent. The connection, which is closed in the end, can be one to a server, or for a batch without a network a pipe:
//
//	ours, theirs := net.Pipe()
//	go srv.ServeConn(theirs)
//	err := smtpclient.Replay(ctx, ours, file, nil)
//
// Each command waits for its reply: what belongs to a DATA that is refused is left out, and not taken for commands. heard, if not nil, is called with each
// reply, and the line and the command that it is for; the greeting is for line 0. What was refused is in the error, a [*Refused] each; the others
// were done. Any other error ended the session: a message that was on its way is not delivered. So does a batch without a QUIT: it is not whole.
func Replay(ctx context.Context, conn net.Conn, batch io.Reader, heard func(line int, command string, reply esmtp.Reply)) error {
	c := &Conn{opts: (*Options)(nil).withDefaults(), raw: conn, conn: conn, in: bufio.NewReader(conn), since: time.Now()}
	defer c.Close()
	r := &replay{c: c, in: bufio.NewReaderSize(batch, blockSize), heard: heard}
	err := c.guard(ctx, "greeting", r.run)
	return errors.Join(append(r.refused, err)...)
}

// replay is a batch that is being said.
type replay struct {
	c     *Conn
	in    *bufio.Reader
	heard func(int, string, esmtp.Reply)

	line     int    // the last that was read
	at       int    // where command stands
	command  string // what the next reply is for
	lmtp     bool   // it said LHLO
	accepted int    // recipients of this transaction
	refused  []error
}

func (r *replay) run() error {
	reply, err := r.receive("greeting", r.c.opts.Timeouts.Greeting)
	if err != nil || reply.Code/100 != 2 {
		return err // nobody listens
	}
	for {
		command, err := r.next()
		if err != nil {
			return r.broken(err)
		}
		if err := r.say(command); err != nil || isVerb(command, "QUIT") {
			return err
		}
	}
}

// broken ends the session for what the batch is like.
func (r *replay) broken(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return r.c.fail(localError("batch", fmt.Errorf("%w: line %d of the batch: %w", ErrArgument, r.line, err)))
}

// next returns the next line, which is no part of a message.
func (r *replay) next() (string, error) {
	r.line++
	line, err := readLine(r.in, maxFlight)
	return string(bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))), err
}

func isVerb(command, verb string) bool { return strings.EqualFold(verbOf(command), verb) }

// say says a command, and what belongs to it.
func (r *replay) say(command string) error {
	r.at, r.command = r.line, command
	if isVerb(command, "AUTH") {
		r.command = "AUTH"
	}
	if err := r.send(command); err != nil {
		return err
	}
	switch {
	case isVerb(command, "DATA"):
		return r.data()
	case isVerb(command, "BDAT"):
		return r.chunk(command)
	case isVerb(command, "QUIT"):
		_, err := r.receive("QUIT", r.c.opts.Timeouts.Quit)
		return err
	}
	reply, err := r.receive(verbOf(command), r.c.opts.Timeouts.Command)
	for err == nil && reply.Code == 334 { // AUTH: the next line answers its challenge
		reply, err = r.answer()
	}
	if err == nil && isVerb(command, "STARTTLS") && reply.Code == 220 {
		err = r.broken(errors.New("a batch can't go on in TLS"))
	}
	r.follow(command, reply)
	return err
}

func (r *replay) answer() (esmtp.Reply, error) {
	line, err := r.next()
	if err != nil {
		return esmtp.Reply{}, r.broken(err)
	}
	if err := r.send(line); err != nil {
		return esmtp.Reply{}, err
	}
	return r.receive("AUTH", r.c.opts.Timeouts.Command)
}

// follow counts the recipients, for there can be a reply for each in the end.
func (r *replay) follow(command string, reply esmtp.Reply) {
	switch ok := reply.Code/100 == 2; {
	case isVerb(command, "RCPT"):
		if ok {
			r.accepted++
		}
	case !ok:
	case isVerb(command, "LHLO"):
		r.lmtp, r.accepted = true, 0
	case isVerb(command, "MAIL"), isVerb(command, "RSET"), isVerb(command, "EHLO"), isVerb(command, "HELO"):
		r.accepted = 0
	}
}

// send sends a line.
func (r *replay) send(line string) error {
	c := r.c
	c.out = append(append(c.out, line...), crlf...)
	return c.flush(verbOf(line))
}

// receive waits for a reply. Its error is one that ends the session.
func (r *replay) receive(verb string, timeout time.Duration) (esmtp.Reply, error) {
	c := r.c
	err := c.conn.SetReadDeadline(time.Now().Add(timeout))
	var reply esmtp.Reply
	if err == nil {
		reply, err = readReply(c.in, c.opts.Limits)
	}
	if err != nil {
		return reply, c.lost(verb, err)
	}
	if r.heard != nil {
		r.heard(r.at, r.command, reply)
	}
	if reply.Code >= 400 && len(r.refused) < maxRefused {
		r.refused = append(r.refused, &Refused{r.at, r.command, reply})
	}
	if reply.Code == 421 { // RFC 5321 §3.8
		return reply, c.fail(&Error{Class: Temporary, Verb: verb, Reply: reply})
	}
	return reply, nil
}

// data says a message, or leaves it out if DATA is refused.
func (r *replay) data() error {
	reply, err := r.receive("DATA", r.c.opts.Timeouts.Data)
	if err != nil {
		return err
	}
	block := blocks.Get().(*[]byte)
	defer blocks.Put(block)
	enc := encoder{buf: (*block)[:0], send: r.write}
	if reply.Code != 354 {
		enc.send = func([]byte) error { return nil }
	}
	if err := r.text(&enc); err != nil || reply.Code != 354 {
		return err
	}
	return r.results(true)
}

// text gives the encoder a message, up to the dot and with it. Its lines are stuffed: they stay as they are.
func (r *replay) text(enc *encoder) error {
	for begin := true; ; {
		part, err := r.in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			if part[len(part)-1] == '\r' { // the other half of a CRLF may follow
				r.in.UnreadByte()
				part = part[:len(part)-1]
			}
		case err != nil:
			return r.broken(err)
		}
		r.line += bytes.Count(part, []byte("\n"))
		text, whole := bytes.CutSuffix(part, []byte("\n"))
		if whole {
			text = bytes.TrimSuffix(text, []byte("\r"))
		}
		end := begin && whole && string(text) == "."
		if err = enc.write(text); err == nil && whole {
			err = enc.write(crlf)
		}
		if err == nil && end {
			return enc.flush()
		}
		if err != nil {
			return r.failed(err)
		}
		begin = whole
	}
}

// failed ends the session within a message.
func (r *replay) failed(err error) error {
	if r.c.err != nil {
		return r.c.err
	}
	return r.broken(err)
}

func (r *replay) write(block []byte) error {
	if err := r.c.write(block); err != nil {
		return r.c.afterWrite("message", err)
	}
	return nil
}

// chunk says the octets of a BDAT (RFC 3030), which go as they are.
func (r *replay) chunk(command string) error {
	fields := strings.Fields(command)
	size := int64(-1)
	if len(fields) > 1 {
		if n, err := strconv.ParseUint(fields[1], 10, 62); err == nil {
			size = int64(n)
		}
	}
	if size < 0 {
		return r.broken(errors.New("BDAT without a size"))
	}
	for left := size; left > 0; {
		piece, err := r.in.Peek(int(min(left, blockSize)))
		if err != nil {
			return r.broken(err)
		}
		r.line += bytes.Count(piece, []byte("\n"))
		if err := r.write(piece); err != nil {
			return err
		}
		left -= int64(len(piece))
		r.in.Discard(len(piece))
	}
	return r.results(len(fields) > 2 && strings.EqualFold(fields[2], "LAST"))
}

// results waits for the reply to a message, or those: with LMTP one for each recipient, and with PRDR those between two others (draft-hall-prdr).
func (r *replay) results(last bool) error {
	n := 1
	if r.lmtp && last {
		n = max(1, r.accepted)
	}
	for i := 0; i < n; i++ {
		reply, err := r.receive("message", r.c.opts.Timeouts.Final)
		if err != nil {
			return err
		}
		if reply.Code == 353 && i == 0 {
			n = r.accepted + 2
		}
	}
	if last {
		r.accepted = 0
	}
	return nil
}
