package esmtp

import "time"

// Limits bounds what a client can make the server do. A zero field means the default, a negative one no limit.
type Limits struct {
	// CommandLine is the longest command line in octets, CRLF included; what enabled extensions add to the lines of
	// their verbs comes on top (RFC 5321 §4.5.3.1.4). Default 512, at most 32768.
	CommandLine int

	// HeaderBytes and HeaderFields bound the header of a message. Over the limit EOH is called with HeaderLimit,
	// which refuses by default. Defaults: 256 KiB, 1000 fields.
	HeaderBytes  int
	HeaderFields int

	// MessageBytes is the largest message in octets. Default 50 MiB.
	MessageBytes int64

	// Recipients is the largest number of accepted recipients of a message; RFC 5321 §4.5.3.1.8 asks for 100
	// at least. More get 452 4.5.3. Default 1000.
	Recipients int

	// Messages is the largest number of transactions of a session. Default 1000.
	Messages int

	// Errors is how many commands of a session may be refused, and Junk how many may do nothing for the mail (NOOP,
	// RSET, VRFY, tiny BDATs, …) before it ends with 421. An accepted message starts both counts again.
	// Defaults: 20, 100.
	Errors int
	Junk   int

	// AuthFailures is how many failed AUTH end a session with 421. Default 3.
	AuthFailures int

	// Connections is the largest number of sessions at a time, and ConnectionsPerAddress from one client: an IPv4
	// address or an IPv6 /64, see IPv4Prefix. Loopback addresses and Unix sockets count only for the first. Defaults: 2000, 50.
	Connections           int
	ConnectionsPerAddress int

	// IPv4Prefix and IPv6Prefix are how many bits of an address tell one client from another, for ConnectionsPerAddress and [Rates]: at most 32
	// and 128. Defaults: 32, 64.
	IPv4Prefix int
	IPv6Prefix int

	// MinDataRate is the least rate, in octets a second, at which a message may come, once it takes longer
	// than Timeouts.Data. Default 500.
	MinDataRate int
}

// Timeouts bounds how long a client can take. A zero field means the default, a negative one no limit.
type Timeouts struct {
	// Command is the time for the next command to come whole. Default 5 minutes (RFC 5321 §4.5.3.2.7). While more than nine tenths of
	// Limits.Connections are taken it is 10 seconds at most, and so is Data.
	Command time.Duration

	// Data is the time for the next octets of a message. Default 5 minutes.
	Data time.Duration

	// Write is the time for the client to take our replies. Default 5 minutes.
	Write time.Duration

	// Deliver is the time that a handler can put off the replies for recipients with [Transaction.Defer]. Default 5 minutes.
	Deliver time.Duration

	// Greeting is how long the greeting is held back; who speaks before it gets 554 5.5.0. It delays every session. Default: not at all.
	Greeting time.Duration

	// ErrorDelay is by how much the reply to a refused command is held back once half of Limits.Errors is used up, and each one after it by as much
	// more, up to ten times. Default 1 second.
	ErrorDelay time.Duration

	// Session is the time for all of a session. Default 2 hours.
	Session time.Duration
}

// Defaults of Limits and Timeouts.
const (
	defaultCommandLine  = 512
	maxCommandLine      = 32 << 10
	defaultHeaderBytes  = 256 << 10
	defaultHeaderFields = 1000
	defaultMessageBytes = 50 << 20
	defaultRecipients   = 1000
	defaultMessages     = 1000
	defaultErrors       = 20
	defaultJunk         = 100
	defaultAuthFailures = 3
	defaultConnections  = 2000
	defaultPerAddress   = 50
	defaultMinDataRate  = 500
	defaultTimeout      = 5 * time.Minute
	defaultSessionTime  = 2 * time.Hour
)

// resolve returns l with every zero field set to its default, and every negative one to 0, which then means no limit.
func (l Limits) resolve() Limits {
	setDefault(&l.CommandLine, defaultCommandLine)
	if l.CommandLine == 0 || l.CommandLine > maxCommandLine {
		l.CommandLine = maxCommandLine
	}
	setDefault(&l.HeaderBytes, defaultHeaderBytes)
	setDefault(&l.HeaderFields, defaultHeaderFields)
	setDefault(&l.MessageBytes, defaultMessageBytes)
	setDefault(&l.Recipients, defaultRecipients)
	setDefault(&l.Messages, defaultMessages)
	setDefault(&l.Errors, defaultErrors)
	setDefault(&l.Junk, defaultJunk)
	setDefault(&l.AuthFailures, defaultAuthFailures)
	setDefault(&l.Connections, defaultConnections)
	setDefault(&l.ConnectionsPerAddress, defaultPerAddress)
	setDefault(&l.IPv4Prefix, 32)
	setDefault(&l.IPv6Prefix, 64)
	l.IPv4Prefix = min(l.IPv4Prefix, 32)
	l.IPv6Prefix = min(l.IPv6Prefix, 128)
	setDefault(&l.MinDataRate, defaultMinDataRate)
	return l
}

func (t Timeouts) resolve() Timeouts {
	setDefault(&t.Command, defaultTimeout)
	setDefault(&t.Data, defaultTimeout)
	setDefault(&t.Write, defaultTimeout)
	setDefault(&t.Deliver, defaultTimeout)
	t.Greeting = max(t.Greeting, 0)
	setDefault(&t.ErrorDelay, time.Second)
	setDefault(&t.Session, defaultSessionTime)
	return t
}

func setDefault[T ~int | ~int64](v *T, def T) {
	switch {
	case *v == 0:
		*v = def
	case *v < 0:
		*v = 0
	}
}

// over reports whether n is over a resolved limit.
func over[T ~int | ~int64](n, limit T) bool { return limit > 0 && n > limit }
