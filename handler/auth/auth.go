// Package auth has layers that know who may log in: from a table of names and secrets, from a file that is read again when it changes, from an
// application that is asked over HTTP, or from Dovecot.
//
//	users := auth.NewTable()
//	if err := users.Add("ann", "{SCRAM-SHA-256}4096,…"); err != nil { … }
//	srv := &esmtp.Server{RequireAuth: true, NewHandler: esmtp.Stack(ours.NewLayer, users.NewLayer)}
//
// The one idea to hold: a layer overrides what [esmtp.Handler] has about AUTH (Mechanisms, Authenticate, Secret, and for Dovecot AUTH itself),
// and nothing else; the engine does the rest. A layer never logs a password or a token, and takes the same time for a user that it doesn't know.
package auth

import (
	"slices"
	"strings"

	"github.com/caddy-esmtp/esmtp"
)

var (
	replyIn        = esmtp.Reply{Code: 235, Enh: esmtp.Enhanced{2, 7, 0}, Lines: []string{"Authentication successful"}}
	replyOut       = esmtp.Deny(535, 5, 7, 8, "Authentication credentials invalid")
	replyTemporary = esmtp.Deny(454, 4, 7, 0, "Temporary authentication failure")
)

// Restrict is a layer that lets only some of the mechanisms of the layers below it be offered.
func Restrict(mechanisms ...string) esmtp.Layer {
	return func(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler { return &restricted{next, mechanisms} }
}

type restricted struct {
	esmtp.Handler
	mechanisms []string
}

func (l *restricted) Mechanisms(s *esmtp.Session) []string {
	var list []string
	for _, mechanism := range l.Handler.Mechanisms(s) {
		if slices.ContainsFunc(l.mechanisms, func(m string) bool { return strings.EqualFold(m, mechanism) }) {
			list = append(list, mechanism)
		}
	}
	return list
}
