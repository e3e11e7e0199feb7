package esmtp

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// config is what a Server's fields come to, defaults filled in.
type config struct {
	of         *Server
	hostname   string
	newHandler func(*Session) Handler
	limits     Limits
	rates      Rates
	timeouts   Timeouts
	bare       BareNewlines
	badHeader  BadHeader
	strict     bool
	noEmpty    bool // empty command lines are passed over
	needHELO   bool
	tls        *tls.Config
	requireTLS bool

	requireAuth  bool
	insecureAuth bool
	lmtp         bool
	tolerate     []string

	trustXCLIENT, trustXFORWARD []netip.Prefix

	forbidEarly bool
	teaser      string
	texts       texts
	observer    Observer
	log         *slog.Logger
	access      *slog.Logger
}

// newConfig fills in the defaults.
func newConfig(srv *Server) config {
	cfg := config{
		of:         srv,
		hostname:   srv.Hostname,
		newHandler: srv.NewHandler,
		limits:     srv.Limits.resolve(),
		timeouts:   srv.Timeouts.resolve(),
		rates:      srv.Rates.resolve(),
		bare:       srv.BareNewlines,
		badHeader:  srv.BadHeader,
		strict:     srv.Strict,
		noEmpty:    srv.IgnoreEmptyLines,
		needHELO:   !srv.AllowNoHELO,
		tls:        newTLSConfig(srv.TLSConfig),
		requireTLS: srv.RequireTLS,

		requireAuth:  srv.RequireAuth,
		insecureAuth: srv.AllowInsecureAuth,
		lmtp:         srv.LMTP,
		tolerate:     slices.Clone(srv.TolerateParams),

		trustXCLIENT:  slices.Clone(srv.TrustXCLIENT),
		trustXFORWARD: slices.Clone(srv.TrustXFORWARD),

		forbidEarly: srv.ForbidEarly,
		teaser:      strings.Map(printable, srv.GreetingTeaser),
		observer:    srv.Observer,
		log:         srv.Logger,
		access:      srv.AccessLog,
	}
	if cfg.hostname == "" {
		cfg.hostname = systemHostname()
	}
	cfg.texts = newTexts(cfg.hostname, cfg.lmtp, &cfg.limits)
	if cfg.newHandler == nil {
		cfg.newHandler = func(*Session) Handler { return Default{} }
	}
	if cfg.log == nil {
		cfg.log = slog.Default()
	}
	if cfg.access == nil {
		cfg.access = cfg.log
	}
	return cfg
}

func systemHostname() string {
	name, err := os.Hostname()
	if err != nil || !isDomainOrLiteral(name) {
		return "localhost"
	}
	return name
}

// checkPort refuses LMTP where the Internet looks for SMTP (RFC 2033 §5).
func (c *config) checkPort(addr net.Addr) error {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.Port == 25 && c.lmtp {
		return errors.New("esmtp: LMTP must not be served on port 25 (RFC 2033 §5)")
	}
	return nil
}
