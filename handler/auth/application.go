package auth

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// Application asks an application over HTTP who may log in. Any number of sessions may use it at the same time. Set its fields before the first.
type Application struct {
	// URL gets a POST with a [Question] in JSON for each login. Any 2xx lets the client in, 401 and 403 don't, and everything else is answered with
	// 454. Redirects are not followed.
	URL string

	// Header goes with each request.
	Header http.Header

	// Timeout is the time for the answer. Default 10 seconds.
	Timeout time.Duration

	// Tokens offers OAUTHBEARER and XOAUTH2: the application takes tokens too.
	Tokens bool

	client *http.Client
}

// Question is what an [Application] is asked.
type Question struct {
	User      string `json:"user"`
	Identity  string `json:"identity,omitempty"` // whom the client wants to act as, if not as User
	Password  string `json:"password,omitempty"`
	Token     string `json:"token,omitempty"`
	Mechanism string `json:"mechanism"`
	Remote    string `json:"remote"` // address and port
	HELO      string `json:"helo"`
	Hostname  string `json:"hostname"`      // ours
	Session   string `json:"session"`       // its name in the log
	TLS       string `json:"tls,omitempty"` // the version, such as "TLS 1.3"
}

// NewApplication checks a URL and makes an Application of it.
func NewApplication(address string) (*Application, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("auth: %q is no URL with http or https", address)
	}
	transport := &http.Transport{
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        time.Minute,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
	return &Application{URL: address, Timeout: 10 * time.Second, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a password goes nowhere else
	}}, nil
}

// Close closes connections that are kept for the next login.
func (a *Application) Close() { a.client.CloseIdleConnections() }

// NewLayer makes the layer of a connection; it is an [esmtp.Layer].
func (a *Application) NewLayer(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return &applicationLayer{next, a}
}

type applicationLayer struct {
	esmtp.Handler
	app *Application
}

func (l *applicationLayer) Mechanisms(*esmtp.Session) []string {
	if l.app.Tokens {
		return []string{"PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"}
	}
	return []string{"PLAIN", "LOGIN"}
}

func (l *applicationLayer) Authenticate(s *esmtp.Session, c esmtp.Credentials) esmtp.Reply {
	q := Question{
		User: c.User, Identity: c.Identity, Password: c.Password, Token: c.Token, Mechanism: c.Mechanism,
		Remote: s.RemoteAddr().String(), HELO: s.HELO(), Hostname: s.Hostname(), Session: s.ID(),
	}
	if state := s.TLS(); state != nil {
		q.TLS = tls.VersionName(state.Version)
	}
	status, err := l.app.ask(s.Context(), q)
	switch {
	case err != nil:
		s.Logger().Error("the application can't tell who may log in", "login", c.User, "error", err)
	case status/100 == 2:
		return replyIn
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return replyOut
	default:
		s.Logger().Error("the application can't tell who may log in", "login", c.User, "status", status)
	}
	return replyTemporary
}

// ask returns the status of the application's answer.
func (a *Application) ask(ctx context.Context, q Question) (status int, err error) {
	body, err := json.Marshal(q)
	if err != nil {
		return 0, errors.New("auth: what the client says can't be put into JSON")
	}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	for name, values := range a.Header {
		req.Header[name] = values
		if strings.EqualFold(name, "Host") {
			req.Host = values[0]
		}
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := a.client.Do(req)
	if e := new(url.Error); errors.As(err, &e) {
		return 0, e.Err // without the URL, in which there can be a secret
	}
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can serve again
	return res.StatusCode, nil
}
