package smtpclient_test

import (
	"context"
	"crypto/tls"
	"errors"
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

func TestSTARTTLS(t *testing.T) {
	cert, trusting := esmtptest.Certificate(t, "mx.example.org")
	trusting.ServerName = "mx.example.org"
	stranger := &tls.Config{ServerName: "mx.example.org"}
	withTLS := func(srv *esmtp.Server) { srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}} }
	for _, test := range []struct {
		name     string
		server   func(*esmtp.Server)
		o        smtpclient.Options
		err      error
		class    smtpclient.Class
		tls      bool
		verified bool
	}{
		{name: "opportunistic", server: withTLS, tls: true},
		{name: "opportunistic, not offered"},
		{name: "opportunistic, verified", server: withTLS, o: smtpclient.Options{TLSConfig: trusting}, tls: true, verified: true},
		{name: "opportunistic, not trusted", server: withTLS, o: smtpclient.Options{TLSConfig: stranger}, err: smtpclient.ErrHandshake, class: smtpclient.Network},
		{name: "never", server: withTLS, o: smtpclient.Options{TLS: smtpclient.Never}},
		{name: "required", server: withTLS, o: smtpclient.Options{TLS: smtpclient.Required, TLSConfig: trusting}, tls: true, verified: true},
		{name: "required, by default verified", server: withTLS, o: smtpclient.Options{TLS: smtpclient.Required}, err: smtpclient.ErrHandshake, class: smtpclient.Network},
		{name: "required, not offered", o: smtpclient.Options{TLS: smtpclient.Required}, class: smtpclient.MissingRequirement},
		{name: "DANE", server: withTLS, tls: true, verified: true, o: smtpclient.Options{TLS: smtpclient.Required, VerifiesServer: true, TLSConfig: &tls.Config{
			InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { return nil }}}},
		{name: "DANE says no", server: withTLS, err: smtpclient.ErrHandshake, class: smtpclient.Network, o: smtpclient.Options{VerifiesServer: true, TLSConfig: &tls.Config{
			InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { return errors.New("no") }}}},
	} {
		box := &inbox{}
		c, err := smtpclient.Dial(t.Context(), "tcp", serve(t, box, test.server), &test.o)
		var e *smtpclient.Error
		if test.class != 0 {
			if !errors.As(err, &e) || e.Class != test.class || e.Verb != "STARTTLS" || test.err != nil && !errors.Is(err, test.err) {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if (c.TLS() != nil) != test.tls || c.Verified() != test.verified {
			t.Errorf("%s: TLS %v, verified %v", test.name, c.TLS() != nil, c.Verified())
		}
		if _, still := c.Extension("STARTTLS"); still && test.tls {
			t.Errorf("%s: STARTTLS in TLS", test.name)
		}
		if _, err := c.Send(t.Context(), &smtpclient.Message{To: paths(t, "bob@x.example"), Body: strings.NewReader(strings.Repeat(text, 9000))}); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		c.Close()
	}
}

func TestREQUIRETLS(t *testing.T) {
	cert, trusting := esmtptest.Certificate(t, "mx.example.org")
	trusting.ServerName = "mx.example.org"
	for offers, code := range map[string]string{"REQUIRETLS": "", "XNOTHING": "5.7.30"} {
		box := &inbox{offers: []string{offers}}
		addr := serve(t, box, func(srv *esmtp.Server) { srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}} })
		c := dial(t, addr, &smtpclient.Options{TLSConfig: trusting})
		_, err := c.Send(t.Context(), &smtpclient.Message{From: path(t, "ann@x.example", "REQUIRETLS"), To: paths(t, "bob@x.example"), Body: strings.NewReader(text)})
		if code == "" && (err != nil || !box.messages[0].from.RequireTLS()) || code != "" && esmtp.ReplyOf(err).Enh.String() != code {
			t.Errorf("%s: %v", offers, err)
		}
	}
}

// speakers let in one user, by any mechanism.
type speaker struct{ receiver }

func (s *speaker) Mechanisms(*esmtp.Session) []string { return s.box.mech }

func (s *speaker) Authenticate(_ *esmtp.Session, c esmtp.Credentials) esmtp.Reply {
	if c.Verified || c.User == "ann" && c.Password == "secret" || c.Token == "token" {
		return esmtp.Deny(235, 2, 7, 0, "welcome")
	}
	return esmtp.Reply{}
}

func (s *speaker) Secret(_ *esmtp.Session, _, user string) (esmtp.Secret, bool) {
	return esmtp.Secret{Password: "secret"}, user == "ann"
}

