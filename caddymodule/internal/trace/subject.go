package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
)

// subject is what a line is about, as far as it says.
type subject struct {
	Session     string
	Transaction string
	Item        string
	Message     string
	From        string
	To          texts
	User        string
	Remote      string
	Reply       string
	Forwarded   struct{ Ident string } // the ID that another server's queue gave it (XFORWARD)
}

// texts is a list of texts, which a line with one of them can have without brackets.
type texts []string

func (t *texts) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(t))
	}
	var one string
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*t = texts{one}
	return nil
}

// read reads a line. It reports whether that is an object, as Caddy writes it: a field of somebody else's that has one of our names but another type is
// no reason to leave it out.
func read(line []byte) (s subject, ok bool) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '{' {
		return s, false
	}
	err := json.Unmarshal(line, &s)
	return s, err == nil || errors.As(err, new(*json.UnmarshalTypeError))
}

// session is the ID of the session, which that of a transaction begins with.
func (s *subject) session() string {
	if i := strings.LastIndexByte(s.Transaction, '.'); i >= 0 {
		return s.Transaction[:i]
	}
	return s.Session
}

// has reports whether the line names what somebody looks for.
func (s *subject) has(what string) bool {
	names := slices.Concat([]string{s.Transaction, s.Item, s.Message, s.From, s.Forwarded.Ident}, s.To, strings.Fields(s.Reply))
	if slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, what) }) {
		return true
	}
	return strings.HasPrefix(what, "@") && slices.ContainsFunc(slices.Concat(s.To, texts{s.From}), func(address string) bool {
		i := strings.LastIndexByte(address, '@')
		return i >= 0 && strings.EqualFold(address[i:], what)
	})
}

// hasClient reports whether the line is about a session that somebody looks for by its ID, its user or its client.
func (s *subject) hasClient(what string) bool {
	client, err := netip.ParseAddrPort(s.Remote)
	return what == s.session() || what == s.User || err == nil && client.Addr().String() == what
}
