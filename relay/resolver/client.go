package resolver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Config says whom a [Client] asks, and how.
type Config struct {
	// Servers are asked in this order. None: those of /etc/resolv.conf, or 127.0.0.1 if there are none.
	Servers []netip.AddrPort

	// Trust says that the AD bit of all the servers can be believed, because the way to them is safe. Loopback addresses are always
	// trusted.
	Trust bool

	// Timeout is how long to wait for one answer. Zero: 5 s.
	Timeout time.Duration

	// Tries is how many times each server is asked before giving up. Zero: 2.
	Tries int

	// CacheSize is how many answers are kept. Zero: 10,000; negative: none.
	CacheSize int
}

// Client asks recursive resolvers over UDP, and TCP for long answers. It keeps answers as long as their TTL allows, and no more than an hour.
// It is a [Resolver]; it has nothing to be closed.
type Client struct {
	config Config
	cache  cache
}

// New makes a Client. It reads /etc/resolv.conf if it must, once.
func New(config Config) (*Client, error) {
	if len(config.Servers) == 0 {
		servers, err := systemServers("/etc/resolv.conf")
		if err != nil {
			return nil, err
		}
		config.Servers = servers
	}
	if config.Timeout <= 0 {
		config.Timeout = 5 * time.Second
	}
	if config.Tries <= 0 {
		config.Tries = 2
	}
	if config.CacheSize == 0 {
		config.CacheSize = 10_000
	}
	return &Client{config: config, cache: newCache(config.CacheSize)}, nil
}

// systemServers reads the servers of a resolv.conf; without any it is the one on this machine, as resolv.conf(5) says.
func systemServers(file string) ([]netip.AddrPort, error) {
	conf, err := dns.ClientConfigFromFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("resolver: %s: %w", file, err)
	}
	var servers []netip.AddrPort
	if err == nil {
		for _, s := range conf.Servers {
			if addr, err := netip.ParseAddr(s); err == nil {
				servers = append(servers, netip.AddrPortFrom(addr, 53))
			}
		}
	}
	if len(servers) == 0 {
		servers = append(servers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53))
	}
	return servers, nil
}

// Lookup implements [Resolver].
func (c *Client) Lookup(ctx context.Context, name string, t Type) (Answer, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !IsName(name) {
		return Answer{}, fmt.Errorf("%w: %q", ErrName, name)
	}
	key := question{name, t}
	if a, err, ok := c.cache.get(key); ok {
		return a, err
	}
	var last error
	for range c.config.Tries {
		for _, server := range c.config.Servers {
			msg, err := c.exchange(ctx, key, server)
			if ctx.Err() != nil {
				return Answer{}, fmt.Errorf("resolver: %s: %w", name, context.Cause(ctx))
			}
			if err != nil {
				last = fmt.Errorf("%w: %s at %s: %w", ErrTemporary, name, server, err)
				continue
			}
			trusted := c.config.Trust || server.Addr().Unmap().IsLoopback()
			a, ttl, err := read(msg, key, trusted)
			if errors.Is(err, ErrTemporary) {
				last = err
				continue
			}
			c.cache.put(key, a, err, ttl)
			return a, err
		}
	}
	return Answer{}, last
}

// udpSize is what we can take by UDP: what fits into one packet nearly everywhere.
const udpSize = 1232

// exchange asks one server, again without EDNS if it doesn't know that (RFC 6891 §7), and by TCP if the answer by UDP is cut off.
func (c *Client) exchange(ctx context.Context, q question, server netip.AddrPort) (*dns.Msg, error) {
	msg := new(dns.Msg).SetQuestion(dns.Fqdn(q.name), uint16(q.t))
	msg.AuthenticatedData = true // RFC 6840 §5.7: tell us whether it is authentic
	msg.SetEdns0(udpSize, false)
	network := "udp"
	for range 3 {
		r, err := c.ask(ctx, msg, network, server)
		switch {
		case err != nil:
			return nil, err
		case !answers(r, q): // it could be a forgery
			return nil, errors.New("an answer to another question")
		case r.Rcode == dns.RcodeFormatError && msg.IsEdns0() != nil:
			msg.Extra = nil
		case r.Truncated && network == "udp":
			network = "tcp"
		case r.Truncated:
			return nil, errors.New("cut off by TCP too")
		default:
			return r, nil
		}
	}
	return nil, errors.New("it doesn't understand the question")
}

// answers reports whether a message is the response to a question. One who didn't understand the question may not repeat it.
func answers(r *dns.Msg, q question) bool {
	if r.Rcode == dns.RcodeFormatError && len(r.Question) == 0 {
		return r.Response
	}
	return r.Response && len(r.Question) == 1 && r.Question[0].Qtype == uint16(q.t) && r.Question[0].Qclass == dns.ClassINET &&
		strings.EqualFold(r.Question[0].Name, dns.Fqdn(q.name))
}

// ask sends one query. The library minds the deadline of a context, but not its end: closing the connection does.
func (c *Client) ask(ctx context.Context, msg *dns.Msg, network string, server netip.AddrPort) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	client := dns.Client{Net: network, UDPSize: udpSize, Timeout: c.config.Timeout}
	r, _, err := client.ExchangeWithConnContext(ctx, msg, &dns.Conn{Conn: raw, UDPSize: udpSize})
	return r, err
}

// IsName reports whether s can be looked up: labels of letters, digits, hyphens and underscores, of up to 63 octets each and 253 in all,
// without a last dot.
func IsName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}
