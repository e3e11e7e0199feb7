package smtpclient

import (
	"context"
	"net/netip"
	"strconv"
	"strings"

	"github.com/caddy-esmtp/esmtp"
)

// XClient is a client for which we speak: what XCLIENT tells a server of ours (Postfix XCLIENT_README). Fields that are empty are not
// sent, but for Name: without it the client has none. Nor are those that the server doesn't take.
type XClient struct {
	Name  string         // its host name
	Addr  netip.AddrPort // its address; a port of 0 is not sent
	Dest  netip.AddrPort // the address that it connected to
	HELO  string         // what it called itself; we say EHLO with it then, as that counts for more than the attribute
	Proto string         // "SMTP" or "ESMTP"
	Login string         // whom it logged in as
}

// xclient says XCLIENT. The server then begins anew, with a greeting.
func (c *Conn) xclient() error {
	x := c.opts.XClient
	names, ok := c.Extension("XCLIENT")
	if !ok {
		return missing("XCLIENT", replyNoXCLIENT)
	}
	a := attributes{names: names, line: "XCLIENT"}
	if a.add("ADDR", addrText(x.Addr.Addr())); x.Addr.IsValid() {
		a.add("NAME", or(x.Name, "[UNAVAILABLE]"))
	}
	a.add("PORT", portText(x.Addr))
	a.add("PROTO", x.Proto)
	a.add("HELO", x.HELO)
	a.add("LOGIN", x.Login)
	a.add("DESTADDR", addrText(x.Dest.Addr()))
	a.add("DESTPORT", portText(x.Dest))
	if a.empty() {
		return nil
	}
	if _, err := c.command(a.line, 0); err != nil {
		return err
	}
	c.speaking = true
	return c.sayHello()
}

// XForward says XFORWARD, if the server offers it: where the message of the next transaction came from. It belongs before each [Conn.Mail]; a
// [Message] has it as a field of its own.
func (c *Conn) XForward(ctx context.Context, f *esmtp.Forwarded) error {
	return c.guard(ctx, "XFORWARD", func() error { return c.xforward(f) })
}

// xforward says XFORWARD, in as many commands as it takes, if the server offers it (Postfix XFORWARD_README).
func (c *Conn) xforward(f *esmtp.Forwarded) error {
	names, ok := c.Extension("XFORWARD")
	if f == nil || !ok {
		return nil
	}
	for _, part := range [][][2]string{
		{{"NAME", or(f.Name, "[UNAVAILABLE]")}, {"ADDR", or(addrText(f.Addr), "[UNAVAILABLE]")}},
		{{"PORT", or(portText(netip.AddrPortFrom(f.Addr, f.Port)), "[UNAVAILABLE]")}, {"PROTO", or(f.Proto, "[UNAVAILABLE]")}},
		{{"HELO", or(f.HELO, "[UNAVAILABLE]")}},
		{{"IDENT", or(f.Ident, "[UNAVAILABLE]")}, {"SOURCE", or(f.Source, "[UNAVAILABLE]")}},
	} {
		a := attributes{names: names, line: "XFORWARD"}
		for _, attr := range part {
			a.add(attr[0], attr[1])
		}
		if a.empty() {
			continue
		}
		if _, err := c.command(a.line, 0); c.err != nil {
			return err // else it is a pity for the server's log, and nothing more
		}
	}
	return nil
}

// attributes gathers attributes for a command.
type attributes struct {
	names string // those that the server takes
	line  string
}

func (a *attributes) empty() bool { return !strings.Contains(a.line, " ") }

// add puts an attribute into the command, if there is a value and the server takes it.
func (a *attributes) add(name, value string) {
	if value == "" {
		return
	}
	for offered := range strings.FieldsSeq(a.names) {
		if upper(offered) == name {
			a.line += " " + name + "=" + xtext(value)
			return
		}
	}
}

// xtext encodes a value (RFC 3461 §4), cut so that it has the 255 octets that a server takes.
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		part := string([]byte{c})
		if c <= ' ' || c > '~' || c == '+' || c == '=' {
			part = "+" + strings.ToUpper(strconv.FormatUint(0x100|uint64(c), 16)[1:])
		}
		if b.Len()+len(part) > 255 {
			break
		}
		b.WriteString(part)
	}
	return b.String()
}

// addrText is an address as XCLIENT and XFORWARD have it; "" for none.
func addrText(a netip.Addr) string {
	switch a = a.Unmap().WithZone(""); {
	case !a.IsValid():
		return ""
	case a.Is6():
		return "IPV6:" + a.String()
	}
	return a.String()
}

func portText(a netip.AddrPort) string {
	if a.Port() == 0 {
		return ""
	}
	return strconv.Itoa(int(a.Port()))
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
