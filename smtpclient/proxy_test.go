package smtpclient_test

import (
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/smtpclient"
	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

func TestXCLIENTAndXFORWARD(t *testing.T) {
	type seen struct {
		remote, local, name, helo string
		forwarded                 esmtp.Forwarded
	}
	var got seen
	addr := serve(t, &inbox{}, func(srv *esmtp.Server) {
		srv.TrustXCLIENT = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
		srv.TrustXFORWARD = srv.TrustXCLIENT
		srv.NewHandler = func(s *esmtp.Session) esmtp.Handler {
			return &watcher{see: func(s *esmtp.Session) {
				name, _ := s.RemoteName()
				got = seen{s.RemoteAddr().String(), s.LocalAddr().String(), name, s.HELO(), s.Forwarded()}
			}}
		}
	})
	f := &esmtp.Forwarded{Name: "far.example", Addr: netip.MustParseAddr("192.0.2.7"), Port: 7, HELO: "far", Proto: "ESMTP", Ident: "x=1", Source: "REMOTE"}
	c := dial(t, addr, &smtpclient.Options{LocalName: "proxy.example", XClient: &smtpclient.XClient{
		Name: "client.example", Addr: netip.MustParseAddrPort("[2001:db8::1]:1234"), Dest: netip.MustParseAddrPort("192.0.2.1:25"), HELO: "far-client", Proto: "ESMTP"}})
	if _, err := c.Send(t.Context(), &smtpclient.Message{To: paths(t, "bob@x.example"), Body: strings.NewReader(text), Forwarded: f}); err != nil {
		t.Fatal(err)
	}
	want := *f
	want.Given = true
	want.Ident = got.forwarded.Ident
	if o := got.helo; o != "far-client" {
		t.Error(o)
	}
	if got.remote != "[2001:db8::1]:1234" || got.local != "192.0.2.1:25" || got.name != "client.example" || got.forwarded != want || want.Ident != "x=1" {
		t.Errorf("%+v", got)
	}
	if _, err := smtpclient.Dial(t.Context(), "tcp", serve(t, &inbox{}, nil), &smtpclient.Options{XClient: &smtpclient.XClient{HELO: "x"}}); esmtp.ReplyOf(err).Code != 451 {
		t.Error(err)
	}
}

type watcher struct {
	esmtp.Default
	see func(*esmtp.Session)
}

func (w *watcher) EOM(s *esmtp.Session) esmtp.Reply {
	w.see(s)
	return esmtp.OK()
}

func TestPROXYHeader(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, server := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 7}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 25), Port: 25}
	headers := make(chan *proxyproto.Header, 2)
	proxied := &proxyproto.Listener{Listener: l, ReadHeaderTimeout: 10 * time.Second, ValidateHeader: func(h *proxyproto.Header) error { headers <- h; return nil }}
	srv := &esmtp.Server{Hostname: "mx.example.org", Logger: esmtptest.NewLogger(t)}
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(proxied) })
	defer wg.Wait()
	defer srv.Close()
	state := &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256, ServerName: "mail.example.org"}
	dial(t, l.Addr().String(), &smtpclient.Options{Proxy: &smtpclient.Proxy{Client: client, Local: server, TLS: state}})
	h := <-headers
	tlvs, err := h.TLVs()
	if err != nil {
		t.Fatal(err)
	}
	ssl, ok := tlvparse.FindSSL(tlvs)
	version, _ := ssl.SSLVersion()
	if h.SourceAddr.String() != client.String() || h.DestinationAddr.String() != server.String() || !ok || version != "TLS 1.3" || ssl.Verified() || string(tlvs[1].Value) != "mail.example.org" {
		t.Errorf("%+v %+v", h, tlvs)
	}
	dial(t, l.Addr().String(), &smtpclient.Options{Proxy: &smtpclient.Proxy{}})
	if h := <-headers; !h.Command.IsLocal() {
		t.Errorf("%+v", h)
	}
}
