package mtasts

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/caddy-esmtp/esmtp/relay/internal/ttlmap"
)

// Entry is a policy that was fetched.
type Entry struct {
	Policy  Policy
	ID      string    // of the DNS record that it was fetched for
	Expires time.Time // when it is no longer believed
}

// Cache keeps policies, in memory or, better, where they outlive a restart. Any goroutine may call it. A domain is in lower case with
// A-labels, safe as the name of a file.
type Cache interface {
	// Get returns what is kept for a domain, expired or not.
	Get(ctx context.Context, domain string) (Entry, bool)

	// Put keeps an entry, in place of an older one.
	Put(ctx context.Context, domain string, e Entry) error
}

// memory is a Cache for as long as the process runs.
type memory struct{ m *ttlmap.Map[string, Entry] }

// NewMemory makes a Cache in memory, for that many domains.
func NewMemory(size int) Cache { return memory{ttlmap.New[string, Entry](size)} }

func (c memory) Get(_ context.Context, domain string) (Entry, bool) { return c.m.Get(domain) }

func (c memory) Put(_ context.Context, domain string, e Entry) error {
	c.m.Put(domain, e, e.Expires)
	return nil
}

// Dir is a Cache in a directory, which must exist: a file of JSON for each domain.
type Dir string

// Get implements [Cache]. A file that can't be read is none.
func (d Dir) Get(_ context.Context, domain string) (e Entry, ok bool) {
	b, err := os.ReadFile(d.file(domain))
	if err != nil || json.Unmarshal(b, &e) != nil || e.Policy.Mode > ModeEnforce {
		return Entry{}, false
	}
	return e, true
}

// Put implements [Cache]. A reader sees the old file or the new one.
func (d Dir) Put(_ context.Context, domain string, e Entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(string(d), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), d.file(domain))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func (d Dir) file(domain string) string { return filepath.Join(string(d), domain+".json") }
