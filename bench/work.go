package main

import (
	"fmt"
	"slices"
	"strings"
)

// work is what a server is given to do: a conversation that is held again and again, on several connections at a time.
type work struct {
	name     string
	what     string
	goal     float64 // CPU per message, as a part of the baseline's
	sessions int     // at a time
	steps    func() []step
	tls      bool // STARTTLS comes before it
	durable  bool // 250 means that the message is on disk
	relayed  bool // and it is to arrive at the sink
}

// step is what the client sends at once, and the replies that it then waits for.
type step struct {
	send   []byte
	answer string // as the raw sink gives it; the client counts its lines, and other servers may say more
	octets int    // content of the message that this step ends; 0 if it ends none
	secure bool   // a TLS handshake follows the reply
}

// works is all the work, in the order of the table. The names are those of the project's notes on speed.
var works = []*work{
	{name: "W1", what: "4 KiB, one message a connection", goal: 0.55, sessions: 16, steps: func() []step { return stepwise(1, text(4<<10)) }},
	{name: "W2", what: "4 KiB, 100 a connection, step by step", goal: 0.50, sessions: 16, steps: func() []step { return stepwise(100, text(4<<10)) }},
	{name: "W3", what: "4 KiB, 100 a connection, pipelined", goal: 0.20, sessions: 16, steps: func() []step { return pipelined(100, 1, text(4<<10)) }},
	{name: "W4", what: "10 MiB by DATA", goal: 0.05, sessions: 4, steps: func() []step { return stepwise(4, text(10<<20)) }},
	{name: "W5", what: "1 MiB, every line begins with a dot", goal: 0.06, sessions: 4, steps: func() []step { return stepwise(20, dots(1<<20)) }},
	{name: "W6", what: "STARTTLS, 4 KiB, one message a connection", goal: 0.70, sessions: 16, steps: func() []step { return stepwise(1, text(4<<10)) }, tls: true},
	{name: "W6b", what: "10 MiB by DATA in TLS", goal: 0.13, sessions: 4, steps: func() []step { return stepwise(4, text(10<<20)) }, tls: true},
	{name: "W8", what: "10 MiB by BDAT", goal: 0.55, sessions: 4, steps: func() []step { return chunked(4, text(10<<20)) }},
	{name: "WH", what: "32 KiB of header fields", goal: 0.20, sessions: 16, steps: func() []step { return stepwise(20, header(32<<10)) }},
	{name: "WR", what: "50 recipients, pipelined", goal: 0.05, sessions: 16, steps: func() []step { return pipelined(20, 50, text(1<<10)) }},
}

// idleWork and idleTLSWork are the conversations of sessions that then stay idle.
var (
	idleWork    = &work{name: "idle", what: "KiB per idle session, after EHLO", goal: 5, steps: opening}
	idleTLSWork = &work{name: "idle-tls", what: "KiB per idle session, after STARTTLS and EHLO", goal: 30, steps: opening, tls: true}
)

// allWorks is what the names on the command line may mean.
var allWorks = slices.Concat(works, []*work{idleWork, idleTLSWork}, durableWorks())

// plainWorks are those in which nothing is kept.
func plainWorks(list []*work) (plain, durable []*work) {
	for _, w := range list {
		if w.durable {
			durable = append(durable, w)
		} else {
			plain = append(plain, w)
		}
	}
	return plain, durable
}

// idle reports whether the sessions are only to be weighed.
func (w *work) idle() bool { return w == idleWork || w == idleTLSWork }

// script is the whole conversation.
func (w *work) script() []step {
	steps := w.steps()
	if !w.tls {
		return steps
	}
	return slices.Insert(steps, len(opening()),
		step{send: []byte(cmdSTARTTLS), answer: ansSTARTTLS, secure: true},
		step{send: []byte(cmdEHLO), answer: ansEHLO}) // the server has forgotten the first (RFC 3207 §4.2)
}

