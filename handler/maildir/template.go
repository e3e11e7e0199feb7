package maildir

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The placeholders of a path.
const (
	localHolder  = "{rcpt.local}"
	domainHolder = "{rcpt.domain}"
)

// maxName is the longest name of a file or folder, in octets, on the usual file systems.
const maxName = 255

// template is a path with placeholders, cut where the first part with a placeholder begins.
type template struct {
	root  string   // has no placeholder
	parts []string // below root
}

func parseTemplate(path string) (*template, error) {
	if path == "" || strings.ContainsRune(path, 0) {
		return nil, errors.New("maildir: the path is empty")
	}
	path = filepath.ToSlash(path)
	t := &template{root: path}
	if i := strings.IndexByte(path, '{'); i >= 0 {
		cut := strings.LastIndexByte(path[:i], '/') + 1
		t.root, t.parts = path[:cut], strings.Split(strings.TrimRight(path[cut:], "/"), "/")
	}
	t.root = filepath.Clean(filepath.FromSlash(t.root))
	for _, part := range t.parts {
		bare := strings.NewReplacer(localHolder, "", domainHolder, "").Replace(part)
		switch {
		case strings.ContainsAny(bare, "{}"):
			return nil, fmt.Errorf("maildir: path %q: the placeholders are %s and %s", path, localHolder, domainHolder)
		case part == "" || part == "." || part == "..":
			return nil, fmt.Errorf("maildir: path %q: a part after the first placeholder is empty, \".\" or \"..\"", path)
		}
	}
	return t, nil
}

// expand returns the maildir of an address, relative to the root. Each value is one name, or a piece of one: what would
// make it more than that is an error.
func (t *template) expand(local, domain string) (string, error) {
	if err := checkName(local); err != nil {
		return "", fmt.Errorf("maildir: local part %q: %w", local, err)
	}
	if err := checkName(domain); err != nil {
		return "", fmt.Errorf("maildir: domain %q: %w", domain, err)
	}
	values := strings.NewReplacer(localHolder, strings.ToLower(local), domainHolder, strings.ToLower(domain))
	parts := make([]string, len(t.parts))
	for i, part := range t.parts {
		parts[i] = values.Replace(part)
		if len(parts[i]) > maxName {
			return "", fmt.Errorf("maildir: %w", errLong)
		}
	}
	dir := filepath.Join(append([]string{"."}, parts...)...)
	if !filepath.IsLocal(dir) { // what is special in names depends on the system
		return "", fmt.Errorf("maildir: %w", errSpecial)
	}
	return dir, nil
}

var (
	errEmpty   = errors.New("empty")
	errLong    = errors.New("too long")
	errDot     = errors.New("begins with a dot")
	errSpecial = errors.New("has a character that a file name can't have")
)

// checkName reports why a string that a client sent can't be the name of a folder. A leading dot makes hidden folders, and those of a
// Maildir++ reader; "." and ".." begin with one too.
func checkName(s string) error {
	switch {
	case s == "":
		return errEmpty
	case len(s) > maxName:
		return errLong
	case s[0] == '.':
		return errDot
	case strings.ContainsAny(s, `/\`), strings.ContainsFunc(s, unicode.IsControl), !utf8.ValidString(s):
		return errSpecial
	}
	return nil
}
