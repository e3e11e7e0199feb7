package esmtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

// ListenAndServe listens on an address of a network, such as "tcp" and "127.0.0.1:2525" or "unix" and "/run/esmtp.sock", and serves
// it as [Server.Serve] does. It leaves keep-alive probes off: they cost four system calls a connection, and [Timeouts]
// find dead clients too.
func (srv *Server) ListenAndServe(network, address string) error {
	lc := net.ListenConfig{KeepAlive: -1}
	l, err := lc.Listen(context.Background(), network, address)
	if err != nil {
		return fmt.Errorf("esmtp: listen: %w", err)
	}
	return srv.Serve(l)
}

// ServeTLS serves connections that are in TLS from the start (RFC 8314 §3), as on port 465, with [Server.TLSConfig]; else it
// is [Server.Serve].
func (srv *Server) ServeTLS(l net.Listener) error {
	if err := srv.start(); err != nil {
		l.Close()
		return err
	}
	if srv.cfg.tls == nil {
		l.Close()
		return errors.New("esmtp: ServeTLS without a TLSConfig")
	}
	return srv.Serve(tls.NewListener(l, srv.cfg.tls))
}
