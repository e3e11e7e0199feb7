package caddymodule

import (
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"

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
	tls  bool        // from the start
	mode fs.FileMode // of a Unix socket
}

// path is the file of a Unix socket.
func (a address) path() string {
	path, _, _ := strings.Cut(a.Host, "|") // without permissions
	return path
}

// isAbstract reports whether a Unix socket has no file (unix(7)).
func (a address) isAbstract() bool { return strings.HasPrefix(a.Host, "@") }

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
	var mode fs.FileMode
	if na.IsUnixNetwork() {
		if mode, err = permissions(na.Host); err != nil {
			return nil, fmt.Errorf("address %q: %w", s, err)
		}
	}
	var addrs []address
	for _, port := range na.Expand() {
		implicit := scheme || strings.HasPrefix(port.Network, "tcp") && port.StartPort == submissionsPort
		addrs = append(addrs, address{port, implicit, mode})
	}
	return addrs, nil
}

// permissions are those that stand behind the path of a Unix socket, and Caddy's 0200 if there are none.
func permissions(host string) (fs.FileMode, error) {
	_, text, given := strings.Cut(host, "|")
	if !given {
		return 0o200, nil
	}
	mode, err := strconv.ParseUint(text, 8, 9)
	if err != nil || mode&0o200 == 0 {
		return 0, fmt.Errorf("permissions %q are not an octal number in which the owner may write, such as 0660", text)
	}
	return fs.FileMode(mode), nil
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
		return addr.Network + "/" + addr.path()
	}
	if addr.StartPort == 0 && !addr.IsFdNetwork() {
		return ""
	}
	na := addr.NetworkAddress
	if ip, err := netip.ParseAddr(na.Host); err == nil {
		na.Host = ip.Unmap().String() // IPv6 has many ways to write one
	}
	return na.String()
}
