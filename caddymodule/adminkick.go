package caddymodule

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-esmtp/esmtp"
)

// AdminMessage is what handlers get, with their method Posted, when somebody posts to /esmtp/sessions/{id}/messages of the admin API. As with
// all messages they get it on the session's goroutine, between two commands, and a layer hands on to the next what isn't meant for it:
//
//	func (m *Mine) Posted(s *esmtp.Session, message any) esmtp.Reply {
//		if msg, ok := message.(caddymodule.AdminMessage); ok {
//			json.Unmarshal(msg.Data, &m.settings)
//			return esmtp.Reply{}
//		}
//		return m.Handler.Posted(s, message)
//	}
type AdminMessage struct {
	// Data is the body of the request: JSON that is well-formed, and not checked otherwise. 64 KiB at most. It is the handler's own.
	Data json.RawMessage
}

// maxMessage is the size of an AdminMessage.
const maxMessage = 64 << 10

// postMessage is POST /esmtp/sessions/{id}/messages.
func postMessage(id string) func(http.ResponseWriter, *http.Request, url.Values) error {
	return func(w http.ResponseWriter, r *http.Request, _ url.Values) error {
		s, _, err := findSession(id)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			return apiError(http.StatusRequestEntityTooLarge, "esmtp: a message has %d octets at most", maxMessage)
		case err != nil:
			return apiError(http.StatusBadRequest, "esmtp: reading the message: %w", err)
		case !json.Valid(body):
			return apiError(http.StatusBadRequest, "esmtp: the message is not JSON")
		}
		if err := posted(id, s.Post(AdminMessage{body})); err != nil {
			return err
		}
		return writeJSON(w, http.StatusAccepted, map[string]string{"session": s.ID()})
	}
}

// posted makes an error of the admin API of one of Session.Post.
func posted(id string, err error) error {
	switch {
	case errors.Is(err, esmtp.ErrSessionOver):
		return apiError(http.StatusNotFound, "esmtp: there is no session %q, or no longer", id)
	case errors.Is(err, esmtp.ErrMailboxFull):
		return apiError(http.StatusTooManyRequests, "esmtp: session %s has too many messages that it has not taken yet", id)
	}
	return err
}

// kickParams are the query parameters that say how a session is ended.
var kickParams = []string{"code", "enhanced", "text", "now"}

// kickOrder says how to end a session.
type kickOrder struct {
	reply *esmtp.Reply // nil: the usual
	now   bool
}

// maxKickText leaves room for the code in a line of 512 octets (RFC 5321 §4.5.3.1.5).
const maxKickText = 400

var (
	enhancedCode = regexp.MustCompile(`^4\.(\d{1,3})\.(\d{1,3})$`)
	asciiText    = regexp.MustCompile(`^[ -~]*$`)
)

func newKick(query url.Values) (kickOrder, error) {
	now, err := yes(query, "now")
	if err != nil {
		return kickOrder{}, err
	}
	code, enhanced, text := query.Get("code"), query.Get("enhanced"), query.Get("text")
	given := query.Has("code") || query.Has("enhanced") || query.Has("text")
	match := enhancedCode.FindStringSubmatch(enhanced)
	switch {
	case now && given:
		return kickOrder{}, apiError(http.StatusBadRequest, "esmtp: now cuts the connection: there is no reply, and so no code, enhanced or text")
	case query.Has("code") && code != "421": // RFC 5321 §3.8
		return kickOrder{}, apiError(http.StatusBadRequest, "esmtp: code is %q, but 421 is all that a server may say to a client that has asked nothing", code)
	case query.Has("enhanced") && match == nil:
		return kickOrder{}, apiError(http.StatusBadRequest, "esmtp: enhanced is %q: with 421 it is 4 and two numbers, such as 4.3.2", enhanced)
	case len(text) > maxKickText || !asciiText.MatchString(text):
		return kickOrder{}, apiError(http.StatusBadRequest, "esmtp: text is a line of printable ASCII, %d octets at most", maxKickText)
	case !given:
		return kickOrder{nil, now}, nil
	}
	r := defaultKick
	if match != nil {
		subject, _ := strconv.Atoi(match[1])
		detail, _ := strconv.Atoi(match[2])
		r.Enh = esmtp.Enhanced{4, uint16(subject), uint16(detail)}
	}
	if text != "" {
		r.Lines = []string{text}
	}
	return kickOrder{reply: &r}, nil
}

var defaultKick = esmtp.Deny(421, 4, 3, 2, "Session ended by the administrator")

// do ends a session.
func (k kickOrder) do(s *esmtp.Session) error {
	switch {
	case k.now:
		s.Abort()
		return nil
	case k.reply != nil:
		return s.Kick(*k.reply)
	}
	r := defaultKick
	r.Lines = []string{hostnameOf(s.Info().Settings) + " " + r.Lines[0]} // RFC 5321 §4.2.2
	return s.Kick(r)
}

// kickedView tells which sessions will end.
type kickedView struct {
	Kicked []string `json:"kicked"`
}

// kickSession is DELETE /esmtp/sessions/{id}.
func kickSession(id string) func(http.ResponseWriter, *http.Request, url.Values) error {
	return func(w http.ResponseWriter, _ *http.Request, query url.Values) error {
		kick, err := newKick(query)
		if err != nil {
			return err
		}
		s, _, err := findSession(id)
		if err != nil {
			return err
		}
		if err := posted(id, kick.do(s)); err != nil {
			return err
		}
		return writeJSON(w, http.StatusAccepted, kickedView{Kicked: []string{s.ID()}})
	}
}

// kickSessions is DELETE /esmtp/sessions.
func kickSessions(w http.ResponseWriter, _ *http.Request, query url.Values) error {
	kick, err := newKick(query)
	if err != nil {
		return err
	}
	all, err := yes(query, "all")
	if err != nil {
		return err
	}
	if !all && !slices.ContainsFunc(filterParams, query.Has) {
		return apiError(http.StatusBadRequest, "esmtp: this would end all sessions: say which, by %s, or say all=1", strings.Join(filterParams, ", "))
	}
	list, err := findSessions(query)
	if err != nil {
		return err
	}
	view := kickedView{Kicked: []string{}}
	for _, info := range list {
		if s := info.server.engine.Session(info.ID); s != nil && kick.do(s) == nil {
			view.Kicked = append(view.Kicked, info.ID)
		}
	}
	return writeJSON(w, http.StatusAccepted, view)
}