const (
	cmdEHLO     = "EHLO client.example\r\n"
	cmdSTARTTLS = "STARTTLS\r\n"
	cmdMAIL     = "MAIL FROM:<sender@client.example>\r\n"
	cmdDATA     = "DATA\r\n"
	cmdQUIT     = "QUIT\r\n"

	ansEHLO     = "250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 SIZE 52428800\r\n"
	ansSTARTTLS = "220 2.0.0 Go ahead\r\n"
	ansMAIL     = "250 2.1.0 <sender@client.example>, sender ok\r\n"
	ansRCPT     = "250 2.1.5 <recipient01@mx.example>, recipient ok\r\n"
	ansDATA     = "354 Enter mail\r\n"
	ansEOM      = "250 2.0.0 Message accepted for delivery\r\n"
	ansQUIT     = "221 2.0.0 Closing connection\r\n"
)

// opening is the greeting and EHLO.
func opening() []step {
	return []step{
		{answer: "220 sink.example ESMTP\r\n"},
		{send: []byte(cmdEHLO), answer: ansEHLO},
	}
}

func rcpt(n int) string { return fmt.Sprintf("RCPT TO:<recipient%02d@mx.example>\r\n", n) }

// stepwise sends a command, waits for its reply, and only then sends the next.
func stepwise(messages int, content []byte) []step {
	steps := opening()
	wire := slices.Concat(content, []byte(".\r\n"))
	for range messages {
		steps = append(steps,
			step{send: []byte(cmdMAIL), answer: ansMAIL},
			step{send: []byte(rcpt(1)), answer: ansRCPT},
			step{send: []byte(cmdDATA), answer: ansDATA},
			step{send: wire, answer: ansEOM, octets: len(content)})
	}
	return append(steps, step{send: []byte(cmdQUIT), answer: ansQUIT})
}

// pipelined sends the envelope and DATA at once, and the envelope of the next message right behind the one before it
// (RFC 2920 §3.1).
func pipelined(messages, rcpts int, content []byte) []step {
	envelope, answer := cmdMAIL, ansMAIL
	for n := range rcpts {
		envelope += rcpt(n + 1)
		answer += ansRCPT
	}
	envelope += cmdDATA
	answer += ansDATA
	next := slices.Concat(content, []byte(".\r\n"+envelope))
	last := slices.Concat(content, []byte(".\r\n"+cmdQUIT))
	steps := append(opening(), step{send: []byte(envelope), answer: answer})
	for range messages - 1 {
		steps = append(steps, step{send: next, answer: ansEOM + answer, octets: len(content)})
	}
	return append(steps, step{send: last, answer: ansEOM + ansQUIT, octets: len(content)})
}

// chunked sends a message as one BDAT, right behind its command (RFC 3030 §4.2).
func chunked(messages int, content []byte) []step {
	steps := opening()
	wire := slices.Concat(fmt.Appendf(nil, "BDAT %d LAST\r\n", len(content)), content)
	for range messages {
		steps = append(steps,
			step{send: []byte(cmdMAIL), answer: ansMAIL},
			step{send: []byte(rcpt(1)), answer: ansRCPT},
			step{send: wire, answer: ansEOM, octets: len(content)})
	}
	return append(steps, step{send: []byte(cmdQUIT), answer: ansQUIT})
}

// replies counts the replies in an answer: lines without a '-' behind the code (RFC 5321 §4.2.1).
func replies(answer string) (n int) {
	for line := range strings.Lines(answer) {
		if line[3] == ' ' {
			n++
		}
	}
	return n
}

func findWork(name string) *work {
	for _, w := range allWorks {
		if w.named(name) {
			return w
		}
	}
	return nil
}

// named reports whether a name on the command line means this work: "W1" does, and "W*" does for all that begin so.
func (w *work) named(name string) bool {
	if prefix, ok := strings.CutSuffix(name, "*"); ok {
		return strings.HasPrefix(w.name, prefix)
	}
	return w.name == name
}

func workNames() string {
	var names []string
	for _, w := range allWorks {
		names = append(names, w.name)
	}
	return strings.Join(names, ",")
}
