package smtpclient

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

// mechanism is the client's side of a SASL mechanism (RFC 4422). Step 0 asks for the initial response, nil if there is none; the steps from 1 on
// are the server's challenges; success is asked in the end whether the server may be believed.
type mechanism func(step int, challenge []byte) (response []byte, err error)

var (
	errChallenge = errors.New("unexpected challenge")
	errServer    = errors.New("the server did not prove who it is")
)

// newMechanism returns a mechanism by its name, nil for one that is not known, or needs what there is not. plus tells that the server has it
// with channel binding too.
func (c *Conn) newMechanism(name string, plus bool) mechanism {
	a := c.opts.Auth
	switch name {
	case "PLAIN": // RFC 4616
		return oneStep(a.Identity+"\x00"+a.User+"\x00"+a.Password, nil)
	case "EXTERNAL": // RFC 4422 appendix A
		return oneStep(a.Identity, nil)
	case "LOGIN":
		return a.login
	case "CRAM-MD5": // RFC 2195
		return a.cramMD5
	case "OAUTHBEARER": // RFC 7628: a refusal comes as a challenge, and is taken note of by ^A
		who := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(a.User)
		if who != "" {
			who = "a=" + who
		}
		return oneStep("n,"+who+",\x01auth=Bearer "+a.Token+"\x01\x01", []byte{1})
	case "XOAUTH2":
		return oneStep("user="+a.User+"\x01auth=Bearer "+a.Token+"\x01\x01", []byte{})
	case "SCRAM-SHA-1":
		return c.scram(scram.SHA1, false, plus)
	case "SCRAM-SHA-256":
		return c.scram(scram.SHA256, false, plus)
	case "SCRAM-SHA-1-PLUS":
		return c.scram(scram.SHA1, true, true)
	case "SCRAM-SHA-256-PLUS":
		return c.scram(scram.SHA256, true, true)
	}
	return nil
}

// oneStep is a mechanism that says all at once. To a challenge after that it can answer with something, if not nil.
func oneStep(initial string, again []byte) mechanism {
	return func(step int, _ []byte) ([]byte, error) {
		switch {
		case step == 0:
			return []byte(initial), nil
		case step == success:
			return nil, nil
		case step == 1 && again != nil:
			return again, nil
		}
		return nil, errChallenge
	}
}

// login asks for user and password one after the other, in words that differ from server to server.
func (a *Auth) login(step int, _ []byte) ([]byte, error) {
	switch step {
	case 0, success:
		return nil, nil
	case 1:
		return []byte(a.User), nil
	case 2:
		return []byte(a.Password), nil
	}
	return nil, errChallenge
}

func (a *Auth) cramMD5(step int, challenge []byte) ([]byte, error) {
	switch step {
	case 0, success:
		return nil, nil
	case 1:
		mac := hmac.New(md5.New, []byte(a.Password))
		mac.Write(challenge)
		return []byte(a.User + " " + hex.EncodeToString(mac.Sum(nil))), nil
	}
	return nil, errChallenge
}

// scram is SCRAM (RFC 5802), with channel binding if bind is set: by tls-exporter, which only TLS 1.3 has (RFC 9266). If we could but the server
// doesn't offer it, we say so: then it notices when somebody between took it away (RFC 5802 §6).
func (c *Conn) scram(hash scram.HashGeneratorFcn, bind, plus bool) mechanism {
	a := c.opts.Auth
	client, err := hash.NewClient(a.User, a.Password, a.Identity)
	if err != nil {
		return nil // a name or password that SASLprep doesn't allow
	}
	var binding scram.ChannelBinding
	can := false
	if c.tls != nil && c.tls.Version >= tls.VersionTLS13 {
		binding, err = scram.NewTLSExporterBinding(c.tls)
		can = err == nil
	}
	var conv *scram.ClientConversation
	switch {
	case bind && !can:
		return nil
	case bind:
		conv = client.NewConversationWithChannelBinding(binding)
	case can && !plus:
		conv = client.NewConversationAdvertisingChannelBinding()
	default:
		conv = client.NewConversation()
	}
	return func(step int, challenge []byte) ([]byte, error) {
		if step == success {
			if !conv.Valid() {
				return nil, errServer
			}
			return nil, nil
		}
		if step == 1 && iterations(string(challenge)) > maxIterations {
			return nil, fmt.Errorf("%w: too many iterations", errChallenge)
		}
		response, err := conv.Step(string(challenge))
		return []byte(response), err
	}
}

// maxIterations is how much work a server may ask of us for a login: about a second.
const maxIterations = 1_000_000

// iterations reads i= of the server's first message (RFC 5802 §7).
func iterations(challenge string) int {
	for attr := range strings.SplitSeq(challenge, ",") {
		if digits, ok := strings.CutPrefix(attr, "i="); ok {
			n, err := strconv.Atoi(digits)
			if err != nil {
				return maxIterations + 1
			}
			return n
		}
	}
	return 0
}
