package caddymodule

import (
	"errors"
	"fmt"

	"github.com/caddy-esmtp/esmtp"
)

// Rates bounds what one client can do in a minute: an IPv4 address or an IPv6 /64, unless the limits ipv4_prefix and ipv6_prefix say
// otherwise. A field that is 0 has its default, and one that is -1 is no limit. Loopback and Unix sockets are not counted.
type Rates struct {
	// Connections is how many connections are served; more get 421 4.7.0. Default: no limit.
	Connections int64 `json:"connections,omitempty"`

	// Messages is how many MAIL are taken; more get 450 4.7.1. Default: no limit.
	Messages int64 `json:"messages,omitempty"`

	// Recipients is how many RCPT are taken; more get 450 4.7.1. Default: no limit.
	Recipients int64 `json:"recipients,omitempty"`

	// AuthFailures is how many AUTH may fail; after that AUTH gets 454 4.7.0. Default 30.
	AuthFailures int64 `json:"auth_failures,omitempty"`

	// Handshakes is how many TLS handshakes are done; more STARTTLS get 454 4.7.0, and connections that are in TLS from the start are
	// closed. Default: no limit.
	Handshakes int64 `json:"handshakes,omitempty"`
}

func (r *Rates) all() []limit {
	return []limit{
		{"connections", &r.Connections, false},
		{"messages", &r.Messages, false},
		{"recipients", &r.Recipients, false},
		{"auth_failures", &r.AuthFailures, false},
		{"handshakes", &r.Handshakes, false},
	}
}

// check says which rates make no sense.
func (r *Rates) check() error {
	var errs []error
	for _, rate := range r.all() {
		if v := *rate.value; v < off || v >= maxLimit {
			errs = append(errs, fmt.Errorf("rates: %s is %d: it can be 1 to %d, or -1 for no limit", rate.name, v, maxLimit-1))
		}
	}
	return errors.Join(errs...)
}

func (r *Rates) engine() esmtp.Rates {
	return esmtp.Rates{
		Connections:  int(r.Connections),
		Messages:     int(r.Messages),
		Recipients:   int(r.Recipients),
		AuthFailures: int(r.AuthFailures),
		Handshakes:   int(r.Handshakes),
	}
}
