package caddymodule

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// sharedPort is a Caddyfile with a web site and a mail server on one address. Silence is for mail after wait; text is what both say.
type sharedPort struct {
	addr, wait, text string
	storage          string // of certificates; without it the site is plain HTTP
	options          string // more of them
	settings         string // more of the mail server's
	wrappers         string // their names; default: one of ours on each side of TLS
	proxies          string // who may use proxy_protocol; default: none of our clients
	client           string // whose address it tells then
}

func (s sharedPort) caddyfile(t *testing.T) string {
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	wrappers, site, tls := "esmtp", "http://", ""
	if s.storage != "" {
		wrappers, site, tls = "esmtp tls esmtp", "https://", "tls\ntest_certified\n"
	}
	wrappers = strings.NewReplacer(" ", "\n", "esmtp", "esmtp {\nserver mail\nwait "+s.wait+"\n}",
		"proxy_protocol", "proxy_protocol {\nallow "+cmp.Or(s.proxies, "192.0.2.0/24")+"\nfallback_policy skip\n}").Replace(cmp.Or(s.wrappers, wrappers)) + "\n"
	storage := s.storage
	if storage == "" {
		storage = tempDir(t)
	}
	return "{\n" + private + "skip_install_trust\nauto_https disable_redirects\nstorage file_system " + storage + "\n" + s.options +
		"servers " + s.addr + " {\nprotocols h1 h2 h2c\nlistener_wrappers {\n" + wrappers + "}\n}\n" +
		"esmtp {\nserver mail {\nhostname mx.example.internal\n" + s.settings + tls + "test_tracked {\ntext " + s.text + "\n}\n}\n}\n}\n" +
		site + "web.example.internal:" + port + " {\nbind " + host + "\nrespond \"" + s.text + " {http.request.method} {http.request.proto} {http.request.scheme}\"\n}\n"
}

