package esmtp_test

import (
	"testing"

	"github.com/caddy-esmtp/esmtp"
)

// RFC 1985 §5.
func TestETRN(t *testing.T) {
	on := offers(answer("ETRN", esmtp.Say(251, "nothing waits")), "ETRN")
	runRows(t, []row{{
		name: "syntax",
		on:   on,
		script: greeting + ehlo + `
			C: ETRN
			C: ETRN localname
			C: ETRN a.example b.example
			C: ETRN @
			C: ETRN @com
			C: ETRN #
			C: ETRN a..example
			C: ETRN [192.0.2.1]
			S: 501 5.5.4 *
			S: 501 5.5.4 *
			S: 501 5.5.4 *
			S: 501 5.5.4 *
			S: 501 5.5.4 *
			S: 501 5.5.4 *
			S: 501 5.5.4 *
			S: 501 5.5.4 *`,
		calls: "EHLO me.example",
	}, {
		name: "node, domain, queue",
		on:   on,
		script: greeting + ehlo + `
			C: ETRN Node.example
			C: etrn @example.org
			C: ETRN #uucp
			S: 251 2.0.0 nothing waits
			S: 251 2.0.0 nothing waits
			S: 251 2.0.0 nothing waits`,
		calls: "EHLO me.example\nETRN Node.example\nETRN @example.org\nETRN #uucp",
	}, {
		name:   "not within a transaction, not before EHLO",
		on:     on,
		script: greeting + "C: ETRN a.example\nS: 503 5.5.1 *\n" + ehlo + envelope + "C: ETRN a.example\nS: 503 5.5.1 *",
	}, {
		name:   "not unless it was offered",
		script: greeting + ehlo + "C: ETRN a.example\nS: 502 5.5.1 *",
		calls:  "EHLO me.example",
	}, {
		name:   "offered, but answered by nobody",
		on:     offers(nil, "ETRN"),
		script: greeting + ehlo + "C: ETRN a.example\nS: 502 5.5.1 *",
	}, {
		name:   "HELP lists it where it was offered",
		on:     on,
		script: greeting + ehlo + "C: HELP\nS: 214-*\nS: 214 2.0.0 * ETRN",
	}, {
		name:   "who must log in first can't ask for it",
		on:     on,
		set:    func(srv *esmtp.Server) { srv.RequireAuth = true },
		script: greeting + ehlo + "C: ETRN a.example\nS: 530 5.7.0 *",
	}})
}
