// Package maildir is a layer that keeps mail in maildirs: a folder per mailbox, a file per message, no locks.
//
//	store, err := maildir.New("/var/mail/{rcpt.domain}/{rcpt.local}")
//	…
//	srv := &esmtp.Server{NewHandler: esmtp.Stack(ours.NewLayer, store.NewLayer)}
//
// The one idea to hold: a message is written to tmp while it comes, and shows in new only when all of it is on the disk, for all of
// its recipients; only then the client gets its 250. Whatever goes wrong before leaves nothing behind. Where the client gets a reply for each
// recipient, in LMTP and with PRDR, a mailbox that can't take the message fails alone. After a crash something can stay
// in tmp, where readers don't look, and which they clean after 36 hours.
package maildir

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/caddy-esmtp/esmtp"
)

// Store keeps mail in maildirs. Any number of sessions may use it at the same time. Set its fields before the first.
type Store struct {
	// FileMode and DirMode are the permissions of messages, and of folders that have to be made; the umask doesn't count. Defaults:
	// 0600, 0700.
	FileMode fs.FileMode
	DirMode  fs.FileMode

	path *template
}

// New makes a store. path is where the maildir of a recipient is; {rcpt.local} and {rcpt.domain} in it stand for the parts of his
// address, in lower case, the domain as A-labels. Mail to <postmaster> without a domain has our own host name there.
//
// What is before the first part with a placeholder is the root. No address leads out of it, and neither does a symbolic link below
// it. A local part that can't be the name of a folder is refused, with 553 5.1.3. New looks at the path only; folders are made when
// mail comes.
func New(path string) (*Store, error) {
	t, err := parseTemplate(path)
	if err != nil {
		return nil, err
	}
	return &Store{FileMode: 0o600, DirMode: 0o700, path: t}, nil
}

// NewLayer makes the layer of a connection; it is an [esmtp.Layer]. It hands every verb on: as the last of the stack it answers as
// Default does, and a layer below can still refuse the message, or keep it too. It keeps nothing of a message for which a layer above has a verdict
// other than [esmtp.Keep].
func (st *Store) NewLayer(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return &layer{Handler: next, store: st}
}

type layer struct {
	esmtp.Handler
	store *Store
	mail  *delivery // of the message that is coming, nil before
}

var replyBadName = esmtp.Deny(553, 5, 1, 3, "Mailbox name not allowed")

// RCPT refuses what can't be the name of a folder.
func (l *layer) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	if _, err := l.store.path.expand(to.Local(), domainOf(s, to)); err != nil {
		s.Logger().Info("recipient has no maildir", "to", to.String(), "error", err)
		return replyBadName
	}
	return l.Handler.RCPT(s, to)
}

// EHLO offers PRDR: replies for each recipient, one of whose mailboxes can be full.
func (l *layer) EHLO(s *esmtp.Session, domain string) esmtp.Reply {
	r := l.Handler.EHLO(s, domain)
	if r.Accepted() && len(r.Lines) > 0 && !s.Server().LMTP {
		r.Lines = append(slices.Clip(r.Lines), "PRDR")
	}
	return r
}

// HEADER writes a field as it came.
func (l *layer) HEADER(s *esmtp.Session, name, value string) esmtp.Reply {
	if r := l.Handler.HEADER(s, name, value); !r.IsZero() {
		return r
	}
	return l.write(s, s.Field(name, value))
}

// EOH writes what stands between header and body.
func (l *layer) EOH(s *esmtp.Session, why esmtp.HeaderEnd) esmtp.Reply {
	if r := l.Handler.EOH(s, why); !r.IsZero() {
		return r
	}
	return l.write(s, []byte(s.Separator()))
}

// BODY writes a chunk.
func (l *layer) BODY(s *esmtp.Session, chunk []byte) esmtp.Reply {
	if r := l.Handler.BODY(s, chunk); !r.IsZero() {
		return r
	}
	return l.write(s, chunk)
}

// EOM brings the message to all recipients, if the layers above want it kept and those below accept it.
func (l *layer) EOM(s *esmtp.Session) esmtp.Reply {
	switch s.Transaction().Verdict().Disposition {
	case esmtp.Keep:
	case esmtp.Discarded, esmtp.Consumed:
		return esmtp.Reply{}
	default:
		return l.Handler.EOM(s) // a spool below can do it; if there is none the client gets 451
	}
	if r := l.write(s, nil); !r.IsZero() {
		return r
	}
	if err := errors.Join(l.mail.stage(), l.mail.allFailed()); err != nil {
		return refuse(s, err)
	}
	r := l.Handler.EOM(s)
	if !r.IsZero() && !r.Accepted() {
		return r
	}
	if err := l.mail.publish(); err != nil {
		return refuse(s, err)
	}
	l.mail.report(s)
	return r
}

// write begins the delivery if this is the first that comes of a message, and writes p. What was written before a verdict says that nothing is
// to be kept goes when the transaction ends.
func (l *layer) write(s *esmtp.Session, p []byte) esmtp.Reply {
	if s.Transaction().Verdict().Disposition != esmtp.Keep {
		return esmtp.Reply{}
	}
	if l.mail == nil {
		d, err := l.store.begin(s)
		if err != nil {
			return refuse(s, err)
		}
		l.mail = d
		s.Transaction().OnEnd(func() {
			d.end()
			l.mail = nil
		})
	}
	if _, err := l.mail.out.Write(p); err != nil {
		return refuse(s, err)
	}
	return esmtp.Reply{}
}

// domainOf returns the domain of a recipient; our own is that of <postmaster> (RFC 5321 §4.5.1).
func domainOf(s *esmtp.Session, to esmtp.Path) string {
	if to.Domain() == "" {
		return s.Hostname()
	}
	return to.Domain()
}
