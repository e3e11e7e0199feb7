package esmtp

import (
	"log/slog"
	"net/netip"
	"strings"
)

// Forwarded is what a trusted client, such as a content filter, has said with XFORWARD about where it got the next message. It is for logs and
// audit trails, and never mixed with what the session knows of its own client. A field is empty if the client didn't say, or doesn't
// know. Texts are printable ASCII without spaces; what had a meaning in a header field is '?'.
type Forwarded struct {
	// Given tells that there was an XFORWARD for this transaction, or for the one to come.
	Given bool

	// Name is the host name of the client that the message came from, Addr and Port its address, HELO what it called itself.
	Name string
	Addr netip.Addr
	Port uint16
	HELO string

	// Proto is the protocol by which it came, at most 64 octets: "ESMTP", or none that is SMTP at all.
	Proto string

	// Ident is the name of the message at the sender of XFORWARD, for finding it in its logs.
	Ident string

	// Source is "LOCAL" if the message began at the sender's own site, "REMOTE" for all others.
	Source string
}

// Forwarded returns what XFORWARD said. It is forgotten at the end of the transaction, and by RSET, HELO, EHLO, STARTTLS and XCLIENT.
func (s *Session) Forwarded() Forwarded {
	if s.forwarded == nil {
		return Forwarded{}
	}
	return *s.forwarded
}

// doXFORWARD carries out XFORWARD (Postfix XFORWARD_README). One with an error changes nothing.
func (s *Session) doXFORWARD(arg []byte) {
	r := s.mayUse(extXFORWARD, s.cfg.trustXFORWARD)
	f := s.Forwarded()
	if r.IsZero() {
		f.Given = true
		r = s.setAttributes(string(arg), xforwardLine, f.set)
	}
	if r.IsZero() {
		s.forwarded = &f
		r = replyOK
	}
	s.reply(verbXFORWARD, r)
}

func (f *Forwarded) set(name, value string) bool {
	switch name {
	case "NAME":
		return setText(&f.Name, value, maxAttribute)
	case "ADDR":
		return setAddr(&f.Addr, value)
	case "PORT":
		return setPort(&f.Port, value)
	case "PROTO":
		return setText(&f.Proto, value, 64)
	case "HELO":
		return setText(&f.HELO, value, maxAttribute)
	case "IDENT":
		return setText(&f.Ident, value, maxAttribute)
	}
	if f.Source = strings.ToUpper(value); isUnavailable(value) { // SOURCE
		f.Source = ""
	}
	return f.Source == "" || f.Source == "LOCAL" || f.Source == "REMOTE"
}

// LogValue writes the fields that are known as a group.
func (f Forwarded) LogValue() slog.Value {
	var attrs []slog.Attr
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	text("name", f.Name)
	if f.Addr.IsValid() {
		attrs = append(attrs, slog.String("addr", netip.AddrPortFrom(f.Addr, f.Port).String()))
	}
	text("helo", f.HELO)
	text("proto", f.Proto)
	text("ident", f.Ident)
	text("source", f.Source)
	return slog.GroupValue(attrs...)
}
