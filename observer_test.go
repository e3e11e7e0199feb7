package esmtp_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// observe notes what an Observer is told.
func observe(h *heard) esmtp.Observer {
	return esmtp.Observer{
		Connected: func(s *esmtp.Session) { h.add("connected") },
		Refused:   func(s *esmtp.Session, r esmtp.Reply, why error) { h.add(fmt.Sprintf("refused %v %d", why, r.Code)) },
		Replied: func(s *esmtp.Session, verb string, r esmtp.Reply, took time.Duration) {
			h.add(fmt.Sprintf("%s %d", verb, r.Code))
		},
		Message: func(s *esmtp.Session, r esmtp.Reply, times esmtp.MessageTimes) {
			h.add(fmt.Sprintf("message %s %d %v %v", s.Transaction().From(), r.Code, times.Receive, times.Handle))
		},
		Limited: func(s *esmtp.Session, limit esmtp.Limit) { h.add("limit " + string(limit)) },
		Failed:  func(s *esmtp.Session, e esmtp.SessionError) { h.add("failed " + e.Class.String()) },
		Ended:   func(s *esmtp.Session, err error) { h.add(fmt.Sprintf("ended %v", err)) },
	}
}

func TestObserverIsTold(t *testing.T) {
	for _, test := range []struct {
		name   string
		limits esmtp.Limits
		script string
		want   string
	}{
		{"a message", esmtp.Limits{}, opening + "C: DATA\nS: 354 *\nsleep 3s\nC: .\nS: 250 *\nC: QUIT\nS: 221 *\nclose",
			"[connected CONNECT 220 EHLO 250 MAIL 250 RCPT 250 DATA 354 message a@me.example 250 3s 0s EOM 250 QUIT 221 ended <nil>]"},
		{"by BDAT", esmtp.Limits{}, opening + "C: BDAT 1\nC| x\nS: 250 *\nsleep 2s\nC: BDAT 0 LAST\nS: 250 *\nC: QUIT\nS: 221 *\nclose",
			"[connected CONNECT 220 EHLO 250 MAIL 250 RCPT 250 BDAT 250 message a@me.example 250 2s 0s EOM 250 QUIT 221 ended <nil>]"},
		{"unknown", esmtp.Limits{}, "S: 220 *\nC: FOO bar\nS: 500 *\nC: QUIT\nS: 221 *\nclose", "[connected CONNECT 220  500 QUIT 221 ended <nil>]"},
		{"too many errors", esmtp.Limits{Errors: 1}, "S: 220 *\nC: FOO\nS: 500 *\nC: RCPT\nS: 421 *\nclose",
			"[connected CONNECT 220  500 failed out_of_order limit errors RCPT 421 ended esmtp: too many errors]"},
		{"recipients", esmtp.Limits{Recipients: 1}, opening + "C: RCPT TO:<x@y>\nS: 452 *\nC: QUIT\nS: 221 *\nclose",
			"[connected CONNECT 220 EHLO 250 MAIL 250 RCPT 250 limit recipients RCPT 452 QUIT 221 ended <nil>]"},
		{"size", esmtp.Limits{MessageBytes: 10}, opening + "C: DATA\nS: 354 *\nC: 0123456789\nC: .\nS: 552 *\nC: QUIT\nS: 221 *\nclose",
			"[connected CONNECT 220 EHLO 250 MAIL 250 RCPT 250 DATA 354 limit max_size failed data message a@me.example 552 0s 0s EOM 552 QUIT 221 ended <nil>]"},
		{"a BDAT that can't be read", esmtp.Limits{}, opening + "C: BDAT x\nS: 501 *\nclose",
			"[connected CONNECT 220 EHLO 250 MAIL 250 RCPT 250 failed out_of_step BDAT 501 ended esmtp: client is out of step]"},
		{"a BDAT that is far too large", esmtp.Limits{MessageBytes: 10}, opening + "C: BDAT 1000000\nS: 552 *\nclose",
			"[connected CONNECT 220 EHLO 250 MAIL 250 RCPT 250 limit max_size failed out_of_step BDAT 552 ended esmtp: client is out of step]"},
		{"a broken BDAT", esmtp.Limits{}, opening + "C: BDAT\t5\nS: 500 *\nclose",
			"[connected CONNECT 220 EHLO 250 MAIL 250 RCPT 250 failed out_of_step  500 ended esmtp: client is out of step]"},
		{"HTTP", esmtp.Limits{}, "S: 220 *\nC: GET / HTTP/1.1\nS: 421 *\nclose", "[connected CONNECT 220 failed out_of_step  421 ended esmtp: client doesn't speak SMTP]"},
		{"TLS", esmtp.Limits{}, "S: 220 *\nC| \\x16\\x03\\r\\n\nS: 500 *\nclose", "[connected CONNECT 220 failed out_of_step  500 ended esmtp: client doesn't speak SMTP]"},
		{"a long line", esmtp.Limits{}, "S: 220 *\nC: NOOP " + strings.Repeat("x", 600) + "\nS: 500 *\nC: QUIT\nS: 221 *\nclose",
			"[connected CONNECT 220 limit command_line NOOP 500 QUIT 221 ended <nil>]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var h heard
			synctest.Test(t, func(t *testing.T) {
				srv := &esmtp.Server{Limits: test.limits, Observer: observe(&h)}
				c := esmtptest.NewServer(t, srv).Dial()
				c.Patience = 0
				for part := range strings.SplitSeq(test.script, "sleep ") {
					if d, rest, ok := strings.Cut(part, "\n"); ok {
						if wait, err := time.ParseDuration(d); err == nil {
							synctest.Wait()
							time.Sleep(wait)
							part = rest
						}
					}
					c.Run(part)
				}
				c.Conn.Close()
				synctest.Wait()
			})
			if got := h.String(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// A panic of an observer is no panic of the session.
func TestObserverMayPanic(t *testing.T) {
	srv := &esmtp.Server{Observer: esmtp.Observer{
		Connected: func(*esmtp.Session) { panic("no") },
		Replied:   func(*esmtp.Session, string, esmtp.Reply, time.Duration) { panic("no") },
		Ended:     func(*esmtp.Session, error) { panic("no") },
	}}
	esmtptest.Run(t, srv, opening+"C: QUIT\nS: 221 *\nclose")
}

// The observer of the server that accepted a connection is told of all of it, and its rates of connections and handshakes hold.
func TestSelectLeavesTheConnectionToItsServer(t *testing.T) {
	var outer, inner heard
	tlsOne, config := tlsServer(t)
	chosen := &esmtp.Server{TLSConfig: tlsOne.TLSConfig, Rates: esmtp.Rates{Handshakes: 1, Connections: 1}, Observer: observe(&inner), TrustXCLIENT: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	srv := &esmtp.Server{Observer: observe(&outer), Select: func(*esmtp.Session) *esmtp.Server { return chosen }}
	s := esmtptest.NewServer(t, srv)
	for range 3 {
		c := s.DialFrom(tcpAddr("10.0.0.1"))
		c.Run("S: 220 *\nC: EHLO a\nS: 250-*\nS: ...")
		startTLS(t, c, config)
		c.Run("C: EHLO a\nS: 250-*\nS: ...\nC: XCLIENT ADDR=192.0.2.1\nS: 220 *\nC: QUIT\nS: 221 *\nclose")
	}
	shutdown(t, srv)
	if got, want := outer.String(), "[connected CONNECT 220 EHLO 250 STARTTLS 220 EHLO 250 XCLIENT 220 QUIT 221 ended <nil>"; !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := outer.String(); strings.Contains(got, "refused") {
		t.Errorf("a connection that was greeted is called refused: %s", got)
	}
	if got := inner.String(); got != "[]" {
		t.Errorf("the other observer was told %s", got)
	}
}

// Who may speak for others by the chosen settings isn't counted for its own address either.
func TestSelectedProxiesAreNotCounted(t *testing.T) {
	chosen := &esmtp.Server{TrustXCLIENT: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	srv := &esmtp.Server{Limits: esmtp.Limits{ConnectionsPerAddress: 2}, Select: func(*esmtp.Session) *esmtp.Server { return chosen }}
	s := esmtptest.NewServer(t, srv)
	for range 4 {
		s.DialFrom(tcpAddr("10.0.0.1")).Run("S: 220 *")
	}
	for range 2 {
		s.DialFrom(tcpAddr("192.0.2.1")).Run("S: 220 *")
	}
	s.DialFrom(tcpAddr("192.0.2.1")).Run("S: 421 *")
}

// Another server's settings can be chosen for a connection, and all but the counts of connections are its.
func TestSelectChoosesTheSettings(t *testing.T) {
	inside := &esmtp.Server{Hostname: "inside.example", Limits: esmtp.Limits{Recipients: 1}}
	wrong := &esmtp.Server{Hostname: "not a name"}
	lmtp := &esmtp.Server{LMTP: true} // the tests' port is 25 (RFC 2033 §5)
	srv := &esmtp.Server{Hostname: "mx.example.org", Select: func(s *esmtp.Session) *esmtp.Server {
		switch s.RemoteAddr().(*net.TCPAddr).IP.String() {
		case "10.0.0.1":
			return inside
		case "10.0.0.2":
			return wrong
		case "10.0.0.3":
			panic("no")
		case "10.0.0.4":
			return lmtp
		}
		return nil
	}}
	s := esmtptest.NewServer(t, srv)
	s.DialFrom(tcpAddr("10.0.0.1")).Run("S: 220 inside.example *\nC: EHLO a\nS: 250-inside.example*\nS: ...\nC: MAIL FROM:<a@b>\nS: 250 *\n" +
		"C: RCPT TO:<a@b>\nS: 250 *\nC: RCPT TO:<c@d>\nS: 452 *\nC: QUIT\nS: 221 *\nclose\nleave")
	s.DialFrom(tcpAddr("192.0.2.1")).Run("S: 220 mx.example.org *\nC: QUIT\nS: 221 *\nclose\nleave")
	s.DialFrom(tcpAddr("10.0.0.2")).Run("S: 421 *\nclose\nleave")
	s.DialFrom(tcpAddr("10.0.0.3")).Run("S: 421 *\nclose\nleave")
	s.DialFrom(tcpAddr("10.0.0.4")).Run("S: 421 *\nclose\nleave")
}

func TestSessionInfoShowsTheEnvelope(t *testing.T) {
	srv := new(esmtp.Server)
	synctest.Test(t, func(t *testing.T) {
		c := esmtptest.NewServer(t, srv).Dial()
		c.Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: MAIL FROM:<a@b>\nS: 250 *\nC: RCPT TO:<c@d>\nS: 250 *\nC: RCPT TO:<e@f>\nS: 250 *\nC: DATA\nS: 354 *\nC: 12345678")
		synctest.Wait()
		info := srv.Sessions()[0]
		if info.HELO != "client.example" || !info.ESMTP || info.From.String() != "a@b" || fmt.Sprint(info.To) != "[c@d e@f]" || info.Octets != 10 ||
			info.State != esmtp.StateData || info.OctetsIn < 80 || info.OctetsOut < 100 || info.Transaction != info.ID+".1" {
			t.Errorf("got %+v", info)
		}
		if srv.Session(strings.ToUpper(info.ID)) == nil || srv.Session("none") != nil {
			t.Error("Session doesn't find by ID alone")
		}
		c.Run("C: .\nS: 250 *")
		synctest.Wait()
		if info := srv.Sessions()[0]; info.Transaction != "" || info.To != nil || info.Messages != 1 || info.State != esmtp.StateWaiting {
			t.Errorf("after the message: %+v", info)
		}
		c.Run("C: QUIT\nS: 221 *\nclose")
	})
}

// The transcript at debug level has all commands and replies, and no secret: not the password, in whatever form, not even when it comes where
// it has no business.
func TestTranscriptHidesSecrets(t *testing.T) {
	var out bytes.Buffer
	srv := &esmtp.Server{
		AllowInsecureAuth: true,
		Logger:            slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})),
		NewHandler:        func(*esmtp.Session) esmtp.Handler { return &users{mechanisms: allMechanisms} },
		Timeouts:          esmtp.Timeouts{ErrorDelay: -1},
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00ann\x00secret"))
	synctest.Test(t, func(t *testing.T) {
		for _, client := range []sasl.Client{sasl.NewPlainClient("", "ann", "secret"), loginClient("ann", "secret"), cramClient("ann", "secret"),
			scramClient(t, "SCRAM-SHA-256", scram.SHA256, nil, "ann", "secret")} {
			c := esmtptest.NewServer(t, srv2(srv)).Dial()
			c.Run("S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...")
			if reply := login(t, c, client, true); !strings.HasPrefix(reply, "235") {
				t.Fatal(reply)
			}
			c.Run("C: AUTH " + plain + "\nS: 503 *\nC: AUTH PLAIN=" + plain + "\nS: 503 *\nC: " + plain + "\nS: 500 *\nC: AUTH PLAIN " + plain + "\nS: 503 *\nC: AUTH\tPLAIN " + plain + "\nS: 500 *\nC: MAIL FROM:<a@b>\nS: 250 *\nC: QUIT\nS: 221 *\nclose\nleave")
		}
	})
	text := out.String()
	for _, secret := range []string{"secret", plain, base64.StdEncoding.EncodeToString([]byte("secret")), base64.StdEncoding.EncodeToString([]byte("ann "))[:4]} {
		if strings.Contains(text, secret) {
			t.Errorf("the log has %q:\n%s", secret, text)
		}
	}
	for _, want := range []string{`msg=command`, `line="EHLO client.example"`, `line="AUTH PLAIN ***"`, `line="MAIL FROM:<a@b>"`, `line="235 2.7.0 `, "msg=challenge"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
}

// A greeting repeats nothing: why a client was refused is in the transcript.
func TestTranscriptHasTheRefusal(t *testing.T) {
	var out bytes.Buffer
	srv := &esmtp.Server{
		Logger:     slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})),
		NewHandler: func(*esmtp.Session) esmtp.Handler { return &noConnect{} },
	}
	esmtptest.NewServer(t, srv).Dial().Run("S: 554 *\nC: QUIT\nS: 221 *\nclose")
	shutdown(t, srv)
	if !strings.Contains(out.String(), "you are on a list") {
		t.Errorf("got %s", out.String())
	}
}

type noConnect struct{ esmtp.Default }

func (*noConnect) CONNECT(*esmtp.Session) esmtp.Reply {
	return esmtp.Deny(554, 5, 7, 1, "you are on a list")
}

// srv2 makes a server of the same settings.
func srv2(srv *esmtp.Server) *esmtp.Server {
	return &esmtp.Server{AllowInsecureAuth: srv.AllowInsecureAuth, Logger: srv.Logger, NewHandler: srv.NewHandler, Timeouts: srv.Timeouts}
}
