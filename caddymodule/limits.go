package caddymodule

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
)

// Limits bounds what a client can make the server do. A field that is 0 has its default, and one that is -1 is no limit.
type Limits struct {
	// MessageBytes is the largest message in octets, in a Caddyfile max_size. Default 52428800, that is 50 MiB.
	MessageBytes int64 `json:"message_bytes,omitempty"`

	// CommandLine is the longest command line in octets, CRLF included; what extensions add comes on top. 512 to 32768; default 512.
	CommandLine int64 `json:"command_line,omitempty"`

	// HeaderBytes is the largest header of a message in octets. Default 262144, that is 256 KiB.
	HeaderBytes int64 `json:"header_bytes,omitempty"`

	// HeaderFields is the largest number of fields of a header. Default 1000.
	HeaderFields int64 `json:"header_fields,omitempty"`

	// Recipients is the largest number of recipients of a message. RFC 5321 asks for 100 at least. Default 1000.
	Recipients int64 `json:"recipients,omitempty"`

	// Messages is the largest number of transactions in a session. Default 1000.
	Messages int64 `json:"messages,omitempty"`

	// Errors is how many commands of a session may be refused before it ends with 421. Default 20.
	Errors int64 `json:"errors,omitempty"`

	// Junk is how many commands of a session may do nothing for the mail before it ends with 421. Default 100.
	Junk int64 `json:"junk,omitempty"`

	// Connections is the largest number of sessions at a time. Default 2000.
	Connections int64 `json:"connections,omitempty"`

	// ConnectionsPerAddress is the largest number of sessions at a time from one IPv4 address or one IPv6 /64. Loopback and Unix
	// sockets are not counted. Default 50.
	ConnectionsPerAddress int64 `json:"connections_per_address,omitempty"`

	// AuthFailures is how many failed AUTH end a session with 421. Default 3.
	AuthFailures int64 `json:"auth_failures,omitempty"`

	// IPv4Prefix is how many bits of an IPv4 address tell one client from another, for ConnectionsPerAddress and the rates. 1 to 32;
	// default 32.
	IPv4Prefix int64 `json:"ipv4_prefix,omitempty"`

	// IPv6Prefix is the same for IPv6. 1 to 128; default 64.
	IPv6Prefix int64 `json:"ipv6_prefix,omitempty"`

	// MinDataRate is the least rate, in octets a second, at which a message may come once it takes longer than the data timeout.
	// Default 500.
	MinDataRate int64 `json:"min_data_rate,omitempty"`
}

// Timeouts bounds how long a client can take. A field that is 0 has its default, and one that is -1 is no limit.
type Timeouts struct {
	// Command is the time for the next command to come whole. Default 5m, the least that RFC 5321 asks for.
	Command caddy.Duration `json:"command,omitempty"`

	// Data is the time for the next octets of a message. Default 5m.
	Data caddy.Duration `json:"data,omitempty"`

	// Write is the time for the client to take the replies. Default 5m.
	Write caddy.Duration `json:"write,omitempty"`

	// Deliver is the time that a handler can put off its replies for recipients. Default 5m.
	Deliver caddy.Duration `json:"deliver,omitempty"`

	// Greeting is how long the greeting is held back; who speaks before it gets 554 5.5.0. It delays every session. Default: not at all.
	Greeting caddy.Duration `json:"greeting,omitempty"`

	// ErrorDelay is by how much the reply to a refused command is held back once half of the errors that a session may have are used up,
	// and each one after it by as much more, up to ten times. Default 1s.
	ErrorDelay caddy.Duration `json:"error_delay,omitempty"`

	// Session is the time for all of a session. Default 2h.
	Session caddy.Duration `json:"session,omitempty"`
}

// off is the value of a limit that isn't one.
const off = -1

// limit is a field of Limits, by the name it has in a config.
type limit struct {
	name  string
	value *int64
	size  bool // it counts octets
}

