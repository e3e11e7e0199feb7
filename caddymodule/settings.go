package caddymodule

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/caddy-esmtp/esmtp"
)

// Settings are what a [Server] and its [Route] can both be told.
type Settings struct {
	// Hostname is the name in the greeting and in Received fields: a domain name that leads here, or an address literal. Placeholders
	// are allowed. Default: the name that the operating system has.
	Hostname string `json:"hostname,omitempty"`

	// Limits bounds what clients can make the server do.
	Limits Limits `json:"limits,omitzero"`

	// Timeouts bounds how long clients can take.
	Timeouts Timeouts `json:"timeouts,omitzero"`

	// Rates bounds what one client can do in a minute.
	Rates Rates `json:"rates,omitzero"`

	// TolerateParams names parameters of MAIL and RCPT, such as XOORG, that are accepted though nobody here knows them. Others get 555.
	TolerateParams []string `json:"tolerate_params,omitempty"`

	// XCLIENT are the networks of proxies that are believed who the client is, by the command XCLIENT of Postfix; single addresses are allowed too.
	// The command is neither offered to others nor taken from them.
	XCLIENT []string `json:"xclient,omitempty"`

	// XFORWARD are the networks of those that may tell, by the command XFORWARD of Postfix, where a message came from. It is for handlers and logs.
	XFORWARD []string `json:"xforward,omitempty"`

	// ForbidEarly ends a session with 554 5.5.0 when the client sends more than it may before it has the reply (RFC 2920).
	ForbidEarly bool `json:"forbid_early,omitempty"`

	// GreetingTeaser is the text of a first line of the greeting, which is sent before the timeout greeting begins: clients in a hurry take it
	// for all of the greeting. Default: none is sent.
	GreetingTeaser string `json:"greeting_teaser,omitempty"`

	// BareNewlines says what happens to a CR or LF in a message that is not part of a CRLF: reject refuses the message with 554 5.6.0, fix
	// makes it a CRLF, strip drops it, and pass hands it on, for handlers that can't be confused by it. Default: reject.
	BareNewlines string `json:"bare_newlines,omitempty"`

	// BadHeader says what happens to a message whose header has a line that is no field: insert_blank makes that line the first of the
	// body, keep does so without a blank line in between, and reject refuses the message with 550 5.6.0. Default: insert_blank.
	BadHeader string `json:"bad_header,omitempty"`

	// Strict asks for commands to the letter of RFC 5321.
	Strict bool `json:"strict,omitempty"`

	// IgnoreEmptyLines passes over empty command lines, without a reply.
	IgnoreEmptyLines bool `json:"ignore_empty_lines,omitempty"`

	// AllowNoHELO accepts MAIL without a HELO or EHLO before it.
	AllowNoHELO bool `json:"allow_no_helo,omitempty"`

	// TLS says how the server uses TLS. Without it a server uses it if its hostname is a public domain name, unless all of its addresses are
	// loopback addresses or Unix sockets; or if one of its addresses is in TLS from the start.
	TLS *TLS `json:"tls,omitempty"`

	// Auth says who may log in. Without it nobody can, unless a handler has mechanisms for it.
	Auth *Auth `json:"auth,omitempty"`
}

// The policies, by the names that a config has for them.
var (
	bareNewlines = map[string]esmtp.BareNewlines{
		"": esmtp.RejectBare, "reject": esmtp.RejectBare, "fix": esmtp.FixBare, "strip": esmtp.StripBare, "pass": esmtp.PassBare,
	}
	badHeaders = map[string]esmtp.BadHeader{
		"": esmtp.InsertBlank, "insert_blank": esmtp.InsertBlank, "keep": esmtp.KeepBad, "reject": esmtp.RejectBad,
	}
)

// check says which settings make no sense, as far as that can be told of each alone.
func (st *Settings) check() error {
	if _, ok := bareNewlines[st.BareNewlines]; !ok {
		return fmt.Errorf("bare_newlines %q is none of %s", st.BareNewlines, choices(bareNewlines))
	}
	if _, ok := badHeaders[st.BadHeader]; !ok {
		return fmt.Errorf("bad_header %q is none of %s", st.BadHeader, choices(badHeaders))
	}
	return errors.Join(st.Limits.check(), st.Timeouts.check(), st.Rates.check())
}

// checkTeaser finds a teaser that is never sent. It is for settings that have inherited what they can.
func (st *Settings) checkTeaser() error {
	if st.GreetingTeaser != "" && st.Timeouts.Greeting == 0 { // off was written
		return errors.New("greeting_teaser is sent while the greeting is held back, and it isn't: set the timeout greeting, such as 5s, too")
	}
	return nil
}

// inherit takes over from other settings what is not set in these: each limit, timeout and rate for itself, all else as a whole.
func (st *Settings) inherit(from *Settings) {
	inherit(reflect.ValueOf(st).Elem(), reflect.ValueOf(from).Elem())
}

func inherit(to, from reflect.Value) {
	for i := range to.NumField() {
		switch field := to.Field(i); {
		case field.Kind() == reflect.Struct:
			inherit(field, from.Field(i))
		case field.IsZero():
			field.Set(from.Field(i))
		}
	}
}