func TestAUTH(t *testing.T) {
	cert, trusting := esmtptest.Certificate(t, "mx.example.org")
	trusting.ServerName = "mx.example.org"
	secure := smtpclient.Options{TLSConfig: trusting, TLS: smtpclient.Required}
	good := smtpclient.Auth{User: "ann", Password: "secret"}
	for _, test := range []struct {
		mech  string
		auth  smtpclient.Auth
		clear bool
		class smtpclient.Class
	}{
		{mech: "PLAIN", auth: good},
		{mech: "LOGIN", auth: good},
		{mech: "CRAM-MD5", auth: good},
		{mech: "CRAM-MD5", auth: good, clear: true},
		{mech: "SCRAM-SHA-1", auth: good},
		{mech: "SCRAM-SHA-256", auth: good},
		{mech: "SCRAM-SHA-256", auth: good, clear: true},
		{mech: "SCRAM-SHA-1-PLUS", auth: good},
		{mech: "SCRAM-SHA-256-PLUS", auth: good},
		{mech: "SCRAM-SHA-256 SCRAM-SHA-256-PLUS PLAIN", auth: good},
		{mech: "OAUTHBEARER", auth: smtpclient.Auth{User: "a=n,n", Token: "token"}},
		{mech: "XOAUTH2", auth: smtpclient.Auth{User: "ann", Token: "token"}},
		{mech: "XOAUTH2", auth: smtpclient.Auth{User: strings.Repeat("a", 600), Token: "token"}},
		{mech: "PLAIN", auth: smtpclient.Auth{User: "ann", Password: "wrong"}, class: smtpclient.Permanent},
		{mech: "SCRAM-SHA-256", auth: smtpclient.Auth{User: "ann", Password: "wrong"}, class: smtpclient.Permanent},
		{mech: "OAUTHBEARER", auth: smtpclient.Auth{User: "ann", Token: "stale"}, class: smtpclient.Permanent},
		{mech: "XOAUTH2", auth: smtpclient.Auth{User: "ann", Token: "stale"}, class: smtpclient.Permanent},
		{mech: "PLAIN", auth: good, clear: true, class: smtpclient.MissingRequirement},
		{mech: "PLAIN", auth: smtpclient.Auth{User: "ann", Password: "secret", AllowInsecure: true}, clear: true},
		{mech: "PLAIN", auth: smtpclient.Auth{User: "ann", Password: "secret", Mechanisms: []string{"login"}}, class: smtpclient.MissingRequirement},
		{mech: "", auth: good, class: smtpclient.MissingRequirement},
	} {
		t.Run(strings.ReplaceAll(test.mech, " ", ","), func(t *testing.T) {
			t.Parallel() // wrong passwords are answered late
			box := &inbox{mech: strings.Fields(test.mech)}
			addr := serve(t, box, func(srv *esmtp.Server) {
				srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
				srv.NewHandler = func(*esmtp.Session) esmtp.Handler { return &speaker{receiver{box: box}} }
				srv.AllowInsecureAuth = test.clear
			})
			o := secure
			if o.Auth = &test.auth; test.clear {
				o = smtpclient.Options{TLS: smtpclient.Never, Auth: &test.auth}
			}
			c, err := smtpclient.Dial(t.Context(), "tcp", addr, &o)
			var e *smtpclient.Error
			if test.class == 0 && err != nil || test.class != 0 && (!errors.As(err, &e) || e.Class != test.class || e.Verb != "AUTH") {
				t.Fatalf("%s: %v", test.mech, err)
			}
			if err != nil {
				if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "stale") {
					t.Errorf("secret in %v", err)
				}
				return
			}
			defer c.Close()
			_, err = c.Send(t.Context(), &smtpclient.Message{From: path(t, "ann@x.example", "AUTH=<>"), To: paths(t, "bob@x.example"), Body: strings.NewReader(text)})
			if err != nil || box.messages[0].from.Auth() != "<>" {
				t.Error(err)
			}
		})
	}
}

func TestImplicitTLS(t *testing.T) {
	cert, trusting := esmtptest.Certificate(t, "mx.example.org")
	trusting.ServerName = "mx.example.org"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &esmtp.Server{Hostname: "mx.example.org", TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}, Logger: esmtptest.NewLogger(t)}
	var wg sync.WaitGroup
	wg.Go(func() { srv.ServeTLS(l) })
	defer wg.Wait()
	defer srv.Close()
	c := dial(t, l.Addr().String(), &smtpclient.Options{ImplicitTLS: true, TLSConfig: trusting})
	if !c.Verified() {
		t.Error("not verified")
	}
	if _, err := smtpclient.Dial(t.Context(), "tcp", l.Addr().String(), &smtpclient.Options{ImplicitTLS: true}); !errors.Is(err, smtpclient.ErrHandshake) {
		t.Error(err)
	}
}

