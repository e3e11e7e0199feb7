package dane

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/relay/internal/testcert"
	"github.com/caddy-esmtp/esmtp/relay/resolver"
)

// record makes the record for a certificate, in the way of RFC 6698 appendix B, by other code than the one that is tested.
func record(usage, selector, matching uint8, c *x509.Certificate) resolver.Association {
	data := map[uint8][]byte{0: c.Raw, 1: c.RawSubjectPublicKeyInfo}[selector]
	switch matching {
	case 1:
		h := sha256.New()
		h.Write(data)
		data = h.Sum(nil)
	case 2:
		h := sha512.New()
		h.Write(data)
		data = h.Sum(nil)
	}
	return resolver.Association{Usage: usage, Selector: selector, Matching: matching, Data: data}
}

func TestCertificatesFitTheirRecords(t *testing.T) {
	ca, otherCA := testcert.NewCA(t), testcert.NewCA(t)
	leaf := ca.Issue(t, "mx.example.org").Leaf
	other := otherCA.Issue(t, "mx.example.org").Leaf
	for usage := range uint8(5) {
		for selector := range uint8(3) {
			for matching := range uint8(4) {
				good := leaf
				if usage == usageTA {
					good = ca.Cert
				}
				var r resolver.Association
				if usable := selector < 2 && matching < 3; usable {
					r = record(usage, selector, matching, good)
				} else {
					r = resolver.Association{Usage: usage, Selector: selector, Matching: matching, Data: make([]byte, 32)}
				}
				s := Usable([]resolver.Association{r})
				wantUsable := (usage == 2 || usage == 3) && selector < 2 && matching < 3
				if s.Empty() == wantUsable {
					t.Errorf("%d %d %d: usable %v", usage, selector, matching, !s.Empty())
				}
				names := []string{"mx.example.org"}
				if err := s.Verify([]*x509.Certificate{leaf, ca.Cert}, names, time.Now()); (err == nil) != wantUsable {
					t.Errorf("%d %d %d: %v", usage, selector, matching, err)
				}
				if err := s.Verify([]*x509.Certificate{other, otherCA.Cert}, names, time.Now()); !errors.Is(err, ErrNoMatch) {
					t.Errorf("%d %d %d: another one's certificate: %v", usage, selector, matching, err)
				}
			}
		}
	}
}

