package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// maxFile is the largest file of users, in octets.
const maxFile = 16 << 20

// File is users in a file, a line each: the name, a colon, and a secret as [Table.Add] takes it. Empty lines, and those that begin with #, are
// comments. It is read again when it has changed; one that can't be read, or has a mistake, changes nothing.
type File struct {
	path         string
	certificates bool
	hashes       []Hash

	mu    sync.Mutex
	table *Table
	seen  os.FileInfo // of the file that was read last, with or without success
	when  time.Time   // it was
}

// OpenFile reads a file of users. For certificates and hashes see [Table].
func OpenFile(path string, certificates bool, hashes ...Hash) (*File, error) {
	f := &File{path: path, certificates: certificates, hashes: hashes}
	if err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

// read reads the file.
func (f *File) read() error {
	file, err := os.Open(f.path)
	if err != nil {
		return fmt.Errorf("auth: %w", err)
	}
	defer file.Close()
	if f.seen, err = file.Stat(); err != nil {
		return fmt.Errorf("auth: %w", err)
	}
	f.when = time.Now()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return fmt.Errorf("auth: %w", err)
	case len(text) > maxFile:
		return fmt.Errorf("auth: %s is larger than %d octets", f.path, maxFile)
	}
	table := NewTable(f.hashes...)
	table.Certificates = f.certificates
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		name, secret, ok := bytes.Cut(line, []byte(":"))
		if err = errNoColon; ok {
			err = table.Add(string(name), string(secret))
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", f.path, number, err)
		}
	}
	f.table = table
	return nil
}

var errNoColon = errors.New("auth: a line is a name, a colon, and a secret")

// settled is how long a file must have been left alone before its time tells whether it was changed since.
const settled = 2 * time.Second

// current returns the users as they are in the file now, or were when it was last without mistakes.
func (f *File) current(s *esmtp.Session) *Table {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := os.Stat(f.path)
	switch {
	case err != nil:
		if f.seen != nil {
			s.Logger().Error("users can't be read: those from before go on to count", "error", err)
			f.seen = nil
		}
		return f.table
	case f.seen != nil && os.SameFile(now, f.seen) && now.Size() == f.seen.Size() && now.ModTime().Equal(f.seen.ModTime()) &&
		f.when.Sub(f.seen.ModTime()) > settled:
		return f.table
	}
	if err := f.read(); err != nil {
		s.Logger().Error("users can't be read: those from before go on to count", "error", err)
	}
	return f.table
}

// NewLayer makes the layer of a connection; it is an [esmtp.Layer].
func (f *File) NewLayer(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return &tableLayer{next, f.current}
}
