package proxy

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// keepOffers is how long what a next hop offers is believed without asking again.
const keepOffers = 10 * time.Minute

// traceRoom is what a message grows by: the Received field.
const traceRoom = 512

// offers is what the next hop can do, as far as it concerns messages.
type offers struct {
	keywords map[string]string // of those in passedOn, with their parameters
	maxSize  int64             // 0: no limit is known
	verified bool              // the connection had TLS with a server that proved its name
	lmtp     bool
	at       time.Time
}

// passedOn are the extensions that are offered only if the next hop does, for all that they ask for is its part.
var passedOn = []string{"8BITMIME", "SMTPUTF8", "BINARYMIME", "DSN", "DELIVERBY", "REQUIRETLS", "RRVS", "MT-PRIORITY", "FUTURERELEASE", "NO-SOLICITING", "PRDR"}

// learn notes what the other end of a new connection offers.
func (p *Proxy) learn(c *smtpclient.Conn) {
	o := &offers{keywords: make(map[string]string), verified: c.Verified(), lmtp: c.LMTP(), at: time.Now()}
	o.maxSize, _ = c.MaxSize()
	for _, keyword := range passedOn {
		if params, ok := c.Extension(keyword); ok {
			o.keywords[keyword] = params
		}
	}
	p.mu.Lock()
	p.known = o
	p.mu.Unlock()
}

// offers returns what the next hop can do; if nobody knows, nothing. One session at a time asks; others wait for it only if there is nothing older.
func (p *Proxy) offers(s *esmtp.Session) *offers {
	p.mu.Lock()
	known, learning := p.known, p.learning
	switch {
	case known != nil && (learning != nil || time.Since(known.at) < keepOffers):
		p.mu.Unlock()
		return known
	case learning == nil:
		p.learning = make(chan struct{})
		p.mu.Unlock()
		p.ask(s.Context(), s)
	default:
		p.mu.Unlock()
		select {
		case <-learning:
		case <-s.Context().Done():
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		return new(offers)
	}
	return p.known
}

// ask connects, and lets connect note what is offered.
func (p *Proxy) ask(ctx context.Context, s *esmtp.Session) {
	defer func() {
		p.mu.Lock()
		close(p.learning)
		p.learning = nil
		p.mu.Unlock()
	}()
	if b, err := p.connect(ctx, s, claim{}); err == nil {
		b.Quit(ctx)
	}
}

// EHLO offers what the next hop can do, and what needs no help from there.
func (l *layer) EHLO(s *esmtp.Session, domain string) esmtp.Reply {
	r := l.Handler.EHLO(s, domain)
	if !r.Accepted() || len(r.Lines) == 0 {
		return r
	}
	o := l.proxy.offers(s)
	lines := slices.Clone(r.Lines[:1])
	for _, line := range r.Lines[1:] {
		if line = o.line(s, line); line != "" {
			lines = append(lines, line)
		}
	}
	r.Lines = append(lines, o.more(s)...)
	return r
}

// ours are the extensions in passedOn that Default offers too: it has the right place for them.
var ours = []string{"8BITMIME", "SMTPUTF8", "BINARYMIME", "DSN"}

// line is what becomes of a line that is offered below; "" if it can't be offered.
func (o *offers) line(s *esmtp.Session, line string) string {
	keyword, _, _ := strings.Cut(line, " ")
	keyword = strings.ToUpper(keyword)
	_, ok := o.keywords[keyword]
	switch {
	case keyword == "SIZE":
		if n := o.sizeLimit(s.MaxSize()); n > 0 {
			return "SIZE " + strconv.FormatInt(n, 10)
		}
	case slices.Contains(passedOn, keyword) && (!ok || !slices.Contains(ours, keyword)):
		return ""
	}
	return line
}

// sizeLimit is the smaller of our own limit and what the next hop takes; 0 is none.
func (o *offers) sizeLimit(own int64) int64 {
	theirs := o.maxSize
	if theirs > 0 {
		theirs = max(theirs-traceRoom, 1)
	}
	if own == 0 || theirs > 0 && theirs < own {
		return theirs
	}
	return own
}

// more are the extensions that Default doesn't offer by itself.
func (o *offers) more(s *esmtp.Session) (lines []string) {
	add := func(keyword string, wanted bool) {
		if params, ok := o.keywords[keyword]; ok && wanted {
			lines = append(lines, strings.TrimSpace(keyword+" "+params))
		}
	}
	add("DELIVERBY", true)
	add("RRVS", true)
	add("REQUIRETLS", o.verified) // RFC 8689 §4.2.1: only over a connection to a host that has proved its name
	add("MT-PRIORITY", len(s.Handler().Mechanisms(s)) > 0)
	if o.lmtp {
		lines = append(lines, "PRDR")
	}
	return lines
}
