package smtpclient_test

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/smtpclient"
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
