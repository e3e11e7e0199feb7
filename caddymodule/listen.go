package caddymodule

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
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

// addressKey names the socket of an address: the same for the same socket, however it is written. It is empty if the port is for the kernel to choose.
func addressKey(addr address) string { return strings.Join(addressKeys(addr), " ") }

// addressKeys are what the socket of an address takes, such as a port of IPv4 and that of IPv6. Two addresses that have one of them in common can't both be
// had: Caddy's sockets would let them (SO_REUSEPORT), and the kernel deal the clients out between them.
func addressKeys(addr address) []string {
	switch {
	case addr.IsUnixNetwork() && addr.isAbstract():
		return []string{addr.Network + "/" + addr.path()}
	case addr.IsUnixNetwork():
		return []string{addr.Network + "/" + filepath.Clean(addr.path())}
	case addr.IsFdNetwork() || !strings.HasPrefix(addr.Network, "tcp"):
		return []string{addr.NetworkAddress.String()}
	case addr.StartPort == 0:
		return nil
	}
	port := strconv.FormatUint(uint64(addr.StartPort), 10)
	switch host := hostKey(addr.Host); {
	case host != "*":
		return []string{net.JoinHostPort(host, port)}
	case addr.Network == "tcp":
		return []string{"tcp4/*:" + port, "tcp6/*:" + port} // Go listens for both, even if the address is 0.0.0.0
	default:
		return []string{addr.Network + "/*:" + port}
	}
}

// hostKey is the one way to write a host: "*" is every address of this machine.
func hostKey(host string) string {
	if host == "localhost" {
		return "127.0.0.1" // which Go prefers
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "", err == nil && ip.IsUnspecified():
		return "*"
	case err == nil:
		return ip.Unmap().String() // IPv6 has many ways to write one
	}
	return strings.ToLower(host)
}

// places tells where addresses were given.
type places map[string]string

// take notes that an address was given here. If it was given before it returns where.
func (p places) take(addr address, here string) (before string) {
	keys := addressKeys(addr)
	for _, key := range keys {
		if before := p[key]; before != "" {
			return before
		}
	}
	for _, key := range keys {
		p[key] = here
	}
	return ""
}
