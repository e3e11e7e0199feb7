// Package dane checks certificates against TLSA records, as SMTP uses them (RFC 6698, RFC 7671, RFC 7672).
//
// The one idea: the records of a host are a [Set] of those that can be used, and a chain of certificates either fits one of them or doesn't.
// That the records are authentic is for the caller to know.
//
//	set := dane.Usable(answer.TLSA)
//	err := set.Verify(state.PeerCertificates, []string{"mx.example.org"}, time.Now())
package dane

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-esmtp/esmtp/relay/resolver"
)

// The values of RFC 6698 §7 (names of RFC 7218) that SMTP uses. PKIX-TA(0) and PKIX-EE(1) can't be used (RFC 7672 §3.1.3).
const (
	usageTA = 2
	usageEE = 3

	selectorCert = 0
	selectorSPKI = 1

	matchFull   = 0
	matchSHA256 = 1
	matchSHA512 = 2
)

// ErrNoMatch is what [Set.Verify] returns, wrapped.
var ErrNoMatch = errors.New("dane: the certificate doesn't fit the TLSA records")

// Set is the records of a host that can be used. It is immutable; the zero Set is empty.
type Set struct{ records []resolver.Association }

// maxRecords bounds the work of a handshake.
const maxRecords = 32

// Usable picks the records that can be used: usages 2 and 3, known selectors and matching types, and data of the right form. Of several
// digests of one usage and selector only the strongest count (RFC 7671 §9).
func Usable(records []resolver.Association) Set {
	var s Set
	for _, r := range records {
		if isUsable(r) && len(s.records) < maxRecords {
			s.records = append(s.records, r)
		}
	}
	strong := slices.Clone(s.records)
	s.records = slices.DeleteFunc(s.records, func(r resolver.Association) bool {
		return r.Matching == matchSHA256 && slices.ContainsFunc(strong, func(o resolver.Association) bool {
			return o.Matching == matchSHA512 && o.Usage == r.Usage && o.Selector == r.Selector
		})
	})
	return s
}

func isUsable(r resolver.Association) bool {
	if r.Usage != usageTA && r.Usage != usageEE || r.Selector != selectorCert && r.Selector != selectorSPKI {
		return false
	}
	switch r.Matching {
	case matchSHA256:
		return len(r.Data) == sha256.Size
	case matchSHA512:
		return len(r.Data) == sha512.Size
	case matchFull:
		var err error
		if r.Selector == selectorCert {
			_, err = x509.ParseCertificate(r.Data)
		} else {
			_, err = x509.ParsePKIXPublicKey(r.Data)
		}
		return err == nil
	}
	return false
}

// Empty reports whether no record can be used: TLS is then required, but with anybody (RFC 7672 §2.2).
func (s Set) Empty() bool { return len(s.records) == 0 }

// Verify checks what a server has shown, its own certificate first. One that fits a record of DANE-EE is good whatever else is in it, its
// name and dates too (RFC 7672 §3.1.1). With DANE-TA it must lead to a fitting one, and be for one of names (§3.1.2). Its error wraps
// [ErrNoMatch].
func (s Set) Verify(chain []*x509.Certificate, names []string, now time.Time) error {
	if len(chain) == 0 {
		return fmt.Errorf("%w: there is none", ErrNoMatch)
	}
	leaf := chain[0]
	if slices.ContainsFunc(s.records, func(r resolver.Association) bool { return r.Usage == usageEE && matches(r, leaf) }) {
		return nil
	}
	anchors, found := s.anchors(chain)
	if !found {
		return ErrNoMatch
	}
	others := x509.NewCertPool()
	for _, c := range chain[1:] {
		others.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: anchors, Intermediates: others, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoMatch, err)
	}
	for _, name := range names {
		if err = leaf.VerifyHostname(name); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: %w", ErrNoMatch, err)
}

// anchors are the certificates that DANE-TA records vouch for: of those that were shown, and those that stand in a record whole.
func (s Set) anchors(chain []*x509.Certificate) (pool *x509.CertPool, found bool) {
	pool = x509.NewCertPool()
	for _, r := range s.records {
		if r.Usage != usageTA {
			continue
		}
		for _, c := range chain {
			if matches(r, c) {
				pool.AddCert(c)
				found = true
			}
		}
		if r.Selector == selectorCert && r.Matching == matchFull {
			if c, err := x509.ParseCertificate(r.Data); err == nil {
				pool.AddCert(c)
				found = true
			}
		}
	}
	return pool, found
}

// matches reports whether a record is about a certificate (RFC 6698 §2.1.2, §2.1.3).
func matches(r resolver.Association, c *x509.Certificate) bool {
	data := c.Raw
	if r.Selector == selectorSPKI {
		data = c.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case matchSHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case matchSHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(r.Data, data)
}
