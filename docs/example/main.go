// Command example is Caddy with a mail handler of its own: a guest book that people write to by mail.
//
// The type Guestbook is the handler, the line in init makes it a Caddy module and a directive, and main is that of any Caddy. Run it
// with
//
//	go run ./docs/example run --config docs/example/Caddyfile
package main

import (
	"fmt"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/caddymodule"
)

func init() {
	caddymodule.Register[Guestbook]("guestbook")
}

func main() {
	caddycmd.Main()
}

// Guestbook takes mail for one address, and thanks for it. What it doesn't override is that of esmtp.Default.
type Guestbook struct {
	esmtp.Default

	// Address is where guests write to.
	Address string `json:"address"`

	// Banned are domains whose guests are not welcome.
	Banned []string `json:"banned,omitempty"`

	entries int // of this connection: every connection has a Guestbook of its own
}

var _ esmtp.Handler = (*Guestbook)(nil)

// RCPT accepts the address of the guest book.
func (g *Guestbook) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	for _, domain := range g.Banned {
		if s.Transaction().From().Domain() == domain {
			return esmtp.Deny(550, 5, 7, 1, "You have written enough")
		}
	}
	if !strings.EqualFold(to.String(), g.Address) {
		return esmtp.Deny(550, 5, 1, 1, "There is only "+g.Address)
	}
	return g.Default.RCPT(s, to)
}

// EOM makes an entry of a message.
func (g *Guestbook) EOM(s *esmtp.Session) esmtp.Reply {
	tx := s.Transaction()
	g.entries++
	s.Logger().Info("new entry", "guest", tx.From().String(), "octets", tx.Octets())
	return esmtp.OK(fmt.Sprintf("Thank you, this was your entry %d", g.entries))
}

// Validate is called by Caddy when the config is loaded.
func (g *Guestbook) Validate() error {
	if !strings.Contains(g.Address, "@") {
		return fmt.Errorf("guestbook: %q is not an address", g.Address)
	}
	return nil
}
