package caddymodule

import (
	"io"
	"slices"
	"strings"
)

// protocol is what a client speaks, as far as its first octets tell.
type protocol int

const (
	undecided protocol = iota
	web
	mail
)

// protocolSMTP is the protocol name (ALPN) of mail.
const protocolSMTP = "smtp"

// tlsHandshake is the first octet of a TLS connection (RFC 8446 §5.1).
const tlsHandshake = 0x16

// longestWord bounds how much is read of a first word that is known to nobody.
const longestWord = 32

// The words that clients begin with. That of a web client doesn't have to be in the list; what is in it is recognized by its first letters.
var (
	httpMethods = strings.Fields(`GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH QUERY PRI
		ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT COPY LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE
		ORDERPATCH PROPFIND PROPPATCH REBIND REPORT SEARCH UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL`)
	smtpVerbs = strings.Fields(`HELO EHLO LHLO MAIL RCPT DATA BDAT RSET VRFY EXPN HELP NOOP QUIT STARTTLS AUTH ETRN TURN ATRN
		SEND SOML SAML BURL XCLIENT XFORWARD`)
)

// recognize tells what a client speaks from the first octets that it sent: as few of them as will do. What follows those doesn't
// matter, and so neither does how they were cut into packets.
func recognize(p []byte) protocol {
	for n := 1; n <= len(p); n++ {
		if proto := recognizeAll(p[:n]); proto != undecided {
			return proto
		}
	}
	return undecided
}

// recognizeAll tells what p is, if all but its last octet left that open.
func recognizeAll(p []byte) protocol {
	word, last := strings.ToUpper(string(p[:len(p)-1])), p[len(p)-1]
	switch {
	case p[0] == tlsHandshake:
		return web
	case last == ' ' && word != "" && !slices.Contains(smtpVerbs, word):
		return web // METHOD SP (RFC 9112 §3)
	case !isWordOctet(last) || len(p) > longestWord:
		return mail
	case hasPrefix(httpMethods, string(p)) && !hasPrefix(smtpVerbs, strings.ToUpper(string(p))): // methods are case-sensitive (RFC 9110 §9.1)
		return web
	}
	return undecided
}

func isWordOctet(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func hasPrefix(words []string, prefix string) bool {
	return slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(word, prefix) })
}

// isWeb is the matcher for cmux. It reads until it knows, or can read no more: the time is up, or the client is gone.
func isWeb(r io.Reader) bool {
	var first [longestWord + 1]byte
	for n := 0; n < len(first); {
		more, err := r.Read(first[n:])
		n += more
		if proto := recognize(first[:n]); proto != undecided {
			return proto == web
		}
		if err != nil {
			return false
		}
	}
	return false
}