func TestWhatDANEChecksBesides(t *testing.T) {
	ca := testcert.NewCA(t)
	good, expired := ca.Issue(t, "mx.example.org").Leaf, ca.IssueExpired(t, "mx.example.org").Leaf
	forged := testcert.NewCA(t).Issue(t, "mx.example.org").Leaf
	for name, c := range map[string]struct {
		records []resolver.Association
		chain   []*x509.Certificate
		names   []string
		want    bool
	}{
		"EE: another name":            {[]resolver.Association{record(3, 1, 1, good)}, []*x509.Certificate{good}, []string{"other.example"}, true},
		"EE: expired":                 {[]resolver.Association{record(3, 1, 1, expired)}, []*x509.Certificate{expired}, []string{"mx.example.org"}, true},
		"EE: only an issuer fits":     {[]resolver.Association{record(3, 0, 1, ca.Cert)}, []*x509.Certificate{good, ca.Cert}, []string{"mx.example.org"}, false},
		"TA: another name":            {[]resolver.Association{record(2, 0, 1, ca.Cert)}, []*x509.Certificate{good, ca.Cert}, []string{"other.example"}, false},
		"TA: the second name":         {[]resolver.Association{record(2, 0, 1, ca.Cert)}, []*x509.Certificate{good, ca.Cert}, []string{"other.example", "mx.example.org"}, true},
		"TA: no name":                 {[]resolver.Association{record(2, 0, 1, ca.Cert)}, []*x509.Certificate{good, ca.Cert}, nil, false},
		"TA: expired":                 {[]resolver.Association{record(2, 0, 1, ca.Cert)}, []*x509.Certificate{expired, ca.Cert}, []string{"mx.example.org"}, false},
		"TA: not shown":               {[]resolver.Association{record(2, 0, 1, ca.Cert)}, []*x509.Certificate{good}, []string{"mx.example.org"}, false},
		"TA: not shown, but known":    {[]resolver.Association{record(2, 0, 0, ca.Cert)}, []*x509.Certificate{good}, []string{"mx.example.org"}, true},
		"TA: shown, but did not sign": {[]resolver.Association{record(2, 0, 1, ca.Cert)}, []*x509.Certificate{forged, ca.Cert}, []string{"mx.example.org"}, false},
		"TA: its own":                 {[]resolver.Association{record(2, 0, 1, good)}, []*x509.Certificate{good}, []string{"mx.example.org"}, true},
		"TA: its own, another name":   {[]resolver.Association{record(2, 0, 1, good)}, []*x509.Certificate{good}, []string{"other.example"}, false},
		"one of two":                  {[]resolver.Association{record(3, 1, 1, forged), record(3, 1, 1, good)}, []*x509.Certificate{good}, nil, true},
		"no certificate":              {[]resolver.Association{record(3, 1, 1, good)}, nil, nil, false},
		"no record":                   {nil, []*x509.Certificate{good}, []string{"mx.example.org"}, false},
		"a weaker digest":             {[]resolver.Association{record(3, 1, 1, good), record(3, 1, 2, forged)}, []*x509.Certificate{good}, nil, false},
		"a digest of something else":  {[]resolver.Association{record(3, 1, 1, good), record(3, 0, 2, forged)}, []*x509.Certificate{good}, nil, true},
	} {
		if err := Usable(c.records).Verify(c.chain, c.names, time.Now()); (err == nil) != c.want || err != nil && !errors.Is(err, ErrNoMatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMalformedRecordsAreIgnored(t *testing.T) {
	good := record(3, 1, 1, testcert.NewCA(t).Cert)
	var records []resolver.Association
	for _, matching := range []uint8{0, 1, 2} {
		for _, n := range []int{0, 1, 3, 31, 33, 63, 65} {
			records = append(records, resolver.Association{Usage: 3, Selector: 1, Matching: matching, Data: make([]byte, n)})
		}
	}
	if s := Usable(records); !s.Empty() {
		t.Error(s)
	}
	if s := Usable(append(records, good)); len(s.records) != 1 {
		t.Error(s)
	}
	many := bytes.Repeat([]byte{1}, 32)
	for range 1000 {
		records = append(records, resolver.Association{Usage: 3, Selector: 1, Matching: 1, Data: many})
	}
	if s := Usable(records); len(s.records) > maxRecords {
		t.Error(len(s.records))
	}
}

// FuzzVerify checks that no record that isn't about a certificate of the chain lets it through, by a comparison of its own.
func FuzzVerify(f *testing.F) {
	ca := testcert.NewCA(f)
	leaf := ca.Issue(f, "mx.example.org").Leaf
	chain := []*x509.Certificate{leaf, ca.Cert}
	for _, usage := range []uint8{2, 3} {
		for _, selector := range []uint8{0, 1} {
			for _, matching := range []uint8{0, 1, 2} {
				f.Add(usage, selector, matching, record(usage, selector, matching, chain[3-usage]).Data)
			}
		}
	}
	f.Add(uint8(3), uint8(1), uint8(1), []byte{})
	f.Fuzz(func(t *testing.T, usage, selector, matching uint8, data []byte) {
		s := Usable([]resolver.Association{{Usage: usage, Selector: selector, Matching: matching, Data: data}})
		err := s.Verify(chain, []string{"mx.example.org"}, time.Now())
		want := false
		if (usage == 2 || usage == 3) && selector < 2 && matching < 3 {
			for i, c := range chain {
				if bytes.Equal(record(usage, selector, matching, c).Data, data) && (usage == 2 || i == 0) {
					want = true
				}
			}
		}
		if (err == nil) != want {
			t.Fatalf("%d %d %d %x: %v", usage, selector, matching, data, err)
		}
	})
}
