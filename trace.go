package esmtp

import (
	"net"
	"strconv"
	"strings"
	"time"
)

// AppendReceived appends a Received field to b, as every server that takes a message must put on top of it (RFC 5321 §4.4). rcpt names
// the recipient if not empty; leave it out when there is more than one, or they learn of each other (RFC 5321 §7.2). It can be called
// from MAIL to EOM.
//
//	Received: from client.example ([192.0.2.1])
//		by mx.example.org with ESMTP id 06qm4w.1
//		for <user@example.org>; Fri, 2 Jan 2026 15:04:05 +0000
func (s *Session) AppendReceived(b []byte, rcpt string) []byte {
	b = append(b, "Received: from "...)
	b = appendToken(b, s.helo)
	b = append(b, " ("...)
	if name, _ := s.RemoteName(); name != "" {
		b = append(append(b, name...), ' ')
	}
	b = append(b, addressLiteral(s.remote)...)
	b = append(b, ")\r\n\tby "...)
	b = append(b, s.Hostname()...)
	b = append(b, " with "...)
	b = append(b, s.Protocol()...)
	b = append(b, " id "...)
	b = append(b, s.tx.ID()...)
	if rcpt != "" {
		b = append(b, "\r\n\tfor <"...)
		b = append(b, rcpt...)
		b = append(b, '>')
	}
	if level, ok := s.tx.from.Priority(); ok { // RFC 6710 §4.1 (2), §7
		b = append(b, "\r\n\tPRIORITY "...)
		b = strconv.AppendInt(b, int64(level), 10)
	}
	b = append(b, "; "...)
	b = time.Now().AppendFormat(b, "Mon, 2 Jan 2006 15:04:05 -0700")
	return append(b, crlf...)
}

// addressLiteral writes an address for a Received field: "[192.0.2.1]", "[IPv6:2001:db8::1]", or "local" for a socket
// without addresses, or "unknown".
func addressLiteral(addr net.Addr) string {
	ip, ok := addrIP(addr)
	switch {
	case addr == unavailable{}:
		return "unknown"
	case !ok:
		return "local"
	case ip.Is4():
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.String() + "]"
}

// appendToken appends the name that a client gave. What has a meaning in a header field, such as a parenthesis, becomes '?': the name
// can't pretend to be more than a name.
func appendToken(b []byte, name string) []byte {
	if name == "" {
		return append(b, "unknown"...)
	}
	for i := range len(name) {
		c := name[i]
		if !isAlnum(c) && strings.IndexByte(".-_:[]", c) < 0 {
			c = '?'
		}
		b = append(b, c)
	}
	return b
}
