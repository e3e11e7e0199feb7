package caddymodule

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// defaultPort is the port of an address without one (RFC 5321 §4.5.4.2).
const defaultPort = 25

// submissionsPort is for TLS from the start (RFC 8314 §7.3).
const submissionsPort = 465

// schemeTLS stands before an address that is in TLS from the start.
const schemeTLS = "tls://"

// address is a network address, of one port.
type address struct {
	caddy.NetworkAddress
	tls bool // from the start
}

// isLocal reports whether nobody but this machine can connect.
func (a address) isLocal() bool {
	if a.IsUnixNetwork() || a.Host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(a.Host)
	return err == nil && ip.IsLoopback()
}

// parseAddress reads a network address, and returns one for each of its ports. It finds mistakes that Caddy would find only when it
// listens, with a look-up in the DNS.
func parseAddress(s string) ([]address, error) {
	text, scheme := strings.CutPrefix(s, schemeTLS)
	na, err := caddy.ParseNetworkAddressWithDefaults(text, "tcp", defaultPort)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", s, err)
	}
	switch {
	case strings.HasPrefix(na.Network, "udp"), strings.HasPrefix(na.Network, "ip"), na.Network == "unixgram",
		na.Network == "unixpacket", na.Network == "fdgram":
		return nil, fmt.Errorf("address %q: mail needs a stream, such as tcp or unix, not %s", s, na.Network)
	case na.IsUnixNetwork() || na.IsFdNetwork():
		if na.Host == "" {
			return nil, fmt.Errorf("address %q: there is nothing behind the slash", s)
		}
	case !isHost(na.Host):
		return nil, fmt.Errorf("address %q: %q is neither an IP address nor a host name", s, na.Host)
	}
	var addrs []address
	for _, port := range na.Expand() {
		addrs = append(addrs, address{port, scheme || strings.HasPrefix(port.Network, "tcp") && port.StartPort == submissionsPort})
	}
	return addrs, nil
}

func isHost(host string) bool {
	if host == "" {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return !strings.ContainsFunc(host, func(c rune) bool {
		return c <= ' ' || strings.ContainsRune(`:/\[]{}"@,|`, c)
	})
}

// addressKey names the socket of an address: the same for two addresses that can't both be had. It is empty if the port is for the
// kernel to choose.
func addressKey(addr address) string {
	if addr.IsUnixNetwork() {
		path, _, _ := strings.Cut(addr.Host, "|") // without permissions
		return addr.Network + "/" + path
	}
	if addr.StartPort == 0 && !addr.IsFdNetwork() {
		return ""
	}
	return addr.String()
}

// listen opens the socket of an address.
func listen(addr address) (net.Listener, error) {
	opened, err := addr.Listen(context.Background(), 0, net.ListenConfig{})
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", addr, err)
	}
	l, ok := opened.(net.Listener)
	if !ok {
		return nil, fmt.Errorf("listening on %s: mail needs a stream, not %T", addr, opened)
	}
	return &onceListener{Listener: l}, nil
}

// onceListener is closed once only: Caddy counts how often a socket is closed.
type onceListener struct {
	net.Listener
	once sync.Once
	err  error
}

func (l *onceListener) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}
