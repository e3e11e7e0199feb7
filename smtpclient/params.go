package smtpclient

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// plan is how a message goes to this server.
type plan struct {
	mail  []string // parameters of MAIL
	utf8  bool
	ascii ascii
	dsn   bool
	by    bool
}

// MailParams returns the parameters of MAIL with which a message can be sent to this server: those that it needs and that are offered. If
// it needs what is not offered, the error is a [MissingRequirement].
func (c *Conn) MailParams(m *Message) ([]string, error) {
	p, err := c.plan(m)
	return p.mail, err
}

func (c *Conn) plan(m *Message) (p plan, err error) {
	for _, add := range []func(*Message, *plan) error{c.planSize, c.planBody, c.planUTF8, c.planTLS, c.planDeliverBy, c.planRest} {
		if err := add(m, &p); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (p *plan) add(name, value string) {
	if value != "" {
		name += "=" + value
	}
	p.mail = append(p.mail, name)
}

// offers reports whether an extension is offered.
func (c *Conn) offers(keyword string) bool {
	_, ok := c.extensions[keyword]
	return ok
}

// planSize declares the size, and doesn't even begin with what is too big (RFC 1870 §6.1).
func (c *Conn) planSize(m *Message, p *plan) error {
	most, ok := c.MaxSize()
	switch {
	case !ok || m.Size <= 0:
	case most > 0 && m.Size > most:
		return &Error{Class: Permanent, Verb: "MAIL", Reply: replyTooBig, Local: true}
	default:
		p.add("SIZE", strconv.FormatInt(m.Size, 10))
	}
	return nil
}

// planBody declares what the message holds (RFC 6152, RFC 3030).
func (c *Conn) planBody(m *Message, p *plan) error {
	switch body := max(m.Type, m.From.Body()); {
	case body == esmtp.BodyBinaryMIME:
		if !c.offers("BINARYMIME") || !c.offers("CHUNKING") {
			return missing("MAIL", replyNoBinary)
		}
		p.add("BODY", "BINARYMIME")
	case c.offers("8BITMIME"):
		if body == esmtp.Body8BitMIME {
			p.add("BODY", "8BITMIME")
		}
	case m.Type == esmtp.Body8BitMIME:
		return missing("MAIL", replyNo8Bit)
	default:
		p.ascii = ascii7Bit // what MAIL said need not be true of the message
	}
	return nil
}

// planUTF8 asks for SMTPUTF8 if an address or the header needs it (RFC 6531 §3.6). A domain alone doesn't: it goes as A-labels.
func (c *Conn) planUTF8(m *Message, p *plan) error {
	needed := m.UTF8 || !isASCII(m.From.Local())
	for i := range m.To {
		needed = needed || !isASCII(m.To[i].Local())
	}
	switch {
	case !needed && !m.From.SMTPUTF8():
	case c.offers("SMTPUTF8"):
		p.utf8 = true
		p.add("SMTPUTF8", "")
	case needed:
		return missing("MAIL", replyNoUTF8)
	default:
		p.ascii = max(p.ascii, asciiHeader)
	}
	return nil
}

// planTLS keeps a message that asks for it in TLS (RFC 8689 §4.2.1). A report is not to be lost for it (§5).
func (c *Conn) planTLS(m *Message, p *plan) error {
	switch {
	case !m.RequireTLS && !m.From.RequireTLS():
		return nil
	case !m.RequireTLS && m.From.IsNull() && (!c.Verified() || !c.offers("REQUIRETLS")):
		return nil
	case !c.Verified():
		return missing("MAIL", replyUnverified)
	case !c.offers("REQUIRETLS"):
		return missing("MAIL", replyNoREQTLS)
	}
	p.add("REQUIRETLS", "")
	return nil
}

// planDeliverBy passes on how much time is left (RFC 2852 §4.1.4). A message that is to be returned when the time is over can't go where it might
// stay: to a server without DELIVERBY, unless it is the last one, or with a longer minimum than is left.
func (c *Conn) planDeliverBy(m *Message, p *plan) error {
	by, ok := m.From.DeliverBy()
	if !ok {
		return nil
	}
	left := by.Within
	if !m.Deadline.IsZero() {
		left = time.Until(m.Deadline).Truncate(time.Second)
	}
	params, offered := c.Extension("DELIVERBY")
	first, _, _ := strings.Cut(params, ",")
	least, _ := strconv.ParseInt(first, 10, 32)
	mode := "N"
	if by.Return {
		mode = "R"
		switch {
		case left <= 0:
			return &Error{Class: Permanent, Verb: "MAIL", Reply: replyByTooSoon, Local: true}
		case !offered && !c.opts.LMTP, offered && left < time.Duration(least)*time.Second:
			return missing("MAIL", replyByTooSoon)
		}
	}
	if by.Trace {
		mode += "T"
	}
	if p.by = offered; offered {
		const most = 999999999 // nine digits
		p.add("BY", fmt.Sprintf("%d;%s", max(-most, min(int64(left/time.Second), most)), mode))
	}
	return nil
}

// planRest passes on what is a wish, if it is offered.
func (c *Conn) planRest(m *Message, p *plan) error {
	p.dsn = c.offers("DSN")
	for _, param := range []struct{ name, keyword string }{
		{"RET", "DSN"}, {"ENVID", "DSN"}, {"MT-PRIORITY", "MT-PRIORITY"}, {"AUTH", "AUTH"},
	} {
		value, ok := m.From.Param(param.name)
		if ok && c.offers(param.keyword) && isVisible(value) && (param.name != "AUTH" || c.user) {
			p.add(param.name, value)
		}
	}
	return nil
}

// RcptParams returns the parameters of RCPT with which a recipient can be sent to this server: NOTIFY, ORCPT and RRVS as they stand in the
// path, if they are offered. utf8 says that MAIL has SMTPUTF8.
func (c *Conn) RcptParams(to esmtp.Path, utf8 bool) (params []string) {
	for _, p := range []struct{ name, keyword string }{{"NOTIFY", "DSN"}, {"ORCPT", "DSN"}, {"RRVS", "RRVS"}} {
		value, ok := to.Param(p.name)
		if !ok || !c.offers(p.keyword) {
			continue
		}
		if !utf8 {
			value = escapeUTF8(value)
		}
		params = append(params, p.name+"="+value)
	}
	return params
}

// escapeUTF8 writes an ORCPT of type utf-8 so that it can go without SMTPUTF8 (RFC 6533 §3, utf-8-addr-xtext).
func escapeUTF8(s string) string {
	if isASCII(s) {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if c < 0x80 {
			b.WriteRune(c)
		} else {
			fmt.Fprintf(&b, `\x{%X}`, c)
		}
	}
	return b.String()
}
