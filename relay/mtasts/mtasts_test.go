package mtasts

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const good = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.org\r\nmx: *.Example.net\r\nmax_age: 604800\r\n"

func TestParse(t *testing.T) {
	week := 604800 * time.Second
	for text, want := range map[string]Policy{
		good:                                   {ModeEnforce, []string{"mx.example.org", "*.example.net"}, week},
		strings.ReplaceAll(good, "\r\n", "\n"): {ModeEnforce, []string{"mx.example.org", "*.example.net"}, week},
		"max_age:\t604800\nmx : a.example \nmode:testing\nversion:STSv1":            {ModeTesting, []string{"a.example"}, week},
		"version: STSv1\nmode: none\nmax_age: 604800\n\n":                           {ModeNone, nil, week},
		"version: STSv1\nmode: none\nmode: enforce\nmax_age: 0\nx: y\nmax_age: 9\n": {ModeNone, nil, 0},
		"version: STSv1\nmode: none\nmax_age: 9999999999\n":                         {ModeNone, nil, 31557600 * time.Second},
	} {
		if p, err := Parse([]byte(text)); err != nil || !reflect.DeepEqual(p, want) {
			t.Errorf("%q: %+v %v", text, p, err)
		}
	}
	for _, text := range []string{
		"", "version: STSv1", "version: STSv2\nmode: none\nmax_age: 1", "version: STSv1\nmode: Enforce\nmx: a.b\nmax_age: 1", "version: STSv1\nmode: none",
		"version: STSv1\nmode: none\nmax_age: -1", "version: STSv1\nmode: none\nmax_age: 10000000000", "version: STSv1\nmode: none\nmax_age: 1e3",
		"version: STSv1\nmode: enforce\nmax_age: 1", "version: STSv1\nmode: enforce\nmx: *\nmax_age: 1", "version: STSv1\nmode: enforce\nmx: a.*.b\nmax_age: 1",
		"version: STSv1\nmode: enforce\nmx: *.*.b\nmax_age: 1", "version: STSv1\nmode: enforce\nmx: a b\nmax_age: 1", "version: STSv1\nmode: enforce\nmx:\nmax_age: 1",
		"nonsense\n" + good, good + strings.Repeat("mx: a.example\n", maxMX), good + strings.Repeat("x: y\n", maxPolicy/4), "\ufeff" + good,
	} {
		if p, err := Parse([]byte(text)); !errors.Is(err, ErrPolicy) {
			t.Errorf("%.100q: %+v %v", text, p, err)
		}
	}
}

func TestAWildcardIsOneLabel(t *testing.T) {
	p := Policy{MX: []string{"mx.example.org", "*.example.net"}}
	for host, want := range map[string]bool{
		"mx.example.org": true, "MX.Example.ORG.": true, "a.example.net": true, "a.b.example.net": false, "example.net": false, ".example.net": false,
		"x.mx.example.org": false, "mxexample.org": false, "": false, "*.example.net": true,
	} {
		if got := p.Matches(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

func TestThereIsOneRecordOrNone(t *testing.T) {
	for _, c := range []struct {
		records []string
		want    string
	}{
		{nil, ""},
		{[]string{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z"},
		{[]string{"v=STSv1;id=1"}, "1"},
		{[]string{"v=STSv1 ; x=y; id=1 ; z"}, "1"},
		{[]string{"v=spf1 -all", "v=STSv1; id=1"}, "1"},
		{[]string{"v=STSv1; id=1", "v=STSv1; id=1"}, ""},
		{[]string{"v=STSv1; id=1", "v=STSv1"}, ""},
		{[]string{"v=STSv1"}, ""},
		{[]string{"v=STSv1; id="}, ""},
		{[]string{"v=STSv1; id=a-b"}, ""},
		{[]string{"v=STSv1; id=" + strings.Repeat("1", 33)}, ""},
		{[]string{"v=STSv10; id=1"}, ""},
		{[]string{"V=STSv1; id=1"}, ""},
		{[]string{" v=STSv1; id=1"}, ""},
	} {
		if id, ok := recordID(c.records); ok != (c.want != "") || ok && id != c.want {
			t.Errorf("%q: %q %v", c.records, id, ok)
		}
	}
}

// FuzzParse checks that a policy that is accepted is within its bounds, and is the same when written and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("version: STSv1\nmode: none\nmax_age: 1\nmode: x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			if !errors.Is(err, ErrPolicy) {
				t.Fatal(err)
			}
			return
		}
		if len(p.MX) > maxMX || p.MaxAge < 0 || p.MaxAge > maxAge || p.Mode != ModeNone && len(p.MX) == 0 {
			t.Fatalf("%+v", p)
		}
		again := fmt.Sprintf("version: STSv1\nmode: %s\nmax_age: %d\n", p.Mode, p.MaxAge/time.Second)
		for _, mx := range p.MX {
			again += "mx: " + mx + "\n"
			if host := strings.Replace(mx, "*", "label", 1); !p.Matches(host) || p.Matches("x."+mx) != p.Matches("x."+host) && !strings.HasPrefix(mx, "*") {
				t.Fatalf("%q does not match %q", mx, host)
			}
		}
		if q, err := Parse([]byte(again)); err != nil || !reflect.DeepEqual(p, q) {
			t.Fatalf("%+v became %+v: %v", p, q, err)
		}
	})
}
