package smtpclient

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-esmtp/esmtp"
)

// Auth says how to log in (RFC 4954).
type Auth struct {
	// User and Password are for the mechanisms with a password.
	User, Password string

	// Token is an OAuth 2.0 token; with it User, if not empty, is whom it is for. Only OAUTHBEARER and XOAUTH2 are used then.
	Token string

	// Identity is whom to act as, if that isn't User. Few servers allow it.
	Identity string

	// Mechanisms are the SASL mechanisms that may be used, the best first. By default SCRAM-SHA-256 and SCRAM-SHA-1, in TLS 1.3 with
	// channel binding (-PLUS), CRAM-MD5, PLAIN, LOGIN; with a token OAUTHBEARER, XOAUTH2; with neither EXTERNAL, that is the client
	// certificate.
	Mechanisms []string

	// AllowInsecure shows the password or token, as PLAIN, LOGIN and the OAuth mechanisms do, without TLS too.
	AllowInsecure bool
}

// mechanisms is what may be used, the best first.
func (a *Auth) mechanisms() []string {
	switch {
	case len(a.Mechanisms) > 0:
		return a.Mechanisms
	case a.Token != "":
		return []string{"OAUTHBEARER", "XOAUTH2"}
	case a.User != "":
		return []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"}
	}
	return []string{"EXTERNAL"}
}

// showsSecret reports whether who listens has the password, or the token, afterwards.
func showsSecret(mechanism string) bool {
	return slices.Contains([]string{"PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"}, mechanism)
}

// login says AUTH with the best mechanism that both sides have. Where the server says that it isn't the right one for this user it
// tries the next; a wrong password is wrong for all.
func (c *Conn) login() error {
	a := c.opts.Auth
	offered, _ := c.Extension("AUTH")
	err := error(missing("AUTH", replyNoAuth))
	for _, name := range a.mechanisms() {
		name = upper(name)
		known := slices.ContainsFunc(strings.Fields(offered), func(m string) bool { return upper(m) == name })
		if !known || showsSecret(name) && c.tls == nil && !a.AllowInsecure {
			continue
		}
		mechanism := c.newMechanism(name, slices.Contains(strings.Fields(upper(offered)), name+"-PLUS"))
		if mechanism == nil {
			continue
		}
		var reply esmtp.Reply
		if reply, err = c.authenticate(name, mechanism); err == nil {
			c.user = true
			return nil
		}
		if c.err != nil || !slices.Contains([]int{432, 504, 534, 538}, reply.Code) {
			return err
		}
	}
	return err
}

// authenticate has an exchange (RFC 4954 §4): challenges and responses in base64, until the server has made up its mind. It is bounded, as
// all that the server controls.
func (c *Conn) authenticate(name string, next mechanism) (esmtp.Reply, error) {
	line := "AUTH " + name
	response, err := next(0, nil)
	if err != nil {
		return esmtp.Reply{}, localError("AUTH", err)
	}
	late := false // the initial response is too long for a command, and so comes when it is asked for
	if response != nil {
		initial := " " + or(base64.StdEncoding.EncodeToString(response), "=")
		if late = len(line)+len(initial) > 510; !late {
			line += initial
		}
	}
	for step := 1; step <= maxSteps; {
		reply, err := c.secret(line)
		if err != nil || reply.Code != 334 {
			if err == nil {
				_, err = next(success, nil) // the server has to prove that it knows the password too (RFC 5802 §3)
			}
			return reply, c.distrust(err)
		}
		challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(reply.Lines[0]))
		if err == nil && !late {
			response, err = next(step, challenge)
			step++
		}
		late = false
		if line = base64.StdEncoding.EncodeToString(response); err != nil {
			c.secret("*")
			return esmtp.Reply{}, c.distrust(err)
		}
	}
	return esmtp.Reply{}, c.lost("AUTH", fmt.Errorf("%w: too many challenges", ErrBadReply))
}

// maxSteps is more than any mechanism has; success is the step after them.
const (
	maxSteps = 8
	success  = -1
)

// distrust closes the connection to a server that can't have what it says, or does what the mechanism doesn't.
func (c *Conn) distrust(err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return c.fail(&Error{Class: Unexpected, Verb: "AUTH", Reply: replyUnexpected, Local: true, Err: err})
}

// secret is command for a line that must not appear in an error.
func (c *Conn) secret(line string) (esmtp.Reply, error) {
	c.out = append(append(c.out, line...), '\r', '\n')
	if err := c.flush("AUTH"); err != nil {
		return esmtp.Reply{}, err
	}
	return c.receive("AUTH", c.opts.Timeouts.Command, 334)
}
