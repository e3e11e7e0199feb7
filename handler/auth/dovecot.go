package auth

import (
	"crypto/tls"
	"encoding/base64"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// Dovecot asks a Dovecot server who may log in, over the Unix socket that it has for that (Dovecot authentication protocol 1). It hands on what client
// and Dovecot say to each other, so Dovecot's configuration says which mechanisms there are. Any number of sessions may use it at the same time. Set its
// fields before the first.
type Dovecot struct {
	// Socket is the path of the socket, such as /run/dovecot/auth-client.
	Socket string

	// Timeout is the time for each of Dovecot's answers. It holds back those about wrong passwords, for up to 15 seconds. Default 30 seconds.
	Timeout time.Duration

	mu         sync.Mutex
	mechanisms []string
	asked      time.Time
}

// mechanismsLast is how long Dovecot's list of mechanisms is good for.
const mechanismsLast = time.Minute

// NewLayer makes the layer of a connection; it is an [esmtp.Layer].
func (d *Dovecot) NewLayer(_ *esmtp.Session, next esmtp.Handler) esmtp.Handler {
	return &dovecotLayer{next, d}
}

func (d *Dovecot) timeout() time.Duration {
	if d.Timeout > 0 {
		return d.Timeout
	}
	return 30 * time.Second
}

type dovecotLayer struct {
	esmtp.Handler
	dovecot *Dovecot
}

// Mechanisms has those that Dovecot has; as long as it can't be asked, those that it had, or else PLAIN and LOGIN.
func (l *dovecotLayer) Mechanisms(s *esmtp.Session) []string {
	d := l.dovecot
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.asked) < mechanismsLast {
		return d.mechanisms
	}
	d.asked = time.Now()
	c, err := d.dial()
	if err != nil {
		s.Logger().Error("dovecot can't be asked for its mechanisms", "error", err)
		if d.mechanisms == nil {
			d.mechanisms = []string{"PLAIN", "LOGIN"}
		}
		return d.mechanisms
	}
	c.Close()
	d.mechanisms = c.mechanisms
	return d.mechanisms
}

// AUTH carries on an exchange between the client and Dovecot.
func (l *dovecotLayer) AUTH(s *esmtp.Session, mechanism string, x *esmtp.Exchange) esmtp.Reply {
	r, user, err := l.dovecot.authenticate(s, mechanism, x)
	if err != nil {
		s.Logger().Error("dovecot can't tell who may log in", "mechanism", mechanism, "error", err)
		return replyTemporary
	}
	if user != "" && r.Code != 235 {
		s.Logger().Info("dovecot refuses a login", "login", user, "reply", r.Error())
	}
	return r
}

// authenticate runs one exchange on a connection of its own.
func (d *Dovecot) authenticate(s *esmtp.Session, mechanism string, x *esmtp.Exchange) (r esmtp.Reply, user string, err error) {
	c, err := d.dial()
	if err != nil {
		return r, "", err
	}
	defer c.Close()
	request := append([]string{"AUTH", "1", mechanism, "service=smtp", "nologin"}, addresses(s)...)
	if first, ok := x.Initial(); ok {
		request = append(request, "resp="+base64.StdEncoding.EncodeToString(first)) // the last parameter
	}
	if err := c.send(request...); err != nil {
		return r, "", err
	}
	for {
		answer, params, err := c.answer()
		if err != nil {
			return r, "", err
		}
		switch answer {
		case "OK":
			return d.accept(x, params)
		case "FAIL":
			return refusal(params), params["user"], nil
		}
		challenge, err := base64.StdEncoding.DecodeString(params[""])
		if err != nil {
			return r, "", errProtocol
		}
		response, err := x.Challenge(challenge)
		if err != nil {
			return esmtp.ReplyOf(err), "", nil
		}
		if err := c.send("CONT", "1", base64.StdEncoding.EncodeToString(response)); err != nil {
			return r, "", err
		}
	}
}

// accept takes Dovecot's OK. Its last word, a server signature, say, is a challenge in SMTP (RFC 4954 §4).
func (d *Dovecot) accept(x *esmtp.Exchange, params map[string]string) (r esmtp.Reply, user string, err error) {
	user = params["user"]
	if user == "" {
		return r, "", errProtocol
	}
	if last, ok := params["resp"]; ok {
		challenge, err := base64.StdEncoding.DecodeString(last)
		if err != nil {
			return r, "", errProtocol
		}
		if _, err := x.Challenge(challenge); err != nil {
			return esmtp.ReplyOf(err), user, nil
		}
	}
	x.Accept(esmtp.Credentials{User: user})
	return replyIn, user, nil
}

// refusal is the reply for Dovecot's FAIL. Its reason can be for the administrator's eyes.
func refusal(params map[string]string) esmtp.Reply {
	if _, ok := params["temp"]; ok || params["code"] == "temp_fail" {
		return replyTemporary
	}
	return replyOut
}

// addresses are the parameters that tell Dovecot where the client is, and that it is in TLS.
func addresses(s *esmtp.Session) (params []string) {
	for key, addr := range map[string]net.Addr{"r": s.RemoteAddr(), "l": s.LocalAddr()} {
		if host, port, err := net.SplitHostPort(addr.String()); err == nil {
			host, _, _ = strings.Cut(host, "%")
			params = append(params, key+"ip="+host, key+"port="+port)
		}
	}
	slices.Sort(params)
	if state := s.TLS(); state != nil {
		params = append(params, "secured=tls", "tls_cipher="+tls.CipherSuiteName(state.CipherSuite),
			"tls_protocol="+strings.ReplaceAll(tls.VersionName(state.Version), " ", "v"))
	}
	return params
}
