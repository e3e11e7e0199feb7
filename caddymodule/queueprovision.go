package caddymodule

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/relay/route"
)

// provision checks all that can be checked. It opens nothing.
func (q *Queue) provision() error {
	if err := q.replacePlaceholders(); err != nil {
		return err
	}
	var err error
	if q.url, err = spoolURL(q.url, q.name); err != nil {
		return err
	}
	if err := errors.Join(checkHostname(q.Hostname), q.checkTimes(), checkCount("concurrency", q.Concurrency), checkCount("per_route", q.PerRoute),
		q.checkTwoLogins()); err != nil {
		return err
	}
	_, err = q.newRelay()
	return err
}

func (q *Queue) replacePlaceholders() (err error) {
	if q.url, err = replace("spool", q.Spool); err != nil {
		return err
	}
	if q.Hostname, err = replace("hostname", q.Hostname); err != nil {
		return err
	}
	for i := range q.Logins {
		l := &q.Logins[i]
		if l.Password, err = replaceFree("login "+l.Hop, l.Password); err != nil {
			return err
		}
		if l.Password == "" {
			return fmt.Errorf("login %s: the password is empty", l.Hop)
		}
	}
	return nil
}

// spoolURL is the one name of a spool, however it is spelt: configs find it by that.
func spoolURL(text, queue string) (string, error) {
	if text == "" {
		text = filepath.Join(caddy.AppDataDir(), "esmtp", queue)
	}
	if path, ok := strings.CutPrefix(text, "sqlite://"); ok && strings.HasPrefix(path, "/") {
		text = path
	}
	if strings.Contains(text, "://") {
		return text, nil
	}
	return filepath.Abs(text)
}

// checkHostname finds what can't be our name. Empty is the default.
func checkHostname(name string) error {
	return (&esmtp.Server{Hostname: name}).Close() // the engine knows what a name is
}

// checkHops finds next hops that can't be, or lack a login.
func (q *Queue) checkHops() error {
	hops, err := parseHops(q.NextHops)
	if err != nil {
		return err
	}
	if err := q.checkLogins(hops); err != nil {
		return err
	}
	_, err = q.table()
	return err
}

// checkTwoLogins finds a hop with two passwords, of which one would be ignored.
func (q *Queue) checkTwoLogins() error {
	seen := make(map[route.Hop]bool)
	for _, l := range q.Logins {
		hop, err := route.ParseHop(l.Hop)
		if err == nil && seen[hop] {
			return fmt.Errorf("there are two logins for %s", hop)
		}
		seen[hop] = true
	}
	return nil
}

// warnUnused tells of hops in xforward that the config sends no mail to. A handler can choose any hop for a message: it is no mistake for certain.
func (q *Queue) warnUnused() {
	hops := slices.Concat(q.NextHops, q.handlerHops)
	for _, r := range q.Routes {
		hops = append(hops, r.NextHops...)
	}
	known, _ := parseHops(hops) // they were checked
	forward, _ := parseHops(q.XFORWARD)
	for _, hop := range forward {
		if !slices.Contains(known, hop) {
			q.log.Warn("xforward names a next hop that no mail is sent to by this config: write it as it stands in next_hop or route", "hop", hop.String())
		}
	}
}

// checkTimes finds durations that can't be: one that has passed before it begins would return mail at once, or delete it.
func (q *Queue) checkTimes() error {
	_, err := waits(q.Retry)
	return errors.Join(checkTime("expire", q.Expire), checkTime("expire_reports", q.ExpireReports), checkTime("keep_removed", q.KeepRemoved),
		checkTime("keep_quarantined", q.KeepQuarantined), checkTime("warn", max(q.Warn, 0)), err) // warn is off below zero
}

// checkTime finds a duration that can't be. Zero is the default.
func checkTime(name string, d caddy.Duration) error {
	if d < 0 || d > caddy.Duration(maxTimeout) {
		return fmt.Errorf("%s is %s: it can be up to %s; leave it out for the default", name, time.Duration(d), maxTimeout)
	}
	return nil
}

// maxCount is far more than a machine has sockets for.
const maxCount = 1_000_000

// checkCount finds a number that can't be. Zero is the default.
func checkCount(name string, n int) error {
	if n < 0 || n > maxCount {
		return fmt.Errorf("%s is %d: it can be 1 to %d; leave it out for the default", name, n, maxCount)
	}
	return nil
}

// waits is a schedule of retries as the relay has it.
func waits(retry []caddy.Duration) (list []time.Duration, err error) {
	for _, wait := range retry {
		if wait <= 0 || wait > caddy.Duration(maxTimeout) {
			return nil, fmt.Errorf("retry has a wait of %s: each can be above zero and up to %s", time.Duration(wait), maxTimeout)
		}
		list = append(list, time.Duration(wait))
	}
	return list, nil
}
