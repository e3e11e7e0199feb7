package esmtp

import (
	"net"
	"net/netip"
	"strings"
)

// NameStatus tells what [Session.RemoteName] knows.
type NameStatus uint8

// The states of a client's name.
const (
	NameUnknown   NameStatus = iota // nobody said: look it up
	NameFound                       // a name that was verified
	NameNotFound                    // the client has none
	NameTemporary                   // looking it up failed for now
)

// claim is what a trusted client has said with XCLIENT about the client that it speaks for.
type claim struct {
	peer, here     net.Addr // the ends of the connection itself
	name           string
	nameStatus     NameStatus
	ends           claimedEnds
	hasAddr, hasTo bool // the ends differ from those of the connection
}

// claimedEnds are the addresses as attributes: an invalid one is not available.
type claimedEnds struct {
	addr, destAddr netip.Addr
	port, destPort uint16
}

// xclient is what one XCLIENT sets beside that. It holds until the next one: who says nothing of them then, forgets them.
type xclient struct {
	claim
	helo, proto, login string
}

// PeerAddr returns the address that the connection comes from. It is [Session.RemoteAddr], unless XCLIENT said that the client
// speaks for another one.
func (s *Session) PeerAddr() net.Addr {
	if s.claim != nil {
		return s.claim.peer
	}
	return s.remote
}

// RemoteName returns the client's host name, as XCLIENT gave it, and what is known of it. The engine itself looks up nothing.
func (s *Session) RemoteName() (name string, status NameStatus) {
	if s.claim == nil {
		return "", NameUnknown
	}
	return s.claim.name, s.claim.nameStatus
}

// doXCLIENT carries out XCLIENT (Postfix XCLIENT_README): the session begins anew, as if another client had just connected.
func (s *Session) doXCLIENT(arg []byte) {
	if r := s.mayUse(extXCLIENT, s.cfg.trustXCLIENT); !r.IsZero() {
		s.reply(verbXCLIENT, r)
		return
	}
	x := s.newXCLIENT()
	if r := s.setAttributes(string(arg), xclientLine, x.set); !r.IsZero() {
		s.reply(verbXCLIENT, r)
		return
	}
	s.startAnew()
	fewEnough := s.srv.admitClaim(s, &x.claim)
	if !fewEnough {
		s.limited(LimitConnectionsPerAddress)
	}
	fewEnough = fewEnough && !s.overRate(eventConnection, s.srv.cfg.rates.Connections)
	s.introduce(x.helo, x.proto == "ESMTP")
	s.mu.Lock()
	if s.user = x.login; x.login != "" {
		s.authMechanism = "XCLIENT"
	}
	s.mu.Unlock()
	s.Logger().Info("XCLIENT", "name", x.name, "helo", x.helo, "user", x.login, "local", s.local.String())
	if !fewEnough {
		s.bye(replyTooManyPeer, ErrTooMany)
		return
	}
	s.reply(verbHELO, s.connect()) // which has no enhanced status code either
}

// newXCLIENT begins with what the XCLIENT before it said.
func (s *Session) newXCLIENT() *xclient {
	if s.claim != nil {
		return &xclient{claim: *s.claim}
	}
	return &xclient{claim: claim{peer: s.remote, here: s.local, ends: claimedEnds{
		addr: ipOf(s.remote), port: portOf(s.remote), destAddr: ipOf(s.local), destPort: portOf(s.local),
	}}}
}

func (x *xclient) set(name, value string) bool {
	switch name {
	case "NAME":
		return x.setName(value)
	case "ADDR":
		if !x.hasAddr {
			x.ends.port = 0 // that was the port of the connection
		}
		x.hasAddr = true
		return setAddr(&x.ends.addr, value)
	case "PORT":
		x.hasAddr = true
		return setPort(&x.ends.port, value)
	case "DESTADDR":
		x.hasTo = true
		return setAddr(&x.ends.destAddr, value)
	case "DESTPORT":
		x.hasTo = true
		return setPort(&x.ends.destPort, value)
	case "HELO":
		return setText(&x.helo, value, maxDomain)
	case "PROTO":
		x.proto = strings.ToUpper(value)
		return x.proto == "SMTP" || x.proto == "ESMTP"
	}
	if x.login = value; isUnavailable(value) { // LOGIN
		x.login = ""
	}
	return true
}

func (x *xclient) setName(value string) bool {
	x.name, x.nameStatus = "", NameNotFound
	switch {
	case isUnavailable(value):
		return true
	case equalFold(value, "[TEMPUNAVAIL]"):
		x.nameStatus = NameTemporary
		return true
	}
	x.name, x.nameStatus = value, NameFound
	_, rest, ok := scanDomain([]byte(value), true)
	return ok && len(rest) == 0 && isASCII(value) && value[0] != '['
}

// startAnew forgets all that the client said, as far as the connection lets it: TLS stays, and so do the counts of what was done.
func (s *Session) startAnew() {
	s.endTransaction()
	s.withdraw()
	s.forget()
	s.maxSize, s.maxRcpts, s.maxMails = s.cfg.limits.MessageBytes, s.cfg.limits.Recipients, s.cfg.limits.Messages
	s.chunkSize = chunkBuffer
	s.verbs = nil
	s.log = nil
}

// admitClaim gives s the addresses of a claim, counts it for the client's, and reports whether that has few enough.
func (srv *Server) admitClaim(s *Session, c *claim) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.discount(s)
	s.claim = c
	s.remote, s.local = c.peer, c.here
	if c.hasAddr {
		s.remote = tcpAddr(c.ends.addr, c.ends.port)
	}
	if c.hasTo {
		s.local = tcpAddr(c.ends.destAddr, c.ends.destPort)
	}
	return srv.count(s)
}

// unavailable is an address that XCLIENT says is not known.
type unavailable struct{}

func (unavailable) Network() string { return "unavailable" }
func (unavailable) String() string  { return "unavailable" }

func tcpAddr(addr netip.Addr, port uint16) net.Addr {
	if !addr.IsValid() {
		return unavailable{}
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, port))
}

func ipOf(addr net.Addr) netip.Addr {
	ip, _ := addrIP(addr)
	return ip
}

func portOf(addr net.Addr) uint16 {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return uint16(tcp.Port)
	}
	return 0
}
