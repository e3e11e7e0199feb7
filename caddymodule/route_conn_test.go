package caddymodule

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// TLS from the start is done before the route is chosen, STARTTLS after it: with the certificate of the route's name, if the client asks for none.
func TestRoutesAndTLS(t *testing.T) {
	path, addr := socket(t), freeAddress(t)
	trust := tlsCaddy(t, "unix/"+path+" tls://"+addr+` {
		hostname mx.example.internal
		tls
		@local unix
		@other sni other.example.internal *.wild.example.internal
		@tls tls
		test_certified
		handle @local {
			hostname local.example.internal
			tls {
				required
			}
			log
		}
		handle @other {
			hostname other.example.internal
			log
		}
		handle @tls {
			hostname tls.example.internal
			log
		}
	}`, "mx.example.internal", "local.example.internal", "other.example.internal", "tls.example.internal")
	for sni, want := range map[string]string{"mx.example.internal": "tls", "": "tls", "OTHER.example.internal": "other", "a.wild.example.internal": "other",
		"a.b.wild.example.internal": "tls"} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c := esmtptest.NewClient(t, conn)
		config := trust.Clone()
		config.ServerName, config.InsecureSkipVerify = sni, true
		if err := c.StartTLS(config); err != nil {
			t.Fatalf("%s: %v", sni, err)
		}
		c.Expect("220 " + want + ".example.internal *")
		if cert := c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0]; want == "other" && strings.HasPrefix(sni, "OTHER") &&
			cert.VerifyHostname("other.example.internal") != nil {
			t.Errorf("%s: the certificate is for %s", sni, cert.DNSNames)
		}
	}
	c := dial(t, path)
	c.Run("S: 220 local.example.internal *\nC: EHLO client.example\nS: 250-*\nS: ...\nC: MAIL FROM:<>\nS: 530 5.7.0 *\nC: STARTTLS\nS: 220 *")
	config := trust.Clone()
	config.ServerName, config.InsecureSkipVerify = "", true
	if err := c.StartTLS(config); err != nil {
		t.Fatal(err)
	}
	if cert := c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0]; cert.VerifyHostname("local.example.internal") != nil {
		t.Errorf("the certificate is for %s", cert.DNSNames)
	}
	c.Run("C: EHLO client.example\nS: 250-*\nS: ...\nC: MAIL FROM:<>\nS: 250 *")
}

// Behind the PROXY protocol the addresses are those that the proxy says.
func TestRoutesGoByWhatTheProxySays(t *testing.T) {
	addr := freeAddress(t)
	load(t, addr+` {
		hostname mx.example.org
		listener_wrappers {
			proxy_protocol {
				allow 127.0.0.0/8
			}
		}
		@partners {
			remote_ip 203.0.113.0/24 2001:db8::/32
			local_ip 192.0.2.25 2001:db8:1::/48
			local_port 25
		}
		handle @partners {
			hostname partners.example.org
			log
		}
		handle {
			log
		}
	}`)
	for header, want := range map[string]string{
		"PROXY TCP4 203.0.113.7 192.0.2.25 4711 25\r\n":     "partners",
		"PROXY TCP6 2001:db8::7 2001:db8:1::25 4711 25\r\n": "partners",
		"PROXY TCP4 203.0.114.7 192.0.2.25 4711 25\r\n":     "mx",
		"PROXY TCP4 203.0.113.7 192.0.2.26 4711 25\r\n":     "mx",
		"PROXY TCP4 203.0.113.7 192.0.2.25 4711 587\r\n":    "mx",
		"PROXY TCP6 2001:db9::7 2001:db8:1::25 4711 25\r\n": "mx",
		"PROXY UNKNOWN\r\n": "mx",
	} {
		dialTCP(t, addr, header).Expect("220 " + want + ".example.org *")
	}
}
