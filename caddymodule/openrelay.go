package caddymodule

import (
	"net/netip"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp/handler/proxy"
	"github.com/caddy-esmtp/esmtp/relay/route"
)

// access is which strangers, who can be anywhere on the Internet, a module lets past.
type access uint8

const (
	letsNone access = iota
	letsSome
	letsAll
)

// strangers is what a module does about strangers. One that doesn't say may well look who it is, and for whom.
func strangers(mod any) access {
	if m, ok := mod.(interface{ strangers() access }); ok {
		return m.strangers()
	}
	return letsNone
}

// These look at no client and at no recipient, or only in what they refuse.
func (*Log) strangers() access     { return letsAll }
func (*Senders) strangers() access { return letsAll }
func (*Respond) strangers() access { return letsAll }

func (*MatchLocalPort) strangers() access { return letsSome }
func (*MatchSNI) strangers() access       { return letsSome }
func (m *MatchNot) strangers() access     { return letsAll - m.sets.strangers() }

func (m *MatchTLS) strangers() access {
	if m.ClientCertificate {
		return letsNone
	}
	return letsSome
}

func (m *MatchRemoteIP) strangers() access {
	if slices.ContainsFunc(m.list, func(r ipRange) bool { return r.Bits() == 0 }) {
		return letsSome
	}
	return letsNone
}

func (m *MatchLocalIP) strangers() access {
	if slices.ContainsFunc(m.list, func(r ipRange) bool { return !isPrivate(r.Addr()) }) {
		return letsSome
	}
	return letsNone
}

func (sets matcherSets) strangers() access {
	if len(sets) == 0 {
		return letsAll
	}
	best := letsNone
	for _, set := range sets {
		worst := letsAll
		for _, m := range set {
			worst = min(worst, strangers(m))
		}
		best = max(best, worst)
	}
	return best
}

// isPrivate reports whether an address is of no use to strangers (RFC 1918, RFC 4193).
func isPrivate(ip netip.Addr) bool {
	return ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast()
}

// isPublic reports whether strangers can connect. A server without an address shares the port of a web server.
func (srv *Server) isPublic() bool {
	return len(srv.addresses) == 0 || slices.ContainsFunc(srv.addresses, func(a address) bool {
		ip, err := netip.ParseAddr(a.Host)
		return !a.isLocal() && (err != nil || !isPrivate(ip))
	})
}

// notice looks for the first handler by which mail goes on to wherever it is for, and whether one above that may keep strangers from it.
func (st *stack) notice(mod caddy.Module) {
	switch r, ok := mod.(interface{ relays() bool }); {
	case st.relays != "":
	case ok && r.relays():
		st.relays = mod.CaddyModule().ID.Name()
	case strangers(mod) == letsNone:
		st.guarded = true
	}
}

// relays reports whether mail goes on to wherever it is for. What is held goes nowhere.
func (h *QueueMail) relays() bool {
	hops := h.NextHops
	if len(hops) == 0 {
		hops = h.queue.otherHops()
	}
	list, _ := parseHops(hops)
	return h.Hold == "" && (len(list) == 0 || anyRelays(list))
}

// otherHops are those of mail that has no route of its own.
func (q *Queue) otherHops() []string {
	for _, r := range q.Routes {
		if r.Domain == "*" && len(r.NextHops) > 0 {
			return r.NextHops
		}
	}
	return q.NextHops
}

// relays reports whether mail goes on to wherever it is for: the next hop takes it for ours, unless it is told whose it is.
func (r *Relay) relays() bool {
	told := r.proxy.Forward == proxy.ForwardXCLIENT || r.proxy.Forward == proxy.ForwardPROXY
	return !told && anyRelays(r.proxy.Hops)
}

// anyRelays reports whether one of the hops may hand on what isn't its own. Those that speak LMTP deliver (RFC 2033 §1).
func anyRelays(hops []route.Hop) bool {
	return slices.ContainsFunc(hops, func(hop route.Hop) bool { return hop.Protocol != route.LMTP })
}

// warnOpenRelay tells of sessions in which strangers can send mail to strangers: spammers look for such servers all day.
func (srv *Server) warnOpenRelay(log loggers) {
	if !srv.isPublic() {
		return
	}
	for i, r := range srv.Routes {
		which := r.matchers.strangers()
		if which != letsNone {
			r.server.warnIfOpen(log.with("route", r.label(i)))
		}
		if which == letsAll { // what is below sees none of them
			return
		}
	}
	srv.warnIfOpen(log)
}

func (srv *Server) warnIfOpen(log loggers) {
	if srv.stack.relays == "" || srv.stack.guarded || srv.Auth != nil && srv.Auth.Required || srv.wantsCertificates() {
		return
	}
	log.own.Warn("open relay: anybody can send mail to anybody. Write recipients above this handler if it is for mail to your domains, required "+
		"in auth if it is for your users, or put it into a handle with remote_ip if it is for your networks", "handler", srv.stack.relays)
}

// wantsCertificates reports whether clients must show certificates that somebody vouches for.
func (srv *Server) wantsCertificates() bool {
	t := srv.tls
	clear := len(srv.addresses) == 0 || slices.ContainsFunc(srv.addresses, func(a address) bool { return !a.tls })
	if t == nil || len(t.ConnectionPolicies) == 0 || clear && !t.Required {
		return false
	}
	for _, policy := range t.ConnectionPolicies {
		auth := policy.ClientAuthentication
		if auth == nil || !auth.Active() || auth.Mode != "" && auth.Mode != "require_and_verify" {
			return false
		}
	}
	return true
}
