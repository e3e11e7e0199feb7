package spool

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// Item is one envelope on its way to one destination. Items of one message share its body.
//
// Who commits an item fills in the envelope; the spool sets what is said to be set by it. All texts are UTF-8 without control characters:
// [Draft.Commit] refuses an item with others ([ErrItem]).
type Item struct {
	ID      ID     `json:"id,omitzero"`      // set by the spool
	Message ID     `json:"message,omitzero"` // set by the spool: the same for all items of one body, and the ID of the first
	Parent  ID     `json:"parent,omitzero"`  // of a bounce or a report: the item that it is about; of a message released in place of another: that one
	State   State  `json:"state,omitzero"`   // at creation Queued, Frozen (held) or Quarantined
	Reason  string `json:"reason,omitempty"` // why it is frozen, quarantined or damaged; never for the client

	Sender     Path        `json:"sender"`
	Recipients []Recipient `json:"recipients"` // at least one
	Needs      Needs       `json:"needs,omitzero"`

	// WaivesTLS says that the header has TLS-Required: No (RFC 8689 §3): what the receiving domain asks for by DANE or MTA-STS is no reason not to deliver.
	WaivesTLS bool `json:"waives_tls,omitempty"`

	// Route is the key of the destination, by which the spool is fair and limits leases: a domain of recipients, or the first next hop.
	Route string `json:"route,omitempty"`
	// NextHops are tried in this order; none: the mail exchangers of the recipients' domain.
	NextHops []string `json:"next_hops,omitempty"`
	// Retry is what is left of the item's own schedule: how long to wait after each failed attempt to come. Who settles takes from it.
	Retry []time.Duration `json:"retry,omitempty"`
	// Priority goes first, -9 to 9 (RFC 6710); 0 is the usual.
	Priority int `json:"priority,omitempty"`

	// Due is when the next attempt may be made; at creation zero is now. Of what is removed or quarantined: until when it is kept.
	Due time.Time `json:"due,omitzero"`
	// NotBefore is when its sender wants it released (RFC 4865): it is not due before, whatever is done with it, unless somebody sends it now. Zero: any time.
	NotBefore time.Time `json:"not_before,omitzero"`
	Since     time.Time `json:"since,omitzero"` // set by the spool: see Entered

	Expires  time.Time `json:"expires,omitzero"`  // when to give up; zero, or over when it comes back into the queue: as the relay is set
	Attempts int       `json:"attempts,omitzero"` // made so far
	Tried    time.Time `json:"tried,omitzero"`    // the last attempt
	Warned   time.Time `json:"warned,omitzero"`   // when the sender was told about the delay (RFC 3461 §4.1)
	// LastError is the last reply or failure, for people; control characters in it become spaces.
	LastError string `json:"last_error,omitempty"`

	Origin Origin `json:"origin,omitzero"`

	Size     int64  `json:"size"`             // of the body in octets, set by the spool
	Checksum uint32 `json:"crc32c,omitempty"` // of the body, set by the spool
	Chunks   int    `json:"chunks,omitempty"` // rows of the body in the database, set by the spool; 0: it is a file

	Items int `json:"items,omitempty"` // how many the message had when it was committed, set by the spool

	lease int64 // the fence of a leased item: it is settled by who leased it, or not at all
}

// Created is when the item was committed.
func (it *Item) Created() time.Time { return it.ID.Time() }

// Entered is when the time of the item in the queue began, from which delays count: when it was committed, but not before it is to be released, and anew when
// it comes back into the queue after somebody kept it out.
func (it *Item) Entered() time.Time {
	if it.Since.IsZero() {
		return it.Created()
	}
	return it.Since
}

// enter puts an item into the queue at a time, or at its release if that is later.
func (it *Item) enter(at time.Time) {
	if at.Before(it.NotBefore) {
		at = it.NotBefore
	}
	it.State, it.Due, it.Since = Queued, at, at
}

// Path is an address and its ESMTP parameters, as [esmtp.Path] has them: Address is [esmtp.Path.String], Params is [esmtp.Path.Params]
// (where the deadlines of DELIVERBY, NOTIFY, ENVID and so on are). The zero Path is the null reverse-path.
type Path struct {
	Address string `json:"address"`
	Params  string `json:"params,omitempty"`
}

