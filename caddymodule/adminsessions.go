package caddymodule

import (
	"cmp"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
)

// How many sessions a page has, and how many recipients of each are shown.
const (
	somePerPage   = 100
	mostPerPage   = 1000
	maxRecipients = 50
)

// sessionView is a session in JSON.
type sessionView struct {
	ID        string        `json:"id"`
	Server    string        `json:"server"`
	Route     string        `json:"route"`
	Remote    string        `json:"remote"`
	Peer      string        `json:"peer"`
	Local     string        `json:"local"`
	Started   time.Time     `json:"started"`
	Duration  float64       `json:"duration"` // in seconds
	State     string        `json:"state"`
	HELO      string        `json:"helo"`
	Protocol  string        `json:"protocol"`
	User      string        `json:"user"`
	Mechanism string        `json:"mechanism"`
	TLS       string        `json:"tls"`
	Messages  int           `json:"messages"`
	OctetsIn  int64         `json:"octets_in"`
	OctetsOut int64         `json:"octets_out"`
	Outlived  bool          `json:"outlived"`
	Envelope  *envelopeView `json:"envelope"`
}

// envelopeView is a transaction so far.
type envelopeView struct {
	Transaction string   `json:"transaction"`
	From        string   `json:"from"`
	To          []string `json:"to"` // the first ones
	Recipients  int      `json:"recipients"`
	Octets      int64    `json:"octets"`
}

// sessionsView is a page of sessions.
type sessionsView struct {
	Sessions []sessionView `json:"sessions"`
	Total    int           `json:"total"`          // that the filter lets through, on all pages
	Next     string        `json:"next,omitempty"` // for after, to get the next page
}

// liveSession is a session and the server that it is on.
type liveSession struct {
	esmtp.SessionInfo
	server liveServer
}

// listSessions is GET /esmtp/sessions.
func listSessions(w http.ResponseWriter, _ *http.Request, query url.Values) error {
	limit, err := number(query, "limit", somePerPage, 1, mostPerPage)
	if err != nil {
		return err
	}
	hide, err := yes(query, "redact")
	if err != nil {
		return err
	}
	list, err := findSessions(query)
	if err != nil {
		return err
	}
	after, err := sessionID(query, "after")
	if err != nil {
		return err
	}
	page := sessionsView{Sessions: []sessionView{}, Total: len(list)}
	rest := slices.DeleteFunc(list, func(s liveSession) bool { return s.ID <= after })
	for _, s := range rest[:min(limit, len(rest))] {
		page.Sessions = append(page.Sessions, s.view(hide))
		page.Next = s.ID
	}
	if len(rest) <= limit {
		page.Next = ""
	}
	return writeJSON(w, http.StatusOK, page)
}

// showSession is GET /esmtp/sessions/{id}.
func showSession(id string) func(http.ResponseWriter, *http.Request, url.Values) error {
	return func(w http.ResponseWriter, _ *http.Request, query url.Values) error {
		hide, err := yes(query, "redact")
		if err != nil {
			return err
		}
		s, srv, err := findSession(id)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, liveSession{s.Info(), srv}.view(hide))
	}
}

// findSession finds a live session on any server.
func findSession(id string) (*esmtp.Session, liveServer, error) {
	for _, srv := range liveServers() {
		if s := srv.engine.Session(id); s != nil {
			return s, srv, nil
		}
	}
	return nil, liveServer{}, apiError(http.StatusNotFound, "esmtp: there is no session %q, or no longer", id)
}

// findSessions lists the live sessions that a filter lets through, the oldest first.
func findSessions(query url.Values) ([]liveSession, error) {
	f, err := newFilter(query)
	if err != nil {
		return nil, err
	}
	var list []liveSession
	for _, srv := range liveServers() {
		for _, info := range srv.engine.Sessions() {
			if s := (liveSession{info, srv}); f.match(s) {
				list = append(list, s)
			}
		}
	}
	slices.SortFunc(list, func(a, b liveSession) int { return strings.Compare(a.ID, b.ID) }) // that is by time
	return list, nil
}

