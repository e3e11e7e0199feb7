package esmtp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"strings"

	"github.com/xdg-go/scram"
)

// scramServer is SCRAM (RFC 5802, RFC 7677).
type scramServer struct {
	x       *Exchange
	conv    *scram.ServerConversation
	started bool
}

// newSCRAM begins a conversation; with a binding it is a -PLUS mechanism.
func newSCRAM(x *Exchange, hash scram.HashGeneratorFcn, binding *scram.ChannelBinding) *scramServer {
	server, err := hash.NewServer(func(user string) (scram.StoredCredentials, error) { return x.storedKeys(hash, user) })
	if err != nil {
		return &scramServer{x: x}
	}
	if binding != nil {
		return &scramServer{x: x, conv: server.NewConversationWithChannelBindingRequired(*binding)}
	}
	return &scramServer{x: x, conv: server.NewConversation()}
}

func (c *scramServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case response == nil && !c.started:
		c.started = true
		return []byte{}, false, nil
	case c.conv == nil:
		return nil, true, replyAuthTemporary
	case c.conv.Done(): // the client has read the server's signature
		return nil, true, nil
	}
	c.started = true
	text, err := c.conv.Step(string(response))
	switch {
	case err != nil && c.conv.Username() != "":
		c.x.who.User, c.x.verdict = c.conv.Username(), replyAuthFailed
		return nil, true, err
	case err != nil:
		return nil, true, err
	case c.conv.Done() && c.conv.Valid():
		if err := c.x.authenticate(Credentials{User: c.conv.Username(), Identity: c.conv.AuthzID(), Verified: true}); err != nil {
			return nil, true, err
		}
	}
	return []byte(text), false, nil
}

// fakeSecret salts the answers about users that don't exist, so that they look like those that do.
var fakeSecret = []byte(rand.Text())

// scramIterations is how often a password is hashed, if it is there in the clear (RFC 7677 §4).
const scramIterations = 4096

// storedKeys returns the keys of a user. Nobody can tell from the salt whether there is one.
func (x *Exchange) storedKeys(hash scram.HashGeneratorFcn, user string) (scram.StoredCredentials, error) {
	secret, known := x.s.h.Secret(x.s, strings.TrimSuffix(x.mechanism, "-PLUS"), user)
	if known && len(secret.SCRAM.StoredKey) > 0 {
		k := &secret.SCRAM
		factors := scram.KeyFactors{Salt: string(k.Salt), Iters: k.Iterations}
		return scram.StoredCredentials{KeyFactors: factors, StoredKey: k.StoredKey, ServerKey: k.ServerKey}, nil
	}
	mac := hmac.New(sha256.New, fakeSecret)
	mac.Write([]byte(user))
	salt := mac.Sum(nil)[:16]
	password := secret.Password
	if !known || password == "" {
		password = rand.Text()
	}
	client, err := hash.NewClient(user, password, "")
	if err != nil {
		return scram.StoredCredentials{}, err
	}
	return client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: scramIterations})
}

// channelBinding returns what binds SCRAM to this TLS connection, nil outside TLS: tls-exporter with TLS 1.3 (RFC 9266).
func (s *Session) channelBinding() *scram.ChannelBinding {
	state := s.TLS()
	if state == nil || state.Version < tls.VersionTLS13 {
		return nil
	}
	binding, err := scram.NewTLSExporterBinding(state)
	if err != nil {
		return nil
	}
	return &binding
}
