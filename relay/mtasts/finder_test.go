package mtasts

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/relay/internal/fakedns"
	"github.com/caddy-esmtp/esmtp/relay/resolver"
)

// site is the HTTPS server of mta-sts.example.com, for which the test server has a certificate if asked under the name "example.com".
type site struct {
	*httptest.Server
	asked atomic.Int32
}

func newSite(t *testing.T, h http.HandlerFunc) *site {
	s := new(site)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		h(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *site) finder(zone resolver.Resolver) *Finder {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &Finder{Resolver: zone, RootCAs: roots, Timeout: 5 * time.Second, dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "mta-sts.example.com:443" {
			return nil, fmt.Errorf("an address that nobody asked for: %s", address)
		}
		return new(net.Dialer).DialContext(ctx, network, s.Listener.Addr().String())
	}}
}

func record(id string) resolver.Answer { return resolver.Answer{TXT: []string{"v=STSv1; id=" + id}} }

func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/mta-sts.txt" || r.Host != "mta-sts.example.com" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte(s))
	}
}

func TestAPolicyIsFetchedAndKept(t *testing.T) {
	s := newSite(t, text(good))
	zone := fakedns.Zone{"TXT _mta-sts.example.com": record("1")}
	f := s.finder(zone)
	for range 3 {
		p, ok := f.Find(t.Context(), "Example.com.")
		if !ok || p.Mode != ModeEnforce || len(p.MX) != 2 || s.asked.Load() != 1 {
			t.Fatal(p, ok, s.asked.Load())
		}
	}
	zone["TXT _mta-sts.example.com"] = record("2")
	if _, ok := f.Find(t.Context(), "example.com"); !ok || s.asked.Load() != 2 {
		t.Error("a new id was not noticed")
	}
	for _, v := range []any{resolver.Answer{}, resolver.ErrTemporary, resolver.ErrNotFound, resolver.Answer{TXT: []string{"v=STSv1; id=1", "v=STSv1; id=2"}}} {
		zone["TXT _mta-sts.example.com"] = v
		if p, ok := f.Find(t.Context(), "example.com"); !ok || p.Mode != ModeEnforce || s.asked.Load() != 2 {
			t.Error("forgotten, because of", v)
		}
	}
	if p, ok := f.Find(t.Context(), "other.example"); ok {
		t.Error(p)
	}
	if p, ok := f.Find(t.Context(), "a b/../x"); ok {
		t.Error(p)
	}
}

func TestAFailedFetchKeepsTheOldPolicy(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/ok" {
				text(good)(w, r)
				return
			}
			http.Redirect(w, r, "/ok", http.StatusMovedPermanently)
		},
		"404": http.NotFound,
		"html": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Write([]byte(good))
		},
		"no type":     func(w http.ResponseWriter, r *http.Request) { w.Header()["Content-Type"] = nil; w.Write([]byte(good)) },
		"bad":         text("version: STSv1\nmode: enforce\n"),
		"large":       text(good + strings.Repeat("x: y\r\n", maxPolicy/6)),
		"a long line": text(good + "x: " + strings.Repeat("y", maxPolicy)),
		"endless": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			for r.Context().Err() == nil {
				w.Write([]byte(good))
			}
		},
		"broken off": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			text(good)(w, r)
		},
		"silence": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, h)
			f := s.finder(fakedns.Zone{"TXT _mta-sts.example.com": record("2")})
			if name == "silence" {
				f.Timeout = 50 * time.Millisecond
			}
			f.Cache = NewMemory(10)
			if p, ok := f.Find(t.Context(), "example.com"); ok {
				t.Fatal(p)
			}
			old := Entry{Policy: Policy{Mode: ModeTesting, MX: []string{"old"}, MaxAge: time.Hour}, ID: "1", Expires: time.Now().Add(time.Hour)}
			f.Cache.Put(t.Context(), "example.com", old)
			if p, ok := f.Find(t.Context(), "example.com"); !ok || p.Mode != ModeTesting {
				t.Error(p, ok)
			}
			if n := s.asked.Load(); n != 1 {
				t.Errorf("asked %d times: no pause after a failure", n)
			}
		})
	}
}

func TestTheServerMustHaveAValidCertificate(t *testing.T) {
	s := newSite(t, text(good))
	f := s.finder(fakedns.Zone{"TXT _mta-sts.example.com": record("1")})
	f.RootCAs = x509.NewCertPool()
	if p, ok := f.Find(t.Context(), "example.com"); ok {
		t.Error("of an unknown authority:", p)
	}
	f = s.finder(fakedns.Zone{"TXT _mta-sts.example.org": record("1")})
	f.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Listener.Addr().String())
	}
	if p, ok := f.Find(t.Context(), "example.org"); ok {
		t.Error("for another name:", p)
	}
}