func (s liveSession) view(hide bool) sessionView {
	view := sessionView{
		ID: s.ID, Server: s.server.name, Route: s.route(), Remote: s.RemoteAddr.String(), Peer: s.PeerAddr.String(), Local: s.LocalAddr.String(),
		Started: s.Started, Duration: time.Since(s.Started).Seconds(), State: s.State.String(),
		HELO: s.HELO, Protocol: s.Protocol, User: s.User, Mechanism: s.Mechanism,
		Messages: s.Messages, OctetsIn: s.OctetsIn, OctetsOut: s.OctetsOut, Outlived: s.Outlived,
	}
	if s.Secure {
		view.TLS = tls.VersionName(s.TLSVersion)
	}
	if s.Transaction != "" {
		view.Envelope = &envelopeView{s.Transaction, s.From.String(), addresses(s.To), len(s.To), s.Octets}
	}
	if hide {
		view.User = redact(view.User)
		if e := view.Envelope; e != nil {
			e.From, e.To = redact(e.From), redactAll(e.To)
		}
	}
	return view
}

func (s liveSession) route() string { return s.server.routeOf(s.Settings) }

// addresses are the first of some paths.
func addresses(paths []esmtp.Path) []string {
	list := []string{}
	for _, p := range paths[:min(len(paths), maxRecipients)] {
		list = append(list, p.String())
	}
	return list
}

// redact hides whose address it is, and leaves the domain; a name without one is hidden whole.
func redact(address string) string {
	i := strings.LastIndexByte(address, '@')
	switch {
	case address == "":
		return ""
	case i < 0:
		return "***"
	}
	return "***" + address[i:]
}

func redactAll(addresses []string) []string {
	list := make([]string, len(addresses))
	for i, address := range addresses {
		list[i] = redact(address)
	}
	return list
}

// filterParams are the query parameters that choose sessions.
var filterParams = []string{"server", "route", "remote", "user", "state", "helo", "older"}

// filter chooses sessions: all that its parameters say must be so.
type filter struct {
	query  url.Values
	remote netip.Prefix
	older  time.Duration
}

func newFilter(query url.Values) (f filter, err error) {
	f.query = query
	if query.Has("remote") {
		if f.remote, err = parseNetwork(query.Get("remote")); err != nil {
			return f, err
		}
	}
	if query.Has("older") {
		if f.older, err = caddy.ParseDuration(query.Get("older")); err != nil || f.older < 0 {
			return f, apiError(http.StatusBadRequest, "esmtp: older is a duration, such as 30s or 1h, not %q", query.Get("older"))
		}
	}
	states := []string{esmtp.StateOpening.String(), esmtp.StateBusy.String(), esmtp.StateWaiting.String(), esmtp.StateData.String(), esmtp.StateClosed.String()}
	if state := query.Get("state"); query.Has("state") && !slices.Contains(states, state) {
		return f, apiError(http.StatusBadRequest, "esmtp: there is no state %q%s", state, didYouMean(state, states))
	}
	return f, nil
}

// parseNetwork reads an address or a network.
func parseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return prefix, apiError(http.StatusBadRequest, "esmtp: remote is an IP address or a network such as 192.0.2.0/24, not %q", text)
	}
	if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96) // as isIn has addresses
	}
	return prefix, nil
}

// isIn reports whether an address is in a network; the zero Prefix has them all.
func isIn(addr net.Addr, network netip.Prefix) bool {
	if !network.IsValid() {
		return true
	}
	tcp, ok := addr.(*net.TCPAddr)
	return ok && network.Contains(tcp.AddrPort().Addr().Unmap().WithZone(""))
}

// says reports whether a query parameter, if it is given, has a value.
func says(query url.Values, param, value string) bool {
	return !query.Has(param) || query.Get(param) == value
}

// sessionID reads a query parameter that is the ID of a session, "" if there is none.
func sessionID(query url.Values, name string) (string, error) {
	id := query.Get(name)
	if query.Has(name) && !esmtp.IsSessionID(id) {
		return "", apiError(http.StatusBadRequest, "esmtp: %s is the id of a session, not %q", name, id)
	}
	return strings.ToLower(id), nil
}

func (f filter) match(s liveSession) bool {
	return says(f.query, "server", s.server.name) && says(f.query, "route", s.route()) && says(f.query, "user", s.User) &&
		says(f.query, "state", s.State.String()) &&
		(!f.query.Has("helo") || strings.EqualFold(f.query.Get("helo"), s.HELO)) &&
		isIn(s.RemoteAddr, f.remote) && cmp.Compare(time.Since(s.Started), f.older) >= 0
}
