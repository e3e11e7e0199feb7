package smtpclient

import (
	"crypto/tls"
	"net"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

// Proxy is a connection for which we speak: what a PROXY protocol header tells a server of ours.
type Proxy struct {
	// Client and Local are the two ends of that connection. If they are not both TCP addresses of one family, or both Unix sockets, the header says that
	// we speak for ourselves (LOCAL).
	Client, Local net.Addr

	// TLS is the state of TLS there, nil if there is none. Its server name, version and cipher are passed on, and of a client certificate that there is
	// one and whether it was verified.
	TLS *tls.ConnectionState
}

// sendProxy sends the header.
func (c *Conn) sendProxy() error {
	header, err := c.opts.Proxy.header()
	if err != nil {
		return localError("connect", err)
	}
	if err := c.write(header); err != nil {
		return c.lost("connect", err)
	}
	return nil
}

func (p *Proxy) header() ([]byte, error) {
	h := proxyproto.HeaderProxyFromAddrs(2, p.Client, p.Local)
	if p.TLS == nil {
		return h.Format()
	}
	ssl := tlvparse.PP2SSL{Client: tlvparse.PP2_BITFIELD_CLIENT_SSL, Verify: 1, TLV: []proxyproto.TLV{
		{Type: proxyproto.PP2_SUBTYPE_SSL_VERSION, Value: []byte(tls.VersionName(p.TLS.Version))},
		{Type: proxyproto.PP2_SUBTYPE_SSL_CIPHER, Value: []byte(tls.CipherSuiteName(p.TLS.CipherSuite))},
	}}
	if len(p.TLS.PeerCertificates) > 0 {
		ssl.Client |= tlvparse.PP2_BITFIELD_CLIENT_CERT_CONN | tlvparse.PP2_BITFIELD_CLIENT_CERT_SESS
	}
	if len(p.TLS.VerifiedChains) > 0 {
		ssl.Verify = 0
	}
	tlv, err := ssl.Marshal()
	if err != nil {
		return nil, err
	}
	tlvs := []proxyproto.TLV{tlv}
	if p.TLS.ServerName != "" {
		tlvs = append(tlvs, proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte(p.TLS.ServerName)})
	}
	if err := h.SetTLVs(tlvs); err != nil {
		return nil, err
	}
	return h.Format()
}
