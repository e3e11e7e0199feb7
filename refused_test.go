package esmtp_test

import (
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// Refused is who got no 220, and nobody else: not who spoke too early later on, nor who left by himself.
func TestObserverIsToldWhoIsNotGreeted(t *testing.T) {
	const tooMany, tooEarly, byCONNECT = "refused esmtp: too many connections 0", "refused esmtp: client spoke too early 0", "refused esmtp: connection refused 554"
	slow := esmtp.Timeouts{Greeting: time.Second}
	no := func(*esmtp.Session) esmtp.Handler { return &noConnect{} }
	for name, test := range map[string]struct {
		srv     *esmtp.Server
		want    string // "": nobody is refused
		clients []string
	}{
		"by CONNECT":                  {&esmtp.Server{NewHandler: no}, byCONNECT, []string{"S: 554 *\nC: QUIT\nS: 221 *\nclose\nleave"}},
		"by CONNECT, and leaves":      {&esmtp.Server{NewHandler: no}, byCONNECT, []string{"S: 554 *\nC: NOOP\nS: 503 *\nleave"}},
		"before the greeting":         {&esmtp.Server{Timeouts: slow}, tooEarly, []string{"C: EHLO a\nS: 554 *\nclose\nleave"}},
		"before the greeting, teased": {&esmtp.Server{Timeouts: slow, GreetingTeaser: "x"}, tooEarly, []string{"C: EHLO a\nS: 220-*\nS: 554 *\nclose\nleave"}},
		"after the greeting":          {&esmtp.Server{ForbidEarly: true}, "", []string{"S: 220 *\nC| EHLO a\\r\\nNOOP\\r\\n\nS: 554 *\nclose\nleave"}},
		"leaves before the greeting":  {&esmtp.Server{Timeouts: slow}, "", []string{"leave"}},
		"too many":                    {&esmtp.Server{Rates: esmtp.Rates{Connections: 1}}, tooMany, []string{"S: 220 *\nleave", "S: 421 *\nclose\nleave"}},
		"says QUIT":                   {&esmtp.Server{}, "", []string{"S: 220 *\nC: QUIT\nS: 221 *\nclose\nleave"}},
	} {
		t.Run(name, func(t *testing.T) {
			var h heard
			synctest.Test(t, func(t *testing.T) {
				test.srv.Observer = observe(&h)
				s := esmtptest.NewServer(t, test.srv)
				for _, script := range test.clients {
					c := s.DialFrom(tcpAddr("192.0.2.1"))
					c.Patience = 0
					c.Run(script)
					synctest.Wait()
				}
			})
			if got := h.String(); strings.Count(got, "refused esmtp: ") != min(len(test.want), 1) || !strings.Contains(got, test.want) {
				t.Errorf("got %s, want %q", got, test.want)
			}
		})
	}
}

// crowd is a server whose sessions don't end, as many as there can be, behind a listener.
func crowd(t *testing.T, dropped func(net.Addr), wrap func(net.Listener) net.Listener) (dial func() net.Conn) {
	t.Helper()
	hold := make(chan struct{})
	srv := &esmtp.Server{Logger: slog.New(slog.DiscardHandler), Limits: esmtp.Limits{Connections: 1}, Observer: esmtp.Observer{
		Connected: func(*esmtp.Session) { <-hold },
		Dropped:   dropped,
		Limited: func(s *esmtp.Session, limit esmtp.Limit) {
			if all, _ := s.Concurrent(); all == 0 {
				t.Error("Limited is told of a session that there isn't")
			}
		},
	}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- srv.Serve(wrap(l)) }()
	t.Cleanup(func() {
		close(hold)
		srv.Close()
		<-served
		shutdown(t, srv)
	})
	dial = func() net.Conn {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	for range 66 { // the limit, those that are told so, and one
		dial()
	}
	return dial
}

// A connection far over the limit is dropped, with the address of the client if that is at hand.
func TestObserverIsToldWhoIsDropped(t *testing.T) {
	plain := func(l net.Listener) net.Listener { return l }
	for name, test := range map[string]struct {
		wrap  func(net.Listener) net.Listener
		known bool
	}{
		"TCP":     {plain, true},
		"TLS":     {func(l net.Listener) net.Listener { return tls.NewListener(l, &tls.Config{}) }, true},
		"wrapped": {func(l net.Listener) net.Listener { return opaque{l} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			dropped := make(chan net.Addr)
			conn := crowd(t, func(remote net.Addr) { dropped <- remote }, test.wrap)()
			switch got := <-dropped; {
			case test.known && (got == nil || got.String() != conn.LocalAddr().String()):
				t.Errorf("got %v, want %v", got, conn.LocalAddr())
			case !test.known && got != nil:
				t.Errorf("got %v of a listener that may not know", got)
			}
			if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
				t.Error("it gets an answer")
			}
		})
	}
}

// opaque is a listener whose connections are of a kind of their own, as those that wait for what a proxy says.
type opaque struct{ net.Listener }

func (l opaque) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return opaqueConn{conn}, err
}

type opaqueConn struct{ net.Conn }

// A panic of the observer doesn't end the accept loop.
func TestObserverMayPanicWhereConnectionsAreDropped(t *testing.T) {
	calls := make(chan struct{})
	dial := crowd(t, func(net.Addr) {
		calls <- struct{}{}
		panic("no")
	}, func(l net.Listener) net.Listener { return l })
	for range 3 {
		dial()
		<-calls
	}
}

// Who looks on sees whose settings a session has, and the protocol as the session itself says it: in TLS, but before EHLO, that is SMTP (RFC 3848).
func TestSessionInfoTellsSettingsAndProtocol(t *testing.T) {
	chosen, config := tlsServer(t)
	srv := &esmtp.Server{TLSConfig: chosen.TLSConfig, Select: func(*esmtp.Session) *esmtp.Server { return chosen }}
	c := esmtptest.Dial(t, srv)
	look := func() esmtp.SessionInfo { return srv.Sessions()[0] }
	c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...")
	if got := look(); got.Settings != chosen || got.Protocol != "ESMTP" {
		t.Errorf("got %s, chosen %v", got.Protocol, got.Settings == chosen)
	}
	startTLS(t, c, config)
	c.Cmd("NOOP", "250 *")
	if got := look(); got.Protocol != "SMTP" || !got.Secure {
		t.Errorf("in TLS before EHLO: got %s", got.Protocol)
	}
	c.Run("C: EHLO a\nS: 250-*\nS: ...\nC: MAIL FROM:<a@b> SMTPUTF8\nS: 250 *")
	if got := look(); got.Protocol != "UTF8SMTPS" {
		t.Errorf("got %s", got.Protocol)
	}
	c.Run("C: QUIT\nS: 221 *\nclose")
	shutdown(t, srv)
	plain := new(esmtp.Server)
	esmtptest.Dial(t, plain).Expect("220 *")
	if got := plain.Sessions()[0]; got.Settings != plain {
		t.Error("without Select the settings are not the server's own")
	}
}
