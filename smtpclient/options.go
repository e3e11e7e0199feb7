package smtpclient

import (
	"cmp"
	"crypto/tls"
	"net"
	"os"
	"strings"
	"time"
)

// Options say how to speak to a server. The zero Options, and nil, are right for a mail exchanger on port 25. They may be shared by
// many connections, and must not be changed while one is being made.
type Options struct {
	// LocalName is what the client calls itself in EHLO: its fully-qualified host name, or an address literal such as "[192.0.2.1]"
	// (RFC 5321 §4.1.4). By default it is the host's name if that has a dot in it, else the literal of the connection's address.
	LocalName string

	// LMTP speaks LMTP: LHLO, and a reply for each recipient after the message (RFC 2033).
	LMTP bool

	// TLS tells what to make of STARTTLS. It has no meaning with ImplicitTLS.
	TLS TLSMode

	// ImplicitTLS begins with a TLS handshake, as on port 465 (RFC 8314 §3.3).
	ImplicitTLS bool

	// TLSConfig is the configuration of TLS; the caller decides with it whether certificates are verified. If its ServerName is empty, it
	// becomes the host given to [Dial]. Nil verifies the server's certificate against the system's roots with Required and
	// ImplicitTLS, and doesn't verify it with Opportunistic, where a stranger could as well have taken STARTTLS away (RFC 7435).
	TLSConfig *tls.Config

	// VerifiesServer says that TLSConfig.VerifyConnection, or VerifyPeerCertificate, makes sure who the server is although InsecureSkipVerify is set,
	// as DANE does it (RFC 7672). [Conn.Verified] believes it.
	VerifiesServer bool

	// Auth logs in, if not nil. A server that doesn't offer AUTH, or no mechanism that can be used, is an error.
	Auth *Auth

	// Proxy is sent as PROXY protocol header, version 2, before all else, if not nil. It is for own servers that expect it.
	Proxy *Proxy

	// XClient is sent in XCLIENT after EHLO, if not nil. It is for own servers that trust us with it. One that doesn't offer it is an error.
	XClient *XClient

	// Ignore has keywords of EHLO that are taken as not offered, such as "CHUNKING", for servers that can't do what they say.
	Ignore []string

	// QuitOnError says QUIT after a transaction that failed; otherwise it is RSET, and the connection can be used again.
	QuitOnError bool

	// Timeouts and Limits bound what the server can cost. Zero fields have defaults.
	Timeouts Timeouts
	Limits   Limits
}

// TLSMode tells what to make of STARTTLS (RFC 3207).
type TLSMode uint8

// The modes. Opportunistic is the default.
const (
	// Opportunistic uses TLS if it is offered. When the handshake fails the error is [ErrHandshake]: the connection is of no more use, and
	// the caller can try a new one with Never.
	Opportunistic TLSMode = iota

	// Never doesn't use STARTTLS.
	Never

	// Required fails if TLS is not to be had.
	Required
)

// Timeouts are how long the client waits for the server. The defaults are those of RFC 5321 §4.5.3.2 where it has some.
type Timeouts struct {
	Connect  time.Duration // for the connection; 30 seconds
	Greeting time.Duration // for the 220 in the beginning, and for a TLS handshake; 5 minutes
	Command  time.Duration // for the reply to a command, MAIL and RCPT among them; 5 minutes
	Data     time.Duration // for the 354 of DATA; 2 minutes
	Block    time.Duration // for the server to take 64 KiB of a message; 3 minutes
	Final    time.Duration // for the reply to a whole message, with LMTP for each; 10 minutes
	Quit     time.Duration // for the reply to QUIT; 10 seconds
}

// Limits bound a reply. A server that goes over one is [Unexpected].
type Limits struct {
	Line   int // octets of a line; 16,384, for SASL challenges are long (RFC 4954 §4)
	Lines  int // lines of a reply; 512
	Octets int // octets of a whole reply; 65,536

	// Pipelined is how many commands may be under way at once where PIPELINING is offered; 100. There are also never more octets of
	// commands under way than a socket's buffer can hold, so that client and server can't wait for each other (RFC 2920 §3.1).
	Pipelined int
}

// withDefaults returns a copy of o with all defaults filled in, for a connection to addr.
func (o *Options) withDefaults() Options {
	var full Options
	if o != nil {
		full = *o
	}
	t, l := &full.Timeouts, &full.Limits
	*t = Timeouts{
		Connect:  cmp.Or(t.Connect, 30*time.Second),
		Greeting: cmp.Or(t.Greeting, 5*time.Minute),
		Command:  cmp.Or(t.Command, 5*time.Minute),
		Data:     cmp.Or(t.Data, 2*time.Minute),
		Block:    cmp.Or(t.Block, 3*time.Minute),
		Final:    cmp.Or(t.Final, 10*time.Minute),
		Quit:     cmp.Or(t.Quit, 10*time.Second),
	}
	*l = Limits{
		Line:      cmp.Or(l.Line, 16<<10),
		Lines:     cmp.Or(l.Lines, 512),
		Octets:    cmp.Or(l.Octets, 64<<10),
		Pipelined: cmp.Or(l.Pipelined, 100),
	}
	return full
}

// tlsConfig is the configuration for a handshake with the given host.
func (o *Options) tlsConfig(host string) *tls.Config {
	config := o.TLSConfig
	if config == nil {
		config = &tls.Config{InsecureSkipVerify: !o.ImplicitTLS && o.TLS == Opportunistic}
	}
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = host
	}
	return config
}

// localName is the name for EHLO on a connection from the given address.
func (o *Options) localName(addr net.Addr) string {
	if o.LocalName != "" {
		return o.LocalName
	}
	if name, err := os.Hostname(); err == nil && strings.Contains(name, ".") && isVisible(name) {
		return name
	}
	tcp, ok := addr.(*net.TCPAddr)
	switch {
	case !ok:
		return "localhost"
	case tcp.IP.To4() != nil:
		return "[" + tcp.IP.String() + "]"
	}
	return "[IPv6:" + tcp.IP.String() + "]"
}