// PathOf is the Path to be kept of p.
func PathOf(p esmtp.Path) Path { return Path{Address: p.String(), Params: p.Params()} }

// Path parses it again. Its error is [esmtp.ErrPath].
func (p Path) Path() (esmtp.Path, error) { return esmtp.NewPath(p.Address, p.Params) }

// Recipient is a forward-path and what has become of it.
type Recipient struct {
	Path
	State RecipientState `json:"state,omitzero"`
	Reply string         `json:"reply,omitempty"` // the last about this recipient; control characters become spaces
	Tried time.Time      `json:"tried,omitzero"`  // when that was
}

// RecipientState says what has become of a recipient.
type RecipientState uint8

// The states of a recipient.
const (
	Remaining  RecipientState = iota // still to be tried
	Accepted                         // the next hop has taken it
	Failed                           // for good: refused, or given up
	FailedTold                       // failed, and the sender was told, or need not be
)

// Needs is what the next hop must be able to do for this message.
type Needs uint8

// The needs, a set of bits.
const (
	Needs8Bit       Needs = 1 << iota // 8BITMIME (RFC 6152)
	NeedsBinary                       // BINARYMIME (RFC 3030)
	NeedsUTF8                         // SMTPUTF8 (RFC 6531)
	NeedsRequireTLS                   // REQUIRETLS (RFC 8689)
)

// Origin is where a message came from: for XFORWARD, for logs and for people.
type Origin struct {
	Session     string `json:"session,omitempty"`     // ID of the session
	Transaction string `json:"transaction,omitempty"` // ID of the transaction
	Client      string `json:"client,omitempty"`      // IP address
	Port        int    `json:"port,omitempty"`        // of the client
	Name        string `json:"name,omitempty"`        // of the client in the DNS
	Helo        string `json:"helo,omitempty"`        // as the client called itself
	User        string `json:"user,omitempty"`        // logged in
	Protocol    string `json:"protocol,omitempty"`    // ESMTPS and so on (RFC 3848)
}

// State says where in its life an item is.
type State uint8

// The states of an item, and the moves between them:
//
//	Queued       waits for Due, in the past or to come   Lease → Sending, Freeze
//	Sending      somebody has it on lease                Settle → Queued, Frozen or Delivered; or the lease ends → Queued
//	Frozen       waits for somebody                      Thaw, SendNow → Queued; Remove
//	Quarantined  kept for inspection                     Release → Queued; ReleaseAs, Remove → Removed
//	Removed      kept for a while                        Recover → Frozen
//	Damaged      set aside                               Thaw → Queued (if it can be read again); Remove
//	Delivered    done, and no longer there
const (
	Queued State = iota
	Sending
	Frozen
	Quarantined
	Removed
	Damaged
	Delivered
)

var stateNames = [...]string{"queued", "sending", "frozen", "quarantined", "removed", "damaged", "delivered"}

var recipientStateNames = [...]string{"remaining", "accepted", "failed", "failed_told"}

// String is the state in one word, such as "queued".
func (s State) String() string { return name(stateNames[:], s) }

// MarshalText and UnmarshalText use the word.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is the reverse of [State.MarshalText].
func (s *State) UnmarshalText(b []byte) error { return fromName(stateNames[:], s, string(b)) }

// String is the state in one word, such as "remaining".
func (s RecipientState) String() string { return name(recipientStateNames[:], s) }

// MarshalText and UnmarshalText use the word.
func (s RecipientState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is the reverse of [RecipientState.MarshalText].
func (s *RecipientState) UnmarshalText(b []byte) error {
	return fromName(recipientStateNames[:], s, string(b))
}

func name[T ~uint8](names []string, v T) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}

func fromName[T ~uint8](names []string, v *T, s string) error {
	i := slices.Index(names, s)
	if i < 0 {
		return fmt.Errorf("spool: %q is none of %s", s, strings.Join(names, ", "))
	}
	*v = T(i)
	return nil
}
