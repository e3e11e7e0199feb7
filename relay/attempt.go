package relay

import (
	"context"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/relay/tlspolicy"
	"github.com/caddy-esmtp/esmtp/spool"
)

// maxTries is how many connections are tried in one attempt: with a hundred dead hosts it would take all day.
const maxTries = 10

// attempt is one try to deliver an item.
type attempt struct {
	r       *Relay
	item    *spool.Item
	from    esmtp.Path
	rcpts   []recipient // those that remain; while they are tried, those of one group
	begun   time.Time
	by      time.Time // when the time of DELIVERBY is over, zero: never
	tries   int
	lacking error // what the last host lacked, as long as all lacked something
	reached bool  // a host lacked nothing
	damaged bool  // the body is: the item is no longer ours
	broken  error // the envelope is: somebody has to look at it
	fix     bool  // it has a bare CR or LF, of which CRLF is to be made
	silent  bool  // the last server took too long to reply
	direct  bool  // the way is that of the recipients' domain, and not one that the operator has chosen
	told    []int // recipients whose failure the report of this attempt tells of
	last    Attempt

	notBefore time.Time // the next attempt, if the next hop has asked for that
	cutOff    func()    // ends it, as if it had never begun
}

// recipient is a recipient that remains, and what becomes of it.
type recipient struct {
	index int // in the item
	to    esmtp.Path
	fate  fate
	reply esmtp.Reply
	host  string // that gave the reply; "": it is ours
	err   error
	dsn   bool // the next hop will report on it
}

// fate is what has become of a recipient in this attempt.
type fate uint8

const (
	undecided fate = iota
	accepted
	failed
	later
	done // somebody else has taken care of it
)

// attempt tries to deliver an item, and returns what became of it.
func (r *Relay) attempt(ctx context.Context, item *spool.Item) *attempt {
	a := &attempt{r: r, item: item, begun: time.Now(), last: Attempt{Item: item}}
	if a.broken = a.read(); a.broken != nil || a.decided() || a.tooLate() {
		return a
	}
	ctx, a.cutOff = context.WithCancel(ctx)
	defer a.cutOff()
	all := a.rcpts
	for _, group := range a.groups() {
		a.rcpts = group
		a.deliver(ctx)
	}
	a.rcpts = all
	return a
}

// groups are the recipients that have the same way. An item has one domain, or next hops for all, unless somebody has edited it.
func (a *attempt) groups() (list [][]recipient) {
	if len(a.item.NextHops) > 0 {
		return [][]recipient{a.rcpts}
	}
	slices.SortStableFunc(a.rcpts, func(x, y recipient) int { return strings.Compare(x.to.Domain(), y.to.Domain()) })
	for rest := a.rcpts; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].to.Domain() == rest[0].to.Domain() {
			n++
		}
		list, rest = append(list, rest[:n:n]), rest[n:]
	}
	return list
}

// deliver tries the hops of a group, until all of it is decided or there are no more.
func (a *attempt) deliver(ctx context.Context) {
	if a.decided() {
		return
	}
	a.tries, a.lacking, a.reached, a.direct = 0, nil, false, false
	a.walk(ctx)
	if ctx.Err() == nil {
		a.giveUp()
	}
}

// walk tries the hops, until all is decided.
func (a *attempt) walk(ctx context.Context) {
	if hops := a.item.NextHops; len(hops) > 0 && !slices.ContainsFunc(hops, func(hop string) bool { return !isURL(hop) }) {
		a.post(ctx)
		return
	}
	hops, level, err := a.hops()
	if err != nil {
		a.refuse(err)
		return
	}
	for i := 0; i < len(hops) && !a.decided() && ctx.Err() == nil; i++ {
		before := a.fix
		if a.try(ctx, hops[i], level); a.fix != before {
			i-- // once more, in another form
		}
	}
}

// read takes the envelope from the item.
func (a *attempt) read() (err error) {
	if a.from, err = a.item.Sender.Path(); err != nil {
		return err
	}
	for i, rcpt := range a.item.Recipients {
		if rcpt.State != spool.Remaining && rcpt.State != spool.Failed {
			continue
		}
		to, err := rcpt.Path.Path()
		if err != nil {
			return err
		}
		r := recipient{index: i, to: to}
		if rcpt.State == spool.Failed { // before it came to us, and nobody was told
			r.fate, r.reply = failed, parseReply(rcpt.Reply)
		}
		a.rcpts = append(a.rcpts, r)
	}
	if by, ok := a.from.DeliverBy(); ok {
		a.by = a.item.Created().Add(by.Within)
	}
	return nil
}

