package maildir

import (
	"io"
	"os"

	"github.com/caddy-esmtp/esmtp"
)

// A client that gets a reply for each recipient can be told that one mailbox is full while the others have the message. What follows keeps
// one letter's failure from the others.

// fail notes that a letter can't be delivered. If it can't fail alone that is an error for all.
func (d *delivery) fail(c *letter, err error) error {
	if err == nil || !d.each {
		return err
	}
	c.failed = err
	if c.published {
		d.root.Remove(c.target())
		c.published = false
	}
	return nil
}

// allFailed returns an error if no letter is left.
func (d *delivery) allFailed() error {
	for _, c := range d.copies {
		if c.failed == nil {
			return nil
		}
	}
	return d.copies[0].failed
}

// takeLead opens the file of letter i, or of the first one after it that can be had, and writes to it what came of the message so far, which is in
// source, the file of another letter.
func (d *delivery) takeLead(i int, source *os.File, from int) error {
	for ; i < len(d.copies); i++ {
		c := d.copies[i]
		f, err := d.create(c)
		if err == nil {
			if err = d.fill(f, c, source, d.copies[from]); err == nil {
				d.lead, d.first = i, f
				return nil
			}
			f.Close()
		}
		if err := d.fail(c, err); err != nil {
			return err
		}
	}
	return d.allFailed()
}

// fill writes a letter: its own fields, and what came of the message so far, which is in source, the file of letter from.
func (d *delivery) fill(f *os.File, c *letter, source *os.File, from *letter) error {
	if _, err := f.Write(c.top); err != nil || source == nil {
		return err
	}
	if _, err := source.Seek(int64(len(from.top)), io.SeekStart); err != nil {
		return err
	}
	_, err := io.CopyN(f, source, d.size)
	return err
}

// Write writes a piece of the message to the letter in the lead. If that can't take it, the next one goes on.
func (d *delivery) Write(p []byte) (n int, err error) {
	for {
		k, err := d.first.Write(p[n:])
		n += k
		d.size += int64(k)
		if err == nil {
			return n, nil
		}
		if err := d.fail(d.copies[d.lead], err); err != nil {
			return n, err
		}
		old := d.first
		err = d.takeLead(d.lead+1, old, d.lead)
		if err != nil {
			return n, err
		}
		old.Close()
	}
}

// report sets the replies of recipients who don't have the message.
func (d *delivery) report(s *esmtp.Session) {
	tx := s.Transaction()
	for i, c := range d.of {
		if c.failed != nil {
			tx.SetReply(i, refuse(s, c.failed, "to", tx.Recipients()[i].Path.String()))
		}
	}
}
