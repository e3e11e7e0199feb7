package proxy

import (
	"net"
	"net/netip"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// Forward is how to tell the next hop who the client is.
type Forward uint8

// The ways. The next hop must be told to believe us; one that doesn't know XCLIENT is passed over.
const (
	ForwardNothing  Forward = iota // we are the client
	ForwardXCLIENT                 // the next hop takes the client for its own: its checks apply (Postfix XCLIENT_README)
	ForwardXFORWARD                // for its log only (Postfix XFORWARD_README)
	ForwardPROXY                   // the PROXY protocol, version 2: the addresses, and what is known of TLS
)

// String returns "nothing", "xclient", "xforward" or "proxy".
func (f Forward) String() string { return [...]string{"nothing", "xclient", "xforward", "proxy"}[f] }

// claim is what a connection to the next hop says of the client. If that changes another connection is needed.
type claim struct {
	client smtpclient.XClient
	tls    bool
}

// claimFor is what to say of a session's client.
func (p *Proxy) claimFor(s *esmtp.Session) (c claim) {
	if p.Forward != ForwardXCLIENT && p.Forward != ForwardPROXY {
		return c
	}
	x := &c.client
	x.Addr, x.Dest = addrPort(s.RemoteAddr()), addrPort(s.LocalAddr())
	c.tls = s.TLS() != nil
	if p.Forward == ForwardPROXY {
		return c
	}
	x.Name, _ = s.RemoteName()
	x.HELO, x.Login = s.HELO(), s.User()
	if x.Proto = "SMTP"; s.ESMTP() {
		x.Proto = "ESMTP"
	}
	return c
}

// canForward reports whether the client can be named to the next hop at all. If we must name it and can't, the next hop would take it for us, whom it
// trusts. A client on a Unix socket is on this machine.
func (p *Proxy) canForward(s *esmtp.Session) bool {
	if p.Forward != ForwardXCLIENT && p.Forward != ForwardPROXY {
		return true
	}
	addr := s.RemoteAddr()
	return addrPort(addr).IsValid() || addr.Network() == "unix"
}

// forward puts the claim into the options of a connection. Without a session we speak for ourselves.
func (p *Proxy) forward(s *esmtp.Session, c claim, opts *smtpclient.Options) {
	switch p.Forward {
	case ForwardXCLIENT:
		if c != (claim{}) {
			opts.XClient = &c.client
		}
	case ForwardPROXY:
		opts.Proxy = new(smtpclient.Proxy)
		if c.client.Addr.IsValid() {
			*opts.Proxy = smtpclient.Proxy{Client: s.RemoteAddr(), Local: s.LocalAddr(), TLS: s.TLS()}
		}
	}
}

// forwarded is what XFORWARD says of a transaction: what it was told itself, if somebody before us did.
func forwarded(s *esmtp.Session) *esmtp.Forwarded {
	if f := s.Forwarded(); f.Given {
		return &f
	}
	client := addrPort(s.RemoteAddr())
	f := &esmtp.Forwarded{Given: true, Addr: client.Addr(), Port: client.Port(), HELO: s.HELO(), Proto: s.Protocol(),
		Ident: s.Transaction().ID(), Source: "REMOTE"}
	f.Name, _ = s.RemoteName()
	if !client.IsValid() {
		f.Source = "LOCAL"
	}
	return f
}

// addrPort is a TCP address; the zero AddrPort for any other.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
