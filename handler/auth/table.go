package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unicode"

	"github.com/caddy-esmtp/esmtp"
)

// Table is users and their secrets. Any number of sessions may use it at the same time, once all users are in it.
type Table struct {
	// Certificates lets a user log in by EXTERNAL, with a client certificate that TLS has verified: his name is its first e-mail address,
	// else its first DNS name, else its common name.
	Certificates bool

	hashes   []Hash
	accounts map[string]*account
	names    []string
}

// NewTable makes a table without users. hashes are the kinds of password hashes that it takes; SCRAM keys and {PLAIN} it takes always.
func NewTable(hashes ...Hash) *Table {
	return &Table{hashes: hashes, accounts: make(map[string]*account)}
}

// Add adds a user. A secret is
//
//	$2a$14$…                            a hash of one of the kinds of the table
//	{SCRAM-SHA-256}4096,salt,key,key    SCRAM keys, as SCRAM and Dovecot's doveadm pw make them; also {SCRAM-SHA-1}
//	{PLAIN}password                     the password itself
//
// Names are compared octet for octet. A name has no colon, no space and no control character. An error doesn't repeat the secret.
func (t *Table) Add(name, secret string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if t.accounts[name] != nil {
		return fmt.Errorf("auth: user %q is given twice", name)
	}
	a, err := parseSecret(secret, t.hashes)
	if err != nil {
		return fmt.Errorf("auth: user %q: %w", name, err)
	}
	t.accounts[name] = a
	t.names = append(t.names, name)
	return nil
}

// CheckName tells why a text can't be the name of a user.
func CheckName(name string) error {
	if name == "" || name[0] == '#' || strings.ContainsFunc(name, func(c rune) bool { return c == ':' || !unicode.IsPrint(c) || unicode.IsSpace(c) }) {
		return fmt.Errorf("auth: %q can't be the name of a user: it has a colon, a space, or a control character, begins with #, or is empty", name)
	}
	return nil
}

// NewLayer makes the layer of a connection; it is an [esmtp.Layer].
func (t *Table) NewLayer(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return &tableLayer{next, func(*esmtp.Session) *Table { return t }}
}

// tableLayer logs users of a table in.
type tableLayer struct {
	esmtp.Handler
	table func(*esmtp.Session) *Table // the one that counts now
}

// mechanisms are all that a table can, those that show least of the password first.
var mechanisms = []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"}

// Mechanisms has those that all users can log in by: a client takes the best one, and can't know who of them can't.
func (l *tableLayer) Mechanisms(s *esmtp.Session) (list []string) {
	t := l.table(s)
	if t.Certificates {
		list = append(list, "EXTERNAL")
	}
	for _, m := range mechanisms {
		if t.all(strings.TrimSuffix(m, "-PLUS")) {
			list = append(list, m)
		}
	}
	return list
}

func (t *Table) all(mechanism string) bool {
	for _, a := range t.accounts {
		if !a.can(mechanism) {
			return false
		}
	}
	return len(t.accounts) > 0 || mechanism == "PLAIN"
}

// Authenticate checks a password.
func (l *tableLayer) Authenticate(s *esmtp.Session, c esmtp.Credentials) esmtp.Reply {
	t := l.table(s)
	ok, err := t.check(s, c)
	switch {
	case err != nil:
		s.Logger().Error("password could not be checked", "login", c.User, "error", err)
		return replyTemporary
	case !ok || c.Identity != "" && c.Identity != c.User:
		return replyOut
	}
	return replyIn
}

// slots bounds how many passwords are hashed at a time: it is meant to take long, and much memory.
var slots = make(chan struct{}, runtime.GOMAXPROCS(0))

var errLeft = errors.New("auth: the client is gone")

func (t *Table) check(s *esmtp.Session, c esmtp.Credentials) (ok bool, err error) {
	a, known := t.accounts[c.User]
	if c.Verified {
		return known, nil
	}
	if !known {
		a = t.decoy(c.User)
	}
	if a == nil {
		return false, nil
	}
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-s.Context().Done():
		return false, errLeft
	}
	right, err := a.verify(c.Password)
	return right && known, err
}

// seed makes decoys the same for as long as we run.
var seed = []byte(rand.Text())

// digest is different for every name, and nobody else can tell what it is.
func digest(use, name string) []byte {
	mac := hmac.New(sha256.New, seed)
	mac.Write([]byte(use + "\x00" + name))
	return mac.Sum(nil)
}

// decoy is an account whose password is checked in place of that of a user who doesn't exist, so that it takes as long: any one, but always
// the same for a name. It is nil if there are no users, and so nothing to tell.
func (t *Table) decoy(name string) *account {
	if len(t.names) == 0 {
		return nil
	}
	i := binary.BigEndian.Uint64(digest("decoy", name)) % uint64(len(t.names))
	return t.accounts[t.names[i]]
}

// Secret returns what a mechanism needs. For a user who doesn't exist it makes keys up that look like those of one who does.
func (l *tableLayer) Secret(s *esmtp.Session, mechanism, user string) (esmtp.Secret, bool) {
	t := l.table(s)
	a, known := t.accounts[user]
	if !known {
		a = t.decoy(user)
	}
	switch {
	case a == nil || !a.can(mechanism):
		return esmtp.Secret{}, false
	case a.password != "":
		return esmtp.Secret{Password: a.password}, known
	case known:
		return esmtp.Secret{SCRAM: a.keys}, true
	}
	keys := a.keys
	keys.Salt = stretch("salt", user, len(keys.Salt))
	keys.StoredKey = stretch("stored", user, len(keys.StoredKey))
	keys.ServerKey = stretch("server", user, len(keys.ServerKey))
	return esmtp.Secret{SCRAM: keys}, true
}

// stretch makes n octets of a name.
func stretch(use, name string, n int) (octets []byte) {
	for len(octets) < n {
		octets = append(octets, digest(use+string(rune('0'+len(octets)/sha256.Size)), name)...)
	}
	return octets[:n]
}
