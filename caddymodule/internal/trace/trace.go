// Package trace finds the stories of messages in Caddy's log: how each came, what the attempts to deliver it came to, and how its session ended.
//
// The one idea: a line names what it is about, and the transaction is what they have in common. It begins with the session's ID, and the items of a queue
// remember it. So a log is read three times: for the transactions that somebody asks for, for the items that these became, and for the lines of all that.
package trace

import (
	"bytes"
	"strings"
)

// Lines calls yield with each line of a log, from the first one on. A line is valid during the call only.
type Lines func(yield func(line []byte)) error

// Story is what a log says of a session, or of those of its messages that were asked for.
type Story struct {
	Session string // its ID; of an item that came in none, the item's
	Lines   [][]byte
}

// Result is what was found.
type Result struct {
	Stories []Story // in the order in which they begin
	Entries int     // how many lines of the log could be read: those that are JSON objects
}

// Find looks for all that a log says of what somebody asks for: the ID of a session, a transaction, an item or a message, here or in the queue of the
// server that sent it; an address that a message is from or to, or a domain as @example.org; a user; the IP address of a client; a word of a reply. Its
// errors are those of lines.
func Find(lines Lines, what string) (Result, error) {
	if inner, ok := strings.CutPrefix(what, "<"); ok {
		what = strings.TrimSuffix(inner, ">")
	}
	if what == "" {
		return Result{}, nil
	}
	s := &search{what: what, transactions: map[string]bool{}, whole: map[string]bool{}, sessions: map[string]bool{}, items: map[string]string{}, stories: map[string]int{}}
	for _, pass := range []func([]byte, subject){s.choose, s.follow, s.collect} {
		s.found.Entries = 0
		err := lines(func(line []byte) {
			if about, ok := read(line); ok {
				s.found.Entries++
				pass(line, about)
			}
		})
		if err != nil {
			return Result{}, err
		}
	}
	return s.found, nil
}

// search is one on its way.
type search struct {
	what         string
	transactions map[string]bool   // that are wanted
	whole        map[string]bool   // sessions with all of their transactions
	sessions     map[string]bool   // those, and the sessions of wanted transactions
	items        map[string]string // that are wanted, and their sessions
	stories      map[string]int    // where they are, by session
	found        Result
}

// choose finds the transactions, or sessions, that are asked for.
func (s *search) choose(_ []byte, about subject) {
	id := about.session()
	switch {
	case id != "" && (about.hasClient(s.what) || about.Transaction == "" && about.has(s.what)):
		s.whole[id], s.sessions[id] = true, true
	case about.Transaction != "" && about.has(s.what):
		s.transactions[about.Transaction], s.sessions[id] = true, true
	case about.Item != "" && about.has(s.what):
		s.items[about.Item] = about.Item
	}
}

// follow finds the items that the transactions became.
func (s *search) follow(_ []byte, about subject) {
	if about.Item != "" && s.wants(about) {
		s.items[about.Item] = about.session()
	}
}

// wants reports whether a line is about a transaction that is wanted.
func (s *search) wants(about subject) bool {
	return s.transactions[about.Transaction] || about.Transaction != "" && s.whole[about.session()]
}

// collect keeps the lines that tell of what is wanted.
func (s *search) collect(line []byte, about subject) {
	id, wanted := about.session(), false
	switch {
	case about.Transaction != "":
		wanted = s.wants(about)
	case about.Item != "":
		id, wanted = s.items[about.Item]
	default:
		wanted = s.sessions[id]
	}
	if !wanted {
		return
	}
	i, ok := s.stories[id]
	if !ok {
		i = len(s.found.Stories)
		s.stories[id] = i
		s.found.Stories = append(s.found.Stories, Story{Session: id})
	}
	s.found.Stories[i].Lines = append(s.found.Stories[i].Lines, bytes.Clone(bytes.TrimSpace(line)))
}
