package relay

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// What the next hop said is sorted as follows. Accepted is accepted. 5xx to a recipient, or to the message, is for good: other hops
// are not asked. 4xx is tried again at another time, from the first hop on. If the connection broke, or the server makes no sense, the next host is
// tried at once, for those recipients about whom nothing is known; but not after the end of the message, which the server may have taken. A host that lacks what the message needs is passed over in the same way.

// replyLost is for those that nothing is known of.
var replyLost = esmtp.Deny(451, 4, 4, 1, "no answer from the next host")

// replyConfig is for a next hop that was set and can't be found (RFC 3463 §3.4).
var replyConfig = esmtp.Deny(451, 4, 3, 5, "the next host can't be found for now")

// decided reports whether something is known of every recipient.
func (a *attempt) decided() bool {
	return !slices.ContainsFunc(a.rcpts, func(r recipient) bool { return r.fate == undecided })
}

// remaining is how many recipients are undecided.
func (a *attempt) remaining() (n int) {
	for _, r := range a.rcpts {
		if r.fate == undecided {
			n++
		}
	}
	return n
}

// accepted reports whether some recipient has the message.
func (a *attempt) accepted() bool {
	return slices.ContainsFunc(a.rcpts, func(r recipient) bool { return r.fate == accepted })
}

// decide sets the fate of all that are undecided.
func (a *attempt) decide(f fate, reply esmtp.Reply, host string, err error) {
	for i := range a.rcpts {
		if r := &a.rcpts[i]; r.fate == undecided {
			r.fate, r.reply, r.host, r.err = f, reply, host, err
		}
	}
}

// note keeps the last thing that is known of those that are undecided.
func (a *attempt) note(reply esmtp.Reply, host string, err error) {
	for i := range a.rcpts {
		if r := &a.rcpts[i]; r.fate == undecided {
			r.reply, r.host, r.err = reply, host, err
		}
	}
}

// refuse takes an error of ours, from the look-up of a hop. For the recipients' own domain one for good is for good; a hop that the operator has
// chosen is there again when the configuration or the DNS is put right.
func (a *attempt) refuse(err error) {
	reply := esmtp.ReplyOf(err)
	if reply.Code/100 == 5 && !a.direct {
		reply = replyConfig
	}
	if reply.Code/100 == 5 {
		a.decide(failed, reply, "", err)
		return
	}
	a.reached = true
	a.note(reply, "", err)
}

// missed takes a host that could not be connected to.
func (a *attempt) missed(host string, err error) {
	reply := esmtp.ReplyOf(err)
	var e *smtpclient.Error
	isClient := errors.As(err, &e)
	said := host
	if isClient && e.Local || !isClient {
		said = ""
	}
	if lacks(err) {
		a.lacking = err
	} else {
		a.reached = true
		if reply.Code/100 == 5 { // a host that doesn't greet us may have a friendlier neighbour
			reply.Code, reply.Enh[0] = 400+reply.Code%100, min(reply.Enh[0], 4)
		}
	}
	a.note(reply, said, err)
}

// lacks reports whether err says that the host can't do what the message needs, and no host of its kind ever can.
func lacks(err error) bool {
	var e *smtpclient.Error
	if errors.As(err, &e) {
		return e.Class == smtpclient.MissingRequirement && e.Reply.Code/100 == 5
	}
	return esmtp.ReplyOf(err).Code/100 == 5
}

// sort takes the result of a message that was sent.
func (a *attempt) sort(conn *conn, result *smtpclient.Result) {
	next := 0
	for i := 0; i < len(a.rcpts) && next < len(result.Recipients); i++ {
		r := &a.rcpts[i]
		if r.fate != undecided {
			continue
		}
		o := result.Recipients[next]
		next++
		a.sortOne(r, conn, o, result)
	}
}

func (a *attempt) sortOne(r *recipient, conn *conn, o smtpclient.Outcome, result *smtpclient.Result) {
	e := o.Err
	if tooMany(e) && someTaken(result) {
		r.reply, r.host, a.reached = e.Reply, conn.host, true
		if !result.Delivered() {
			r.fate = later
		}
		return // else undecided: the next transaction is for this one
	}
	if e == nil {
		a.reached = true
		r.fate, r.reply, r.host, r.dsn = accepted, o.Reply, conn.host, result.DSN
		return
	}
	r.reply, r.err = e.Reply, e
	if r.host = conn.host; e.Local {
		r.host = ""
	}
	switch e.Class {
	case smtpclient.Permanent:
		if r.fate = failed; errors.Is(e, smtpclient.ErrBareNewline) { // a server that passes them on has let it in
			a.fix, a.reached, r.fate = true, true, undecided
		}
	case smtpclient.Temporary:
		if a.reached = true; !a.leftUs(e) {
			r.fate = later
		}
	case smtpclient.MissingRequirement:
		a.lacking = e
		if e.Reply.Code/100 != 5 {
			a.reached = true
		}
	default:
		if a.reached = true; errors.Is(e, smtpclient.ErrNoAnswer) {
			r.fate = later // it may have the message: another host would make it two (RFC 1047)
		}
		// else undecided: there is another host
	}
}

// leftUs reports whether the server has ended a connection that was there already: it says 421 to those that waited, or had enough messages
// (RFC 5321 §3.8), and takes this message on a new one.
func (a *attempt) leftUs(e *smtpclient.Error) bool {
	return a.last.Reused && e.Reply.Code == 421 && e.Verb != "message" && e.Verb != "BDAT"
}

// tooMany reports whether a recipient was one more than the server takes in a transaction. Some servers say 552 (RFC 5321 §4.5.3.1.10).
func tooMany(e *smtpclient.Error) bool {
	if e == nil || e.Local || e.Verb != "RCPT" {
		return false
	}
	enh := e.Reply.Enh
	return (e.Reply.Code == 452 || e.Reply.Code == 552) && (enh[1] == 5 && enh[2] == 3 || enh == esmtp.Enhanced{})
}

// someTaken reports whether the server took a recipient, whatever became of the message then.
func someTaken(result *smtpclient.Result) bool {
	return slices.ContainsFunc(result.Recipients, func(o smtpclient.Outcome) bool { return o.Err == nil || o.Err.Verb != "RCPT" })
}

// giveUp ends the attempt for those that no host has answered for, if there are any. If every host lacked what the message needs it fails: that will not change.
func (a *attempt) giveUp() {
	for i := range a.rcpts {
		r := &a.rcpts[i]
		if r.fate != undecided {
			continue
		}
		if r.fate = later; a.lacking != nil && !a.reached {
			r.fate = failed
			r.reply = esmtp.ReplyOf(a.lacking)
		}
		if r.reply.IsZero() {
			r.reply = replyLost
		}
	}
}

// parseReply reads what [esmtp.Reply.Error] wrote.
func parseReply(text string) esmtp.Reply {
	var r esmtp.Reply
	code, rest, _ := strings.Cut(text, " ")
	if r.Code, _ = strconv.Atoi(code); r.Code < 400 || r.Code > 599 {
		return esmtp.Say(554, "delivery failed")
	}
	if enh, text, _ := strings.Cut(rest, " "); strings.Count(enh, ".") == 2 {
		if n, _ := fmt.Sscanf(enh, "%d.%d.%d", &r.Enh[0], &r.Enh[1], &r.Enh[2]); n == 3 {
			rest = text
		}
	}
	r.Lines = strings.Split(rest, " / ")
	return r
}
