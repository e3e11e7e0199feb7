// Package webhook delivers a message to a program on the web: a POST with the envelope and the message.
//
//	hook := &webhook.Hook{Header: http.Header{"Authorization": {"Bearer …"}}}
//	result := hook.Post(ctx, "https://app.example.org/mail", envelope, message)
//
// # The request
//
// It is a form (multipart/form-data) with two parts: "envelope", an [Envelope] in JSON, and "message", the message as it came, with the name of
// a file, so that frameworks take it for an upload. It streams, and Content-Length is known.
//
// With a Secret there is a header field X-Esmtp-Signature: t=<seconds since 1970>,v1=<hex>. The latter is the HMAC-SHA256 of the seconds, a dot and the
// part "envelope" as it stands there. The envelope has the SHA-256 of the message. To verify, compute the HMAC of what came, compare, compare
// the hash too, and don't take a t that is minutes off.
//
// # The answer
//
//	2xx                        accepted
//	408, 425, 429, 5xx         tried again, after Retry-After if that is given; so are 3xx, which are not followed, and failures of the network
//	401, 404, 405, 407         tried again: they say that somebody has to put something right, and nothing about the message
//	any other 4xx              refused for good
//
// With 2xx, or one of the other 4xx, the answer can say more, in JSON: see [Answer].
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// Hook says how to post. The zero Hook is ready. Any goroutine may use it; set its fields before.
type Hook struct {
	// Header are fields to put into each request, such as a token.
	Header http.Header

	// Secret signs the envelope. Empty: there is no signature.
	Secret []byte

	// Timeout bounds a whole request, the answer included. Default 10 minutes.
	Timeout time.Duration

	// Client makes the requests; redirects are not followed, whatever it says of them. Nil: one for all hooks, with the proxies of the environment.
	Client *http.Client
}

// Envelope is what is said of a message. Fields that are not known are left out.
type Envelope struct {
	Item        string    `json:"item,omitempty"`        // its name in the spool, the same at each attempt
	Attempt     int       `json:"attempt"`               // 1 is the first
	Received    time.Time `json:"received,omitzero"`     // when it came
	Size        int64     `json:"size"`                  // of the message, in octets
	SHA256      string    `json:"sha256,omitempty"`      // of the message, in hex, if there is a signature
	Sender      Address   `json:"sender"`                // with an empty address: the null sender, of bounces
	Recipients  []Address `json:"recipients"`            // those that remain
	Client      Client    `json:"client"`                // who sent it
	Session     string    `json:"session,omitempty"`     // as in our logs
	Transaction string    `json:"transaction,omitempty"` // as in our logs
}

// Address is an address with the parameters that came with it in MAIL or RCPT, their names in upper case: {"NOTIFY": "NEVER"}.
type Address struct {
	Address string            `json:"address"`
	Params  map[string]string `json:"params,omitempty"`
}

// Client is who sent a message.
type Client struct {
	IP       string `json:"ip,omitempty"`
	Port     int    `json:"port,omitempty"`
	Name     string `json:"name,omitempty"`     // its host name, if it is known
	HELO     string `json:"helo,omitempty"`     // what it called itself
	User     string `json:"user,omitempty"`     // whom it logged in as
	Protocol string `json:"protocol,omitempty"` // as [esmtp.Session.Protocol] has it: "ESMTPS"
}

// AddressOf is a path as an Address.
func AddressOf(p esmtp.Path) Address {
	a := Address{Address: p.String()}
	for param := range strings.FieldsSeq(p.Params()) {
		name, value, _ := strings.Cut(param, "=")
		if a.Params == nil {
			a.Params = make(map[string]string)
		}
		a.Params[strings.ToUpper(name)] = value
	}
	return a
}

// Result is what became of a message.
type Result struct {
	// Replies has one for each recipient, in their order: 2xx accepted, 4xx to be tried again, 5xx refused. None: nobody has answered, see Err.
	Replies []esmtp.Reply

	// RetryAfter is how long to wait before the next attempt, if the answer said so; at most a day.
	RetryAfter time.Duration

	// Err is why there was no answer. It can tell of addresses inside, and is for logs only.
	Err error
}

// defaultTimeout bounds a request.
const defaultTimeout = 10 * time.Minute

// defaultClient is for hooks without a Client.
var defaultClient = &http.Client{}

// Post posts a message of e.Size octets to a URL. It reads message from its present position to the end; with a Secret, twice.
func (h *Hook) Post(ctx context.Context, url string, e Envelope, message io.ReadSeeker) Result {
	timeout := h.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, body, err := h.request(ctx, url, e, message)
	if err != nil {
		return Result{Err: err}
	}
	defer body.stop()
	client := defaultClient
	if h.Client != nil {
		client = h.Client
	}
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := own.Do(req)
	if err != nil {
		return Result{Err: fmt.Errorf("webhook: %w", withoutURL(err))}
	}
	defer resp.Body.Close()
	return read(resp, e.Recipients)
}

// withoutURL takes the URL out of an error: it can have a secret in it, and the error is for logs.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// request makes the request. The parts around the message are small, and made beforehand.
func (h *Hook) request(ctx context.Context, url string, e Envelope, message io.ReadSeeker) (*http.Request, *stoppable, error) {
	if len(h.Secret) > 0 {
		if err := e.hash(message); err != nil {
			return nil, nil, fmt.Errorf("webhook: reading the message: %w", err)
		}
	}
	envelope, err := json.Marshal(e)
	if err != nil {
		return nil, nil, fmt.Errorf("webhook: %w", err)
	}
	var frame bytes.Buffer
	form := multipart.NewWriter(&frame)
	part(form, `form-data; name="envelope"`, "application/json")
	frame.Write(envelope)
	part(form, `form-data; name="message"; filename="message.eml"`, "message/rfc822")
	head := bytes.Clone(frame.Bytes())
	frame.Reset()
	form.Close()
	tail := frame.Bytes()
	body := &stoppable{r: io.MultiReader(bytes.NewReader(head), message, bytes.NewReader(tail))}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return nil, nil, fmt.Errorf("webhook: %w", withoutURL(err))
	}
	req.ContentLength = int64(len(head)) + e.Size + int64(len(tail))
	for name, values := range h.Header {
		req.Header[name] = values
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "caddy-esmtp")
	}
	if len(h.Secret) > 0 {
		req.Header.Set("X-Esmtp-Signature", h.sign(time.Now(), envelope))
	}
	return req, body, nil
}

// part begins a part; writing to a buffer doesn't fail.
func part(form *multipart.Writer, disposition, contentType string) {
	form.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}, "Content-Type": {contentType}})
}

// hash puts the hash of the message into the envelope, and goes back to where the message began.
func (e *Envelope) hash(message io.ReadSeeker) error {
	begin, err := message.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, message); err != nil {
		return err
	}
	e.SHA256 = hex.EncodeToString(sum.Sum(nil))
	_, err = message.Seek(begin, io.SeekStart)
	return err
}

// sign is the value of X-Esmtp-Signature.
func (h *Hook) sign(now time.Time, envelope []byte) string {
	t := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, h.Secret)
	mac.Write([]byte(t + "."))
	mac.Write(envelope)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

var errStopped = errors.New("webhook: the request is over")