func (l *Limits) all() []limit {
	return []limit{
		{"command_line", &l.CommandLine, true},
		{"header_bytes", &l.HeaderBytes, true},
		{"header_fields", &l.HeaderFields, false},
		{"recipients", &l.Recipients, false},
		{"messages", &l.Messages, false},
		{"errors", &l.Errors, false},
		{"junk", &l.Junk, false},
		{"connections", &l.Connections, false},
		{"connections_per_address", &l.ConnectionsPerAddress, false},
		{"auth_failures", &l.AuthFailures, false},
		{"ipv4_prefix", &l.IPv4Prefix, false},
		{"ipv6_prefix", &l.IPv6Prefix, false},
		{"min_data_rate", &l.MinDataRate, true},
	}
}

// maxLimit keeps what a limit is added to from running over.
const maxLimit = 1 << 31

// check says which limits make no sense.
func (l *Limits) check() error {
	var errs []error
	for _, limit := range l.all() {
		if v := *limit.value; v < off || v >= maxLimit {
			errs = append(errs, fmt.Errorf("limits: %s is %d: it can be 1 to %d, or -1 for no limit", limit.name, v, maxLimit-1))
		}
	}
	if l.MessageBytes < off || l.MessageBytes >= 1<<60 {
		errs = append(errs, fmt.Errorf("limits: message_bytes is %d: it can be 1 to %d, or -1 for no limit", l.MessageBytes, int64(1<<60-1)))
	}
	if v := l.CommandLine; v != 0 && (v < 512 || v > 32768) { // RFC 5321 §4.5.3.1.4
		errs = append(errs, fmt.Errorf("limits: command_line is %d: it can be 512 to 32768", v))
	}
	for _, prefix := range []struct {
		name  string
		value int64
		bits  int64
	}{{"ipv4_prefix", l.IPv4Prefix, 32}, {"ipv6_prefix", l.IPv6Prefix, 128}} {
		if prefix.value < 0 || prefix.value > prefix.bits {
			errs = append(errs, fmt.Errorf("limits: %s is %d: it can be 1 to %d", prefix.name, prefix.value, prefix.bits))
		}
	}
	return errors.Join(errs...)
}

func (l *Limits) engine() esmtp.Limits {
	return esmtp.Limits{
		CommandLine:           int(l.CommandLine),
		HeaderBytes:           int(l.HeaderBytes),
		HeaderFields:          int(l.HeaderFields),
		MessageBytes:          l.MessageBytes,
		Recipients:            int(l.Recipients),
		Messages:              int(l.Messages),
		Errors:                int(l.Errors),
		Junk:                  int(l.Junk),
		Connections:           int(l.Connections),
		ConnectionsPerAddress: int(l.ConnectionsPerAddress),
		AuthFailures:          int(l.AuthFailures),
		IPv4Prefix:            int(l.IPv4Prefix),
		IPv6Prefix:            int(l.IPv6Prefix),
		MinDataRate:           int(l.MinDataRate),
	}
}

// timeoutSetting is a field of Timeouts, by the name it has in a config.
type timeoutSetting struct {
	name  string
	value *caddy.Duration
}

func (t *Timeouts) all() []timeoutSetting {
	return []timeoutSetting{
		{"command", &t.Command}, {"data", &t.Data}, {"write", &t.Write}, {"session", &t.Session},
		{"deliver", &t.Deliver}, {"greeting", &t.Greeting}, {"error_delay", &t.ErrorDelay},
	}
}

func timeoutNames(all []timeoutSetting) (names []string) {
	for _, t := range all {
		names = append(names, t.name)
	}
	return names
}

// check says which timeouts make no sense.
func (t *Timeouts) check() error {
	var errs []error
	for _, setting := range t.all() {
		if v := time.Duration(*setting.value); v != off && v < 0 || v > maxTimeout {
			errs = append(errs, fmt.Errorf("timeouts: %s is %s: it can be up to %s, or -1 for no limit", setting.name, v, maxTimeout))
		}
	}
	return errors.Join(errs...)
}

// maxTimeout is a year: more is meant as no limit.
const maxTimeout = 366 * 24 * time.Hour

func (t *Timeouts) engine() esmtp.Timeouts {
	return esmtp.Timeouts{
		Command: time.Duration(t.Command),
		Data:    time.Duration(t.Data),
		Write:   time.Duration(t.Write),
		Session: time.Duration(t.Session),

		Deliver:    time.Duration(t.Deliver),
		Greeting:   time.Duration(t.Greeting),
		ErrorDelay: time.Duration(t.ErrorDelay),
	}
}