func (s sharedPort) load(t *testing.T) {
	t.Helper()
	config, err := adapt(s.caddyfile(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	for listeners() > 1 {
		time.Sleep(time.Millisecond) // Caddy closes the old socket in its own time; the kernel resets what it has not accepted by then
	}
}

// listeners counts the generations that accept at a place.
func listeners() (n int) {
	muxes.Range(func(_, value any) bool {
		m := value.(*mux)
		m.mu.Lock()
		n = max(n, len(m.joined))
		m.mu.Unlock()
		return true
	})
	return n
}

// newSharedPort runs Caddy with a shared port. A site on HTTPS has its certificate.
func newSharedPort(t *testing.T, wait string, secure bool, wrappers ...string) (sharedPort, *tls.Config) {
	t.Helper()
	s := sharedPort{addr: freeAddress(t), wait: wait, text: "one", wrappers: strings.Join(wrappers, "")}
	t.Cleanup(func() { stop(t) })
	if !secure {
		s.load(t)
		return s, nil
	}
	for len(certified) > 0 {
		<-certified // of another test
	}
	s.storage = tempDir(t)
	s.load(t)
	waitCertificates(t, "web.example.internal", "mx.example.internal")
	return s, &tls.Config{InsecureSkipVerify: true, ServerName: "mx.example.internal"}
}

// get asks the site.
func (s sharedPort) get(t *testing.T, method string, protocols *http.Protocols) string {
	t.Helper()
	transport := &http.Transport{
		Protocols:       protocols,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", s.addr)
		},
	}
	defer transport.CloseIdleConnections()
	_, port, _ := net.SplitHostPort(s.addr)
	scheme := "http"
	if s.storage != "" {
		scheme = "https"
	}
	req, err := http.NewRequest(method, scheme+"://web.example.internal:"+port+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Errorf("%s: %v", method, err)
		return ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return string(body)
}

func only(set func(*http.Protocols, bool)) *http.Protocols {
	p := new(http.Protocols)
	set(p, true)
	return p
}

var (
	http1 = only((*http.Protocols).SetHTTP1)
	http2 = only((*http.Protocols).SetHTTP2)
	h2c   = only((*http.Protocols).SetUnencryptedHTTP2)
)

// secured is a connection in TLS.
func (s sharedPort) secured(t *testing.T, config *tls.Config, names ...string) *esmtptest.Client {
	t.Helper()
	c := dialTCP(t, s.addr, s.header())
	config = config.Clone()
	config.NextProtos = names
	if err := c.StartTLS(config); err != nil {
		t.Fatal(err)
	}
	return c
}

// header is what our clients begin with.
func (s sharedPort) header() string {
	if s.proxies == "" {
		return ""
	}
	return "PROXY TCP4 " + cmp.Or(s.client, "192.0.2.7") + " 198.51.100.1 50000 443\r\n"
}

// expectLine reads a line of any protocol.
func expectLine(t *testing.T, c *esmtptest.Client, want string) {
	t.Helper()
	if line, err := c.ReadLine(); err != nil || !esmtptest.Match(want, line) {
		t.Errorf("got %q, %v, want %q", line, err, want)
	}
}

func TestHTTPAndMailOnOnePort(t *testing.T) {
	s, _ := newSharedPort(t, "50ms", false)
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "MKCOL", "MOVE", "LOCK", "REPORT", "FROBNICATE"} {
		if got, want := s.get(t, method, http1), "one "+method+" HTTP/1.1 http"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := s.get(t, "GET", h2c); got != "one GET HTTP/2.0 http" {
		t.Errorf("with prior knowledge: got %q", got)
	}
	c := dialTCP(t, s.addr, "")
	c.Expect("220 mx.example.internal *")
	c.Cmd("EHLO client.example", "250 HELP")
	c.Cmd("NOOP", "250 2.0.0 one")
	c.Cmd("QUIT", "221 *")
	c.ExpectClose()
}

// The option servers without an address is for all web servers, those without TLS too. There both wrappers see the same octets.
func TestWrappersForTLSOnAPortWithoutIt(t *testing.T) {
	s := sharedPort{addr: freeAddress(t), wait: "20ms", text: "one"}
	config, err := adapt(strings.Replace(s.caddyfile(t), "listener_wrappers {\n", "listener_wrappers {\nesmtp\ntls\n", 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t) })
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	if got := s.get(t, "PROPFIND", http1); got != "one PROPFIND HTTP/1.1 http" {
		t.Errorf("got %q", got)
	}
	c := dialTCP(t, s.addr, "")
	c.Expect("220 *")
	c.Cmd("NOOP", "250 2.0.0 one")
	c.Cmd("QUIT", "221 *")
}

func TestHTTPSAndMailOnOnePort(t *testing.T) {
	s, trust := newSharedPort(t, "50ms", true)
	for want, protocols := range map[string]*http.Protocols{"one GET HTTP/1.1 https": http1, "one GET HTTP/2.0 https": http2} {
		if got := s.get(t, "GET", protocols); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	c := dialTCP(t, s.addr, "")
	c.Expect("220 *")
	c.Cmd("EHLO client.example", "250 HELP")
	c.Cmd("STARTTLS", "220 *")
	if err := c.StartTLS(trust); err != nil {
		t.Fatal(err)
	}
	c.Run("C: EHLO client.example\nS: 250-*\nS: ...\nC: NOOP\nS: 250 2.0.0 one\nC: QUIT\nS: 221 *")
	c = s.secured(t, trust) // no name, and silence
	c.Expect("220 *")
	c.Run("C: EHLO client.example\nS: 250-*\nS: ...\nC: STARTTLS\nS: 503 5.5.1 *\nC: QUIT\nS: 221 *\nclose")
}

// With a protocol name nobody waits, for however long silence would have to be.
func TestTheProtocolNameDecidesAtOnce(t *testing.T) {
	s, trust := newSharedPort(t, "1m", true)
	s.secured(t, trust, "smtp").Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: STARTTLS\nS: 503 5.5.1 *\nC: QUIT\nS: 221 *\nclose")
	c := s.secured(t, trust, "http/1.1")
	c.SendRaw("EHLO client.example\r\n\r\n") // which a client that chose HTTP can't mean
	expectLine(t, c, "HTTP/1.1 400 *")
	c = s.secured(t, trust)
	c.SendRaw("EHLO client.example\r\n")
	c.Expect("220 *", "250 HELP")
	c = s.secured(t, trust)
	c.SendRaw("GET / HTTP/1.1\r\nHost: web.example.internal\r\nConnection: close\r\n\r\n")
	if resp, err := io.ReadAll(c.Conn); err != nil || !strings.HasSuffix(string(resp), "one GET HTTP/1.1 https") {
		t.Errorf("got %q, %v", resp, err)
	}
}

// Plain HTTP on the port of HTTPS gets what Caddy answers to that.
func TestPlainHTTPOnAnHTTPSPort(t *testing.T) {
	s, _ := newSharedPort(t, "1m", true)
	c := dialTCP(t, s.addr, "GET / HTTP/1.1\r\nHost: web.example.internal\r\n\r\n")
	expectLine(t, c, "HTTP/1.0 400 Bad Request")
}

// What a client that is no mail client gets, and when, if it is slow or says nothing that is known.
func TestSlowAndOddClients(t *testing.T) {
	slow, _ := newSharedPort(t, "50ms", false)
	for first, want := range map[string]string{
		"foo / HTTP/1.1": "HTTP/1.1 400 *",
		"":               "220 *", // a browser that connects ahead of time
		"H":              "220 *", // HEAD or HELO
		"\r\n":           "220 *",
		"\x00\x01":       "220 *",
		"SSH-2.0-x\r\n":  "220 *",
		"EHLO x\r\n":     "220 *",
		"quit\r\n":       "220 *",
	} {
		c := dialTCP(t, slow.addr, first)
		if strings.HasPrefix(want, "HTTP") {
			c.SendRaw("\r\n\r\n")
		}
		t.Logf("%q", first)
		expectLine(t, c, want)
	}
	// A word of HTTP is enough: the rest may come after the time.
	c := dialTCP(t, slow.addr, "G")
	time.Sleep(150 * time.Millisecond)
	c.SendRaw("ET / HTTP/1.1\r\nHost: web.example.internal\r\n\r\n")
	expectLine(t, c, "HTTP/1.1 200 OK")
	// One octet of TLS is: it is Caddy's to wait for the rest.
	c = dialTCP(t, slow.addr, "\x16")
	c.Conn.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
	if line, err := bufio.NewReader(c.Conn).ReadString('\n'); line != "" {
		t.Errorf("got %q, %v, want silence", line, err)
	}
}

// In TLS smtp is offered if there is a wrapper behind it to make something of that.
func TestSMTPIsOfferedBehindTLSOnly(t *testing.T) {
	s := sharedPort{addr: freeAddress(t), wait: "1m", text: "one", storage: tempDir(t)}
	for order, want := range map[string]string{
		"esmtp\ntls\nesmtp": "smtp", "esmtp\ntls": "refused", "esmtp": "smtp",
	} {
		text := s.caddyfile(t)
		begin, end := strings.Index(text, "listener_wrappers {\n")+len("listener_wrappers {\n"), strings.Index(text, "esmtp {\nserver mail {")
		config, err := adapt(text[:begin] + order + "\n}\n}\n" + text[end:])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stop(t) })
		if err := caddy.Load(config, true); err != nil {
			t.Fatal(err)
		}
		waitCertificates(t, "web.example.internal")
		got := "refused"
		c := dialTCP(t, s.addr, "")
		err = c.StartTLS(&tls.Config{InsecureSkipVerify: true, ServerName: "web.example.internal", NextProtos: []string{"smtp"}})
		if err == nil {
			got = c.Conn.(*tls.Conn).ConnectionState().NegotiatedProtocol
			c.Expect("220 *")
			c.Cmd("QUIT", "221 *")
		}
		if got != want {
			t.Errorf("%q: got %s (%v), want %s", order, got, err, want)
		}
		stop(t)
	}
}

func TestAServerThatNobodyCanComeToIsAWarning(t *testing.T) {
	log := tempDir(t) + "/log"
	config, err := adapt("{\n" + private + "log {\noutput file " + log + " {\nroll_disabled\n}\n}\nesmtp {\nserver lonely {\nlog\n}\n}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t) })
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(text), `"msg":"nobody can come to this server: it has no address, and no listener wrapper names it","server":"lonely"`) {
		t.Errorf("got %s, %v", text, err)
	}
}
