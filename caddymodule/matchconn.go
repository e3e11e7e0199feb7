package caddymodule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"
	"golang.org/x/net/idna"

	"github.com/caddy-esmtp/esmtp"
)

func init() {
	caddy.RegisterModule(new(MatchLocalPort))
	caddy.RegisterModule(new(MatchSNI))
	caddy.RegisterModule(new(MatchTLS))
	caddy.RegisterModule(new(MatchUnix))
}

// MatchLocalPort matches sessions by the port that the client connected to. Behind the PROXY protocol that is what the proxy says.
//
//	local_port <port...>
type MatchLocalPort struct {
	// Ports are numbers, such as 25, and ranges, such as 2525-2530. Placeholders are allowed.
	Ports []string `json:"ports"`

	list []portRange
}

type portRange struct{ first, last uint16 }

// parsePorts reads a port, or a range of ports.
func parsePorts(text string) (r portRange, err error) {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 16)
	last, err2 := strconv.ParseUint(to, 10, 16)
	if err1 != nil || err2 != nil || first == 0 || first > last {
		return r, fmt.Errorf("%q is no port and no range of ports, such as 25 or 2525-2530", text)
	}
	return portRange{uint16(first), uint16(last)}, nil
}

// CaddyModule returns the Caddy module information.
func (*MatchLocalPort) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.matchers.local_port", New: func() caddy.Module { return new(MatchLocalPort) }}
}

// Provision reads the ports.
func (m *MatchLocalPort) Provision(caddy.Context) error {
	m.list = nil
	for _, text := range m.Ports {
		text, err := replace("ports", text)
		if err != nil {
			return err
		}
		r, err := parsePorts(text)
		if err != nil {
			return err
		}
		m.list = append(m.list, r)
	}
	if len(m.list) == 0 {
		return errors.New("there are no ports to match")
	}
	return nil
}

// Match reports whether our port is one of them.
func (m *MatchLocalPort) Match(s *esmtp.Session) bool {
	port := addrPort(s.LocalAddr()).Port()
	for _, r := range m.list {
		if r.first <= port && port <= r.last {
			return true
		}
	}
	return false
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	local_port <port...>
func (m *MatchLocalPort) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return readWords(d, &m.Ports, "ports, such as 25 or 2525-2530", func() error { return m.Provision(caddy.Context{}) })
}

// MatchSNI matches sessions that are in TLS from the start, by the name of the server that the client asked for. The handshake of STARTTLS comes
// after the route is chosen: no such session matches, and its certificate goes by name anyway.
//
//	sni <name...>
type MatchSNI struct {
	// Names are host names. *.example.org stands for all with one label more. Placeholders are allowed.
	Names []string `json:"names"`

	list []string
}

// parseSNI reads a host name, whose first label can be an asterisk, as it is in a handshake.
func parseSNI(text string) (string, error) {
	name, wild := strings.CutPrefix(text, "*.")
	ascii, err := idna.Lookup.ToASCII(name)
	switch {
	case err != nil || ascii == "" || isIP(ascii) || strings.HasSuffix(ascii, "."): // RFC 6066 §3
		return "", fmt.Errorf("%q is no host name, such as mail.example.org or *.example.org", text)
	case wild:
		return "*." + ascii, nil
	}
	return ascii, nil
}

// CaddyModule returns the Caddy module information.
func (*MatchSNI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.matchers.sni", New: func() caddy.Module { return new(MatchSNI) }}
}

// Provision reads the names.
func (m *MatchSNI) Provision(caddy.Context) error {
	m.list = nil
	for _, text := range m.Names {
		text, err := replace("names", text)
		if err != nil {
			return err
		}
		name, err := parseSNI(text)
		if err != nil {
			return err
		}
		m.list = append(m.list, name)
	}
	if len(m.list) == 0 {
		return errors.New("there are no names to match")
	}
	return nil
}

// Match reports whether the client asked for one of the names.
func (m *MatchSNI) Match(s *esmtp.Session) bool {
	state := s.TLS()
	if state == nil || state.ServerName == "" {
		return false
	}
	for _, name := range m.list {
		if certmagic.MatchWildcard(strings.ToLower(state.ServerName), name) {
			return true
		}
	}
	return false
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	sni <name...>
func (m *MatchSNI) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return readWords(d, &m.Names, "host names, such as mail.example.org or *.example.org", func() error { return m.Provision(caddy.Context{}) })
}

// MatchTLS matches sessions that are in TLS from the start. STARTTLS comes after the route is chosen.
//
//	tls [client_certificate]
type MatchTLS struct {
	// ClientCertificate asks for a certificate of the client that was verified; see connection_policies of the setting tls.
	ClientCertificate bool `json:"client_certificate,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*MatchTLS) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.matchers.tls", New: func() caddy.Module { return new(MatchTLS) }}
}

// Match reports whether the session is in TLS.
func (m *MatchTLS) Match(s *esmtp.Session) bool {
	state := s.TLS()
	return state != nil && (!m.ClientCertificate || len(state.VerifiedChains) > 0)
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	tls [client_certificate]
func (m *MatchTLS) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		for d.NextArg() {
			if d.Val() != "client_certificate" {
				return d.Errf("tls takes client_certificate or nothing, not %q", d.Val())
			}
			m.ClientCertificate = true
		}
		if d.NextBlock(0) {
			return d.Err("tls takes no block as a matcher")
		}
	}
	return nil
}

// MatchUnix matches sessions that came by a Unix socket.
//
//	unix
type MatchUnix struct{}

// CaddyModule returns the Caddy module information.
func (*MatchUnix) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "esmtp.matchers.unix", New: func() caddy.Module { return new(MatchUnix) }}
}

// Match reports whether our end is a Unix socket.
func (*MatchUnix) Match(s *esmtp.Session) bool { return s.LocalAddr().Network() == "unix" }

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	unix
func (*MatchUnix) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		if d.NextArg() || d.NextBlock(0) {
			return d.Err("unix takes no argument")
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner = (*MatchLocalPort)(nil)
	_ caddy.Provisioner = (*MatchSNI)(nil)
	_ Matcher           = (*MatchLocalPort)(nil)
	_ Matcher           = (*MatchSNI)(nil)
	_ Matcher           = (*MatchTLS)(nil)
	_ Matcher           = (*MatchUnix)(nil)
)
