package caddymodule

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/handler/respond"
)

func init() {
	caddy.RegisterModule(new(Respond))
}

// Respond answers a verb with a fixed reply, for policies and for testing clients. The handlers after it never hear of what it answers.
//
//	respond <verb> <code> [<enhanced>] [<text...>] {
//		from <pattern>
//		to   <pattern>
//		close
//	}
//
// A verb is CONNECT, HELO, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, EOH, EOM, RSET, VRFY, EXPN, HELP, NOOP, ETRN, QUIT or UNKNOWN. EOM answers a message at
// its end; EOH too, but keeps its body from the handlers below. Each text is a line of the reply; for EHLO the first is the greeting,
// and the others are the extensions. A message that is answered with 250 is gone.
type Respond struct {
	// Verb is the verb to answer, in any case.
	Verb string `json:"verb"`

	// Code is the reply code, one that the verb can have.
	Code int `json:"code"`

	// Enhanced is the enhanced status code, such as 5.7.1. Default x.0.0.
	Enhanced string `json:"enhanced,omitempty"`

	// Text is the text, a line each. Nothing in it is replaced. Default: the usual text of the code.
	Text []string `json:"text,omitempty"`

	// From makes the rule hold only for this sender: user@example.org, *@example.org, *.example.org, or <> for the null path.
	From string `json:"from,omitempty"`

	// To makes the rule hold only for this recipient; after RCPT, if any of the accepted ones is it.
	To string `json:"to,omitempty"`

	// Close closes the connection after the reply.
	Close bool `json:"close,omitempty"`

	responder *respond.Responder
}

// CaddyModule returns the Caddy module information.
func (*Respond) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.handlers.respond", New: func() caddy.Module { return new(Respond) }}
}

// Provision checks the rule.
func (r *Respond) Provision(caddy.Context) (err error) {
	rule := respond.Rule{Verb: r.Verb, From: r.From, To: r.To, Code: r.Code, Lines: r.Text, Close: r.Close}
	if r.Enhanced != "" {
		enh, ok := parseEnhanced(r.Enhanced)
		if !ok {
			return fmt.Errorf("respond: enhanced is a code such as 5.7.1, not %q", r.Enhanced)
		}
		rule.Enhanced = enh
	}
	r.responder, err = respond.New(rule)
	return err
}

// parseEnhanced reads an enhanced status code (RFC 3463 §2).
func parseEnhanced(s string) (enh esmtp.Enhanced, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return enh, false
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || n > 999 || strconv.FormatUint(n, 10) != part {
			return enh, false
		}
		enh[i] = uint16(n)
	}
	return enh, enh[0] == 2 || enh[0] == 4 || enh[0] == 5
}

// NewLayer makes the layer of a connection.
func (r *Respond) NewLayer(s *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return r.responder.NewLayer(s, next)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	respond <verb> <code> [<enhanced>] [<text...>] {
//		from <pattern>
//		to   <pattern>
//		close
//	}
func (r *Respond) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	var code string
	if !d.Args(&r.Verb, &code) {
		return d.Err("respond takes a verb, a reply code, and a text")
	}
	var err error
	if r.Code, err = strconv.Atoi(code); err != nil {
		return d.Errf("respond: %q is no reply code", code)
	}
	r.Text = d.RemainingArgs()
	if len(r.Text) > 0 {
		if _, ok := parseEnhanced(r.Text[0]); ok {
			r.Enhanced, r.Text = r.Text[0], r.Text[1:]
		}
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name, ok := d.Val(), true
		switch name {
		case "from":
			ok = d.AllArgs(&r.From)
		case "to":
			ok = d.AllArgs(&r.To)
		case "close":
			ok, r.Close = !d.NextArg(), true
		default:
			return d.Errf("respond: unrecognized option %q%s", name, didYouMean(name, []string{"from", "to", "close"}))
		}
		if !ok {
			return d.Errf("respond: wrong number of arguments for %s", name)
		}
	}
	if err := r.Provision(caddy.Context{}); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Respond)(nil)
	_ caddyfile.Unmarshaler = (*Respond)(nil)
	_ Layer                 = (*Respond)(nil)
)