// tooLate reports whether the time for delivery is over (RFC 2852 §4.1.5).
func (a *attempt) tooLate() bool {
	by, ok := a.from.DeliverBy()
	if !ok || !by.Return || a.begun.Before(a.by) {
		return false
	}
	a.decide(failed, esmtp.Deny(554, 5, 4, 7, "delivery time expired"), "", nil)
	return true
}

// hops returns the hops to try, in this order, and the least protection: the item's own, those of its domain, the smarthost, the mail exchangers.
func (a *attempt) hops() ([]route.Hop, tlspolicy.Level, error) {
	if len(a.item.NextHops) > 0 {
		var hops []route.Hop
		for _, text := range a.item.NextHops {
			hop, err := route.ParseHop(text)
			if err != nil {
				return nil, 0, err // it will be there when the configuration is put right
			}
			hops = append(hops, hop)
		}
		return hops, a.r.Level, nil
	}
	domain := a.rcpts[0].to.Domain()
	rule, ok := a.r.Table.Find(domain)
	if !ok {
		rule = route.Rule{Hops: a.r.NextHops, TLS: a.r.Level}
	}
	if len(rule.Hops) > 0 {
		return rule.Hops, rule.TLS, nil
	}
	hop, err := a.directly(domain)
	return []route.Hop{hop}, rule.TLS, err
}

func (a *attempt) directly(domain string) (route.Hop, error) {
	a.direct = true
	return route.Direct(domain)
}

// try tries one hop: a connection that is there, then its hosts in their order. After it some recipients may be undecided: the next hop is
// for them.
func (a *attempt) try(ctx context.Context, hop route.Hop, level tlspolicy.Level) {
	level = a.r.least(hop, level)
	key := poolKey{hop, level, a.requireTLS(), a.waivesTLS()}
	a.last.Hop = hop.String()
	if hop.User != "" && a.r.login(hop) == nil {
		a.reached = true
		a.note(replyNoLogin, "", nil)
		return
	}
	if !a.enter(ctx, hop) {
		return
	}
	defer a.r.slots.leave(hop)
	begun := time.Now()
	over := a.reuse(ctx, key)
	answered := !a.silent
	if !over {
		if !a.r.dead.mayTry(hop, begun) {
			a.reached = true
			a.note(replyDead, "", nil)
			return
		}
		hosts, err := a.hosts(ctx, hop)
		if err != nil {
			a.refuse(err)
			return
		}
		begun = time.Now()
		answered = a.tryHosts(ctx, key, hosts)
	}
	if ctx.Err() == nil {
		answered = answered || a.r.slots.heardSince(hop, begun)
		a.r.dead.found(hop, answered, time.Since(begun), time.Now())
	}
}

// reuse sends over connections that are there. It reports whether that was all for this hop: all is decided, or it is silent.
func (a *attempt) reuse(ctx context.Context, key poolKey) (over bool) {
	a.silent = false
	for conn := a.r.pool.take(key); conn != nil; conn = a.r.pool.take(key) {
		a.last.Reused = true
		kept := a.send(ctx, key, conn)
		if a.decided() || ctx.Err() != nil || a.silent {
			return true
		}
		if kept { // its server lacks something, and it would be the next to be taken
			break
		}
	}
	a.last.Reused = false
	return false
}

// hosts finds the hosts of a hop.
func (a *attempt) hosts(ctx context.Context, hop route.Hop) (hosts []route.Host, err error) {
	a.r.patiently(func() { hosts, err = a.r.Router.Hosts(ctx, hop) })
	return hosts, err
}

// tryHosts tries the hosts of a hop. It reports whether one had an answer: there was a connection, and no reply to a message was waited for in vain.
func (a *attempt) tryHosts(ctx context.Context, key poolKey, hosts []route.Host) (answered bool) {
	for _, host := range hosts {
		for _, addr := range addresses(host) {
			here, err := a.tryAddr(ctx, key, host, addr)
			answered = answered || here
			if a.decided() || ctx.Err() != nil || a.tries >= maxTries {
				return answered
			}
			if isPolicy(err) {
				break // it is the host's, not the address's
			}
		}
	}
	return answered
}

// tryAddr tries an address, again as long as each connection brings something. It reports whether that had an
// answer; the error is one of connecting.
func (a *attempt) tryAddr(ctx context.Context, key poolKey, host route.Host, addr netip.AddrPort) (answered bool, err error) {
	for before := math.MaxInt; a.remaining() < before && !a.decided() && ctx.Err() == nil && a.tries < maxTries; {
		before = a.remaining()
		a.tries++
		conn, err := a.connect(ctx, key.hop, host, addr, key.level)
		if err != nil {
			a.missed(host.Host, err)
			return answered, err
		}
		a.send(ctx, key, conn)
		answered = answered || !a.silent
	}
	return answered, nil
}
