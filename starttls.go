package esmtp

import (
	"cmp"
	"crypto/tls"
	"errors"
	"slices"
	"time"
)

// handshakeTime is how long a client has for a TLS handshake.
const handshakeTime = time.Minute

// doSTARTTLS carries out STARTTLS (RFC 3207).
func (s *Session) doSTARTTLS(arg []byte) {
	switch {
	case len(arg) > 0:
		s.reply(verbSTARTTLS, replyNoArg("STARTTLS"))
	case s.secure:
		s.reply(verbSTARTTLS, replyTLSAlready)
	case s.cfg.tls == nil || s.esmtp && !s.offered(extSTARTTLS):
		s.reply(verbSTARTTLS, replyNoTLS)
	case !s.esmtp:
		s.reply(verbSTARTTLS, replyNeedEHLO)
	case s.in.pending():
		// What came behind STARTTLS came in the clear, perhaps from somebody in between: it must not be taken for what the client
		// says inside TLS (RFC 3207 §4.2; CVE-2011-0411).
		s.reply(verbSTARTTLS, replyTLSInjection)
		s.reason = ErrProtocol
	case s.overRate(eventHandshake, s.cfg.rates.Handshakes):
		s.reply(verbSTARTTLS, replyTLSTooFast)
	default:
		r := s.checkReply("STARTTLS", s.callSTARTTLS(), isSTARTTLS)
		s.reply(verbSTARTTLS, r)
		if r.Code == 220 && !s.leaving {
			s.upgrade()
		}
	}
}

// upgrade does the handshake, and forgets all that came before it. After a handshake that failed nothing more is written: it would be
// in the clear.
func (s *Session) upgrade() {
	conn := tls.Server(s.conn, s.cfg.tls)
	took, err := s.shakeHands(conn)
	if err != nil {
		s.leaving = true
		s.reason = errors.Join(ErrTLS, err)
		return
	}
	s.conn = conn
	s.setSecure()
	s.forget()
	s.in.release()
	s.in.init(conn)
	s.endTransaction() // RFC 3207 §4.2
	s.withdraw()
	s.securedIn(took, nil)
	s.guard("Secured", func() { s.h.Secured(s) })
}

// newTLSConfig completes a TLS configuration of the user's: TLS 1.2 at least (RFC 8314 §4.1, RFC 9325 §3.1.1), and the protocol name "smtp", so that
// a client that wants to speak another one is refused in the handshake (RFC 7301 §3.2; the attack ALPACA).
func newTLSConfig(config *tls.Config) *tls.Config {
	if config == nil {
		return nil
	}
	config = config.Clone()
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	if len(config.NextProtos) == 0 {
		config.NextProtos = []string{"smtp"}
	}
	return config
}

// certificateError tells why there is no certificate for us, if the configuration can be asked.
func (s *Session) certificateError() error {
	c := s.cfg.tls
	if c == nil {
		return nil
	}
	name := s.Hostname()
	if name[0] == '[' {
		name = "" // an address literal is no server name (RFC 6066 §3)
	}
	hello := &tls.ClientHelloInfo{
		ServerName:        name,
		SupportedVersions: []uint16{tls.VersionTLS13, tls.VersionTLS12},
		CipherSuites:      cipherSuites,
		SignatureSchemes:  []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.PSSWithSHA256, tls.PKCS1WithSHA256, tls.Ed25519},
		SupportedCurves:   []tls.CurveID{tls.X25519, tls.CurveP256},
		SupportedPoints:   []uint8{0},
		Conn:              s.conn,
	}
	if c.GetConfigForClient != nil {
		special, err := c.GetConfigForClient(hello)
		if err != nil {
			return err
		}
		c = cmp.Or(special, c)
	}
	if len(c.Certificates) > 0 || c.GetCertificate == nil {
		return nil
	}
	_, err := c.GetCertificate(hello)
	return err
}

var cipherSuites = slices.Collect(func(yield func(uint16) bool) {
	for _, suite := range tls.CipherSuites() {
		if !yield(suite.ID) {
			return
		}
	}
})