func TestLMTPHasAReplyForEachRecipient(t *testing.T) {
	for _, m := range []smtpclient.Message{{}, {Size: 100 << 10}, {Type: esmtp.BodyBinaryMIME}} {
		box := &inbox{refuse: map[string]esmtp.Reply{"gone": esmtp.Deny(550, 5, 1, 1, "gone"), "EOM full": esmtp.Deny(452, 4, 2, 2, "full")}}
		c := dial(t, serve(t, box, func(srv *esmtp.Server) { srv.LMTP = true }), &smtpclient.Options{LMTP: true})
		m.To = paths(t, "ann@x.example", "gone@x.example", "full@x.example", "bob@x.example", "ann@x.example")
		m.Body = strings.NewReader(strings.Repeat("x", 98) + "\r\n" + strings.Repeat(strings.Repeat("y", 98)+"\r\n", 1023))
		if m.Size > 0 {
			m.Size = 1024 * 100
		}
		res, err := c.Send(t.Context(), &m)
		var codes []int
		for _, r := range res.Recipients {
			codes = append(codes, r.Reply.Code)
		}
		if err == nil || len(codes) != 5 || codes[0] != 250 || codes[1] != 550 || codes[2] != 452 || codes[3] != 250 || codes[4] != 250 || !c.Usable() {
			t.Errorf("%v %v", codes, err)
		}
	}
}

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

// Step by step, as a front door does it that hands on each reply.
func TestStepByStep(t *testing.T) {
	for _, o := range []*smtpclient.Options{nil, {LMTP: true}} {
		box := &inbox{refuse: map[string]esmtp.Reply{"gone": esmtp.Deny(550, 5, 1, 1, "gone")}}
		c := dial(t, serve(t, box, func(srv *esmtp.Server) { srv.LMTP = o != nil }), o)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		check := func(r esmtp.Reply, err error, code int) {
			t.Helper()
			if r.Code != code || (err == nil) != (code < 400) {
				t.Errorf("%v %v, want %d", r, err, code)
			}
		}
		begin := func() {
			t.Helper()
			r, err := c.Mail(ctx, path(t, "ann@x.example", "XOORG=no"), "BODY=8BITMIME")
			check(r, err, 250)
			r, err = c.Rcpt(ctx, paths(t, "bob@x.example")[0])
			check(r, err, 250)
			r, err = c.Rcpt(ctx, paths(t, "gone@x.example")[0])
			check(r, err, 550)
			r, err = c.Rcpt(ctx, paths(t, "cy@x.example")[0])
			check(r, err, 250)
		}
		replies := 1
		if o != nil {
			replies = 2
		}
		begin()
		w, r, err := c.Data(ctx)
		check(r, err, 354)
		if _, err := c.Noop(ctx); !errors.Is(err, smtpclient.ErrArgument) {
			t.Error("NOOP in a message", err)
		}
		for _, piece := range strings.SplitAfter(text, "e") {
			if _, err := w.Write([]byte(piece)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := w.End()
		if len(got) != replies || err != nil || got[0].Code != 250 || box.messages[0].data.String() != text {
			t.Errorf("%v %v", got, err)
		}
		begin()
		r, err = c.Reset(ctx)
		check(r, err, 250)
		begin()
		for i, piece := range []string{text[:21], text[21:30], text[30:]} {
			got, err := c.Bdat(ctx, []byte(piece), i == 2)
			if err != nil || len(got) != 1 && i < 2 || i == 2 && len(got) != replies {
				t.Errorf("%v %v", got, err)
			}
		}
		if got := box.messages[1].data.String(); got != text {
			t.Errorf("%q", got)
		}
		r, err = c.Vrfy(ctx, "ann")
		check(r, err, 252)
		if _, err := c.Vrfy(ctx, "ann\r\nRSET"); !errors.Is(err, smtpclient.ErrArgument) || !c.Usable() {
			t.Error(err)
		}
		begin()
		if _, err := c.Bdat(ctx, []byte("a\nb"), false); !errors.Is(err, smtpclient.ErrBareNewline) || c.Usable() {
			t.Error(err)
		}
	}
}
