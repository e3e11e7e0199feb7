package maildir

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/caddy-esmtp/esmtp"
)

// delivery is a message on its way to the maildirs of its recipients. While it comes it goes to the first one's tmp; the copies for
// the others are made of that at its end.
type delivery struct {
	store  *Store
	root   *os.Root
	copies []*letter
	of     []*letter // that of each recipient
	each   bool      // a letter can fail alone
	lead   int       // the letter that is written while the message comes
	first  *os.File  // its file
	size   int64     // octets of the message in first
	out    *bufio.Writer
}

// letter is the copy of one recipient.
type letter struct {
	dir       string // the maildir, below the root
	name      string // of the file
	top       []byte // the fields that are put on top
	staged    bool   // there is a file in tmp
	published bool   // there is one in new
	failed    error  // it will not be delivered
}

func (c *letter) tmp() string    { return filepath.Join(c.dir, "tmp", c.name) }
func (c *letter) target() string { return filepath.Join(c.dir, "new", c.name) }

// writers keeps buffers, that a session needs only while a message comes.
var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 32<<10) }}

// begin opens the file that the message is written to.
func (st *Store) begin(s *esmtp.Session) (d *delivery, err error) {
	d = &delivery{store: st, each: s.PerRecipient()}
	defer func() {
		if err != nil {
			d.end()
		}
	}()
	if err := d.address(s); err != nil {
		return nil, err
	}
	if d.root, err = st.openRoot(); err != nil {
		return nil, err
	}
	if err = d.takeLead(0, nil, 0); err != nil {
		return nil, err
	}
	d.out = writers.Get().(*bufio.Writer)
	d.out.Reset(d)
	return d, nil
}

// openRoot opens the root, and makes it if there is none.
func (st *Store) openRoot() (*os.Root, error) {
	root, err := os.OpenRoot(st.path.root)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeRoot(st.path.root, st.DirMode); err != nil {
			return nil, err
		}
		root, err = os.OpenRoot(st.path.root)
	}
	return root, err
}

// address makes a letter for every recipient; one that was given twice gets one.
func (d *delivery) address(s *esmtp.Session) error {
	tx := s.Transaction()
	seen := make(map[string]*letter, len(tx.Recipients()))
	for _, rcpt := range tx.Recipients() {
		local, domain := rcpt.Path.Local(), domainOf(s, rcpt.Path)
		to := rcpt.Path.String()
		if rcpt.Path.Domain() == "" {
			to += "@" + domain
		}
		if c := seen[to]; c != nil {
			d.of = append(d.of, c)
			continue
		}
		dir, err := d.store.path.expand(local, domain)
		if err != nil {
			return err
		}
		top := fmt.Appendf(nil, "Return-Path: <%s>\r\nDelivered-To: %s\r\n", tx.From(), to) // RFC 5321 §4.4
		c := &letter{dir: dir, name: uniqueName(), top: s.AppendReceived(top, to)}
		seen[to] = c
		d.copies, d.of = append(d.copies, c), append(d.of, c)
	}
	if len(d.copies) == 0 {
		return errors.New("maildir: message has no recipients")
	}
	return nil
}

// create makes a letter's file in tmp, and its maildir if there is none.
func (d *delivery) create(c *letter) (*os.File, error) {
	f, err := d.open(c)
	if errors.Is(err, fs.ErrNotExist) {
		for _, dir := range []string{"cur", "new", "tmp"} { // tmp last: where it is, the others are too
			if err := d.mkdir(filepath.Join(c.dir, dir)); err != nil {
				return nil, err
			}
		}
		f, err = d.open(c)
	}
	if err != nil {
		return nil, err
	}
	c.staged = true
	if err := f.Chmod(d.store.FileMode); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (d *delivery) open(c *letter) (*os.File, error) {
	return d.root.OpenFile(c.tmp(), os.O_RDWR|os.O_CREATE|os.O_EXCL, d.store.FileMode)
}

// stage brings the letters of all recipients to the disk, in tmp.
func (d *delivery) stage() error {
	if err := d.out.Flush(); err != nil {
		return err
	}
	if err := d.first.Sync(); err != nil {
		return err
	}
	for i, c := range d.copies {
		if i == d.lead || c.failed != nil {
			continue
		}
		if err := d.fail(c, d.copyTo(c)); err != nil {
			return err
		}
	}
	return nil
}

// copyTo writes another recipient's letter.
func (d *delivery) copyTo(c *letter) error {
	f, err := d.create(c)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := d.fill(f, c, d.first, d.copies[d.lead]); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// publish moves all letters to new, and brings that to the disk. If one can't be moved, those that were are taken back, unless it can fail alone.
func (d *delivery) publish() (err error) {
	defer func() {
		if err != nil {
			d.takeBack()
		}
	}()
	for _, c := range d.copies {
		if c.failed != nil {
			continue
		}
		if err := d.root.Rename(c.tmp(), c.target()); err != nil {
			if err := d.fail(c, err); err != nil {
				return err
			}
			continue
		}
		c.staged, c.published = false, true
	}
	synced := make(map[string]error, len(d.copies))
	for _, c := range d.copies {
		if !c.published {
			continue
		}
		err, done := synced[c.dir]
		if !done {
			err = d.sync(filepath.Join(c.dir, "new"))
			synced[c.dir] = err
		}
		if err := d.fail(c, err); err != nil {
			return err
		}
	}
	return d.allFailed()
}

func (d *delivery) takeBack() {
	for _, c := range d.copies {
		if c.published {
			d.root.Remove(c.target())
			c.published = false
		}
	}
}

// end gives back what the delivery holds, and removes what it left in tmp.
func (d *delivery) end() {
	if d.out != nil {
		d.out.Reset(nil)
		writers.Put(d.out)
		d.out = nil
	}
	if d.first != nil {
		d.first.Close()
	}
	if d.root == nil {
		return
	}
	for _, c := range d.copies {
		if c.staged {
			d.root.Remove(c.tmp())
		}
	}
	d.root.Close()
}

// refuse logs what went wrong, and turns it into a reply: the client can try again later.
func refuse(s *esmtp.Session, err error, args ...any) esmtp.Reply {
	s.Logger().Error("mail could not be kept", append(args, "error", err)...)
	switch {
	case errors.Is(err, syscall.EDQUOT):
		return esmtp.Deny(452, 4, 2, 2, "Mailbox full")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EFBIG):
		return esmtp.Deny(452, 4, 3, 1, "Insufficient system storage")
	}
	return esmtp.Deny(451, 4, 3, 0, "Local error in processing")
}
