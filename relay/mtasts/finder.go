package mtasts

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/caddy-esmtp/esmtp/relay/internal/ttlmap"
	"github.com/caddy-esmtp/esmtp/relay/resolver"
)

// Finder finds the policy of a domain. Set the fields before the first call; any goroutine may call [Finder.Find].
type Finder struct {
	// Resolver finds the record that says that there is a policy, and the address of the HTTPS server that has it.
	Resolver resolver.Resolver

	// Cache keeps the policies. Nil: 10,000 of them in memory.
	Cache Cache

	// RootCAs are who may vouch for the HTTPS server. Nil: those of the system.
	RootCAs *x509.CertPool

	// AllowPrivate lets the HTTPS server have an address that is not public; see [resolver.IsPublic].
	AllowPrivate bool

	// Timeout bounds fetching a policy. Zero: a minute (RFC 8461 §3.3).
	Timeout time.Duration

	// Logger is told why a policy could not be fetched. Nil: nobody.
	Logger *slog.Logger

	dial func(ctx context.Context, network, address string) (net.Conn, error) // another one in tests

	once    sync.Once
	client  *http.Client
	flights singleflight.Group
	failed  *ttlmap.Map[string, struct{}] // domains whose policy could not be had a moment ago
}

// pause is how long not to try again after a failure (RFC 8461 §3.3).
const pause = 5 * time.Minute

// Find returns the policy of a domain to which mail is going; false if it has none, or one of mode none. It waits for the policy to be
// fetched. Every failure means that what is in the cache is still good, and if there is nothing, that there is no policy (RFC 8461 §5.1).
func (f *Finder) Find(ctx context.Context, domain string) (Policy, bool) {
	f.once.Do(f.init)
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	if !resolver.IsName("mta-sts." + domain) {
		return Policy{}, false
	}
	old, ok := f.Cache.Get(ctx, domain)
	ok = ok && time.Now().Before(old.Expires)
	if a, err := f.Resolver.Lookup(ctx, "_mta-sts."+domain, resolver.TXT); err == nil {
		if id, found := recordID(a.TXT); found && !(ok && old.fresh(id)) {
			if e, err := f.refresh(ctx, domain, id); err == nil {
				old, ok = e, true
			}
		}
	}
	return old.Policy, ok && old.Policy.Mode != ModeNone
}

// fresh reports whether there is no reason to fetch the policy again: the id is still the same, and it is not near its end. Whoever waits
// until the end has none for as long as the HTTPS server is down.
func (e Entry) fresh(id string) bool {
	return e.ID == id && time.Until(e.Expires) > e.Policy.MaxAge/2
}

func (f *Finder) init() {
	if f.Cache == nil {
		f.Cache = NewMemory(10_000)
	}
	if f.Timeout <= 0 {
		f.Timeout = time.Minute
	}
	if f.Logger == nil {
		f.Logger = slog.New(slog.DiscardHandler)
	}
	if f.dial == nil {
		f.dial = f.dialPublic
	}
	f.failed = ttlmap.New[string, struct{}](10_000)
	f.client = &http.Client{
		Timeout:       f.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // RFC 8461 §3.3
		Transport: &http.Transport{
			DialContext:            f.dial,
			TLSClientConfig:        &tls.Config{RootCAs: f.RootCAs, MinVersion: tls.VersionTLS12},
			DisableKeepAlives:      true, // we won't be back soon
			DisableCompression:     true,
			MaxResponseHeaderBytes: 16 << 10,
		},
	}
}

// errPaused says that a domain's policy could not be had a moment ago.
var errPaused = errors.New("mtasts: tried a moment ago")

// refresh fetches the policy once for all who wait for it, and keeps it. It goes on if the one who asked first goes away.
func (f *Finder) refresh(ctx context.Context, domain, id string) (Entry, error) {
	if _, paused := f.failed.Get(domain); paused {
		return Entry{}, errPaused
	}
	done := f.flights.DoChan(domain, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.Timeout)
		defer cancel()
		p, err := f.fetch(ctx, domain)
		if err != nil {
			f.failed.Put(domain, struct{}{}, time.Now().Add(pause))
			f.Logger.Warn("an MTA-STS policy can't be fetched", "domain", domain, "error", err.Error())
			return Entry{}, err
		}
		e := Entry{Policy: p, ID: id, Expires: time.Now().Add(p.MaxAge)}
		if err := f.Cache.Put(ctx, domain, e); err != nil {
			f.Logger.Error("an MTA-STS policy can't be kept", "domain", domain, "error", err.Error())
		}
		return e, nil
	})
	select {
	case r := <-done:
		e, _ := r.Val.(Entry)
		return e, r.Err
	case <-ctx.Done():
		return Entry{}, context.Cause(ctx)
	}
}

// fetch gets the policy by HTTPS (RFC 8461 §3.3).
func (f *Finder) fetch(ctx context.Context, domain string) (Policy, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://mta-sts."+domain+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return Policy{}, err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return Policy{}, fmt.Errorf("mtasts: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Policy{}, fmt.Errorf("mtasts: status %d", resp.StatusCode)
	}
	if t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || t != "text/plain" {
		return Policy{}, fmt.Errorf("mtasts: the policy is no text/plain")
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxPolicy+1))
	if err != nil {
		return Policy{}, fmt.Errorf("mtasts: %w", err)
	}
	return Parse(text)
}

// dialPublic connects to one of the addresses of the HTTPS server. The domain's owner names them, and must not reach our own network.
func (f *Finder) dialPublic(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	v4, err4 := f.Resolver.Lookup(ctx, host, resolver.A)
	v6, err6 := f.Resolver.Lookup(ctx, host, resolver.AAAA)
	addrs := slices.DeleteFunc(slices.Concat(v4.Addrs, v6.Addrs), func(a netip.Addr) bool { return !f.AllowPrivate && !resolver.IsPublic(a) })
	err = cmp.Or(err4, err6, fmt.Errorf("mtasts: %s has no public address", host))
	for _, a := range addrs[:min(len(addrs), 4)] {
		conn, dialErr := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, net.JoinHostPort(a.String(), port))
		if dialErr == nil {
			return conn, nil
		}
		err = dialErr
	}
	return nil, err
}
