package caddymodule

import (
	"fmt"
	"io/fs"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/handler/maildir"
)

func init() {
	caddy.RegisterModule(new(Maildir))
}

// Maildir keeps mail in maildirs, a copy for each recipient, with Return-Path, Delivered-To and Received on top. The client gets its 250
// when all copies are on the disk; whatever fails before is answered with 451 or 452 and leaves nothing behind. Over LMTP, and with PRDR over SMTP, a
// mailbox that can't take the message fails alone.
//
//	maildir <path> {
//		file_mode <octal>
//		dir_mode  <octal>
//	}
//
// Placeholders in the path:
//
// Placeholder | Description
// ------------|-------------
// `{rcpt.local}` | The local part of the recipient's address, in lower case
// `{rcpt.domain}` | The domain of the recipient's address, in lower case, as A-labels; our own host name for `<postmaster>`
// `{env.*}` | Environment variables
//
// No address leads out of the folder before the first part that has a placeholder of the recipient, and no symbolic link does. A recipient
// whose local part can't be the name of a folder is refused with 553 5.1.3: one that begins with a dot, has a slash, or is too long.
//
// Maildir hands every verb on; with no handler below it the usual replies are given.
type Maildir struct {
	// Path is where the maildir of a recipient is. A relative path is below the folder that Caddy was started in.
	Path string `json:"path"`

	// FileMode are the permissions of messages, in octal. Default 0600.
	FileMode string `json:"file_mode,omitempty"`

	// DirMode are the permissions of folders that have to be made, in octal. Default 0700.
	DirMode string `json:"dir_mode,omitempty"`

	store *maildir.Store
}

// CaddyModule returns the Caddy module information.
func (*Maildir) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.handlers.maildir", New: func() caddy.Module { return new(Maildir) }}
}

// Provision checks the path; it touches no file.
func (m *Maildir) Provision(caddy.Context) (err error) {
	path, err := replaceBut("maildir: path", m.Path, func(string) bool { return true }) // the store knows which others there are
	if err != nil {
		return err
	}
	if m.store, err = maildir.New(path); err != nil {
		return err
	}
	if err := parseMode("file_mode", m.FileMode, &m.store.FileMode); err != nil {
		return err
	}
	return parseMode("dir_mode", m.DirMode, &m.store.DirMode)
}

// parseMode reads permissions, if there are any.
func parseMode(name, text string, mode *fs.FileMode) error {
	if text == "" {
		return nil
	}
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		return fmt.Errorf("maildir: %s is a number in octal, such as 0640, not %q", name, text)
	}
	*mode = fs.FileMode(n)
	return nil
}

// NewLayer makes the layer of a connection.
func (m *Maildir) NewLayer(s *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return m.store.NewLayer(s, next)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	maildir <path> {
//		file_mode <octal>
//		dir_mode  <octal>
//	}
func (m *Maildir) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	if !d.AllArgs(&m.Path) {
		return d.Err("maildir takes a path, such as /var/mail/{rcpt.domain}/{rcpt.local}")
	}
	if _, err := maildir.New(caddy.NewReplacer().ReplaceKnown(m.Path, "x")); err != nil { // an empty value can be another one when it is used
		return d.WrapErr(err)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		modes := map[string]*string{"file_mode": &m.FileMode, "dir_mode": &m.DirMode}
		value, ok := modes[name]
		if !ok {
			return d.Errf("maildir: unrecognized option %q%s", name, didYouMean(name, []string{"file_mode", "dir_mode"}))
		}
		if !d.AllArgs(value) {
			return d.Errf("maildir: %s takes one argument", name)
		}
		if err := parseMode(name, *value, new(fs.FileMode)); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Maildir)(nil)
	_ caddyfile.Unmarshaler = (*Maildir)(nil)
	_ Layer                 = (*Maildir)(nil)
)