func TestAPolicyEnds(t *testing.T) {
	s := newSite(t, text(strings.Replace(good, "enforce", "none", 1)))
	f := s.finder(fakedns.Zone{"TXT _mta-sts.example.com": record("2")})
	f.Cache = NewMemory(10)
	f.Cache.Put(t.Context(), "example.com", Entry{Policy: Policy{Mode: ModeEnforce, MaxAge: time.Hour}, ID: "1", Expires: time.Now().Add(time.Hour)})
	if p, ok := f.Find(t.Context(), "example.com"); ok {
		t.Error("mode none is a policy:", p)
	}
	if e, ok := f.Cache.Get(t.Context(), "example.com"); !ok || e.ID != "2" {
		t.Error(e, ok)
	}
	expired := Dir(t.TempDir())
	expired.Put(t.Context(), "example.com", Entry{Policy: Policy{Mode: ModeEnforce, MaxAge: time.Hour}, ID: "1", Expires: time.Now().Add(-time.Second)})
	f = s.finder(fakedns.Zone{})
	f.Cache = expired
	if p, ok := f.Find(t.Context(), "example.com"); ok {
		t.Error("expired:", p)
	}
}

func TestAPolicyIsRefreshedBeforeItsEnd(t *testing.T) {
	s := newSite(t, text(good))
	f := s.finder(fakedns.Zone{"TXT _mta-sts.example.com": record("1")})
	f.Cache = NewMemory(10)
	f.Cache.Put(t.Context(), "example.com", Entry{Policy: Policy{Mode: ModeTesting, MaxAge: time.Hour}, ID: "1", Expires: time.Now().Add(20 * time.Minute)})
	if p, ok := f.Find(t.Context(), "example.com"); !ok || p.Mode != ModeEnforce || s.asked.Load() != 1 {
		t.Error(p, ok)
	}
}

func TestManyWhoAskCauseOneFetch(t *testing.T) {
	s := newSite(t, text(good))
	f := s.finder(fakedns.Zone{"TXT _mta-sts.example.com": record("1")})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, ok := f.Find(t.Context(), "example.com"); !ok {
				t.Error("none")
			}
		})
	}
	wg.Wait()
	if n := s.asked.Load(); n > 2 { // one may have looked into the cache just before it was filled
		t.Errorf("%d fetches", n)
	}
}

func TestTheServerMustHaveAPublicAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	f := &Finder{Resolver: fakedns.Zone{"A mta-sts.example.com": fakedns.Addrs("127.0.0.1", "10.0.0.1"), "AAAA mta-sts.example.com": fakedns.Addrs("::1")}}
	if conn, err := f.dialPublic(t.Context(), "tcp", "mta-sts.example.com:"+port); err == nil {
		conn.Close()
		t.Error("reached our own machine")
	}
	f.AllowPrivate = true
	f.Resolver = fakedns.Zone{"A mta-sts.example.com": fakedns.Addrs("127.0.0.1")}
	conn, err := f.dialPublic(t.Context(), "tcp", "mta-sts.example.com:"+port)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if _, err := f.dialPublic(t.Context(), "tcp", "nowhere.example:"+port); !errors.Is(err, resolver.ErrNotFound) {
		t.Error(err)
	}
}

func TestDirOutlivesTheProcess(t *testing.T) {
	d := Dir(t.TempDir())
	want := Entry{Policy: Policy{Mode: ModeEnforce, MX: []string{"a.example"}, MaxAge: time.Hour}, ID: "1", Expires: time.Now().Add(time.Hour).Round(0)}
	if _, ok := d.Get(t.Context(), "example.com"); ok {
		t.Error("something in an empty directory")
	}
	for range 2 {
		if err := d.Put(t.Context(), "example.com", want); err != nil {
			t.Fatal(err)
		}
	}
	if got, ok := Dir(string(d)).Get(t.Context(), "example.com"); !ok || fmt.Sprint(got.Policy, got.ID) != fmt.Sprint(want.Policy, want.ID) || !got.Expires.Equal(want.Expires) {
		t.Error(got, ok)
	}
	if err := Dir(string(d)+"/none").Put(t.Context(), "example.com", want); err == nil {
		t.Error("no error without a directory")
	}
}
