package caddymodule

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-esmtp/esmtp"
)

// counter is the end of a stack, with state of the connection.
type counter struct {
	esmtp.Default
	Start int `json:"start"`
}

func (c *counter) NOOP(*esmtp.Session, string) esmtp.Reply {
	c.Start++
	return esmtp.OK(strings.Repeat("x", c.Start))
}

// layered is a layer that can read its own tokens.
type layered struct {
	esmtp.Handler
	Words []string `json:"words,omitempty"`
}

func (l *layered) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	l.Words = d.RemainingArgs()
	return nil
}

func (l *layered) NOOP(s *esmtp.Session, arg string) esmtp.Reply {
	r := l.Handler.NOOP(s, arg)
	r.Lines = append(r.Lines, l.Words...)
	return r
}

// more is embedded in fields.
type more struct {
	Inner string
}

// fields has a field of each kind.
type fields struct {
	esmtp.Default
	more
	Text   string         `json:"text,omitempty"`
	Plain  string         // without a tag
	Flag   bool           `json:"flag,omitempty"`
	Flags  []bool         `json:"flags,omitempty"`
	Small  int8           `json:"small,omitempty"`
	Count  uint           `json:"count,omitempty"`
	Ratio  float64        `json:"ratio,omitempty"`
	Wait   caddy.Duration `json:"wait,omitempty"`
	Pause  time.Duration  `json:"pause,omitempty"`
	Net    netip.Prefix   `json:"net,omitzero"`
	Nets   []netip.Prefix `json:"nets,omitempty"`
	Words  []string       `json:"words,omitempty"`
	Map    map[string]int `json:"map,omitempty"`
	Hidden string         `json:"-"`
}

func init() {
	Register[counter]("test_counter")
	Register[layered]("test_layered")
	Register[fields]("test_fields")
}

func TestEveryConnectionHasAValueOfItsOwn(t *testing.T) {
	path := socket(t)
	load(t, "unix/"+path+" {\nhostname mx.example.org\ntest_layered one two\ntest_layered three\ntest_counter {\nstart 2\n}\n}")
	a, b := dial(t, path), dial(t, path)
	a.Expect("220 *")
	b.Expect("220 *")
	for _, want := range []string{"xxx", "xxxx"} {
		a.Send("NOOP")
		lines, err := a.ReadReply()
		if got := strings.Join(lines, "|"); err != nil || got != "250-2.0.0 "+want+"|250-2.0.0 three|250-2.0.0 one|250 2.0.0 two" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	b.Run("C: NOOP\nS: 250-2.0.0 xxx\nS: ...\n")
}

func TestEmbeddedHandlerIsNoConfiguration(t *testing.T) {
	g := &guest[layered, *layered]{name: "test_layered", next: nextField(reflect.TypeFor[layered]())}
	g.config.Words = []string{"a"}
	if got := string(caddyconfig.JSONModuleObject(g, "handler", "test_layered", nil)); got != `{"handler":"test_layered","words":["a"]}` {
		t.Errorf("got %s", got)
	}
	for _, config := range []string{`{"Handler":{}}`, `{"handler":"x"}`, `{"words":["a"],"word":"b"}`} {
		if err := g.UnmarshalJSON([]byte(config)); err == nil || !strings.HasPrefix(err.Error(), "test_layered: json: ") {
			t.Errorf("%s: got %v, want an error", config, err)
		}
	}
}

// read reads a block for a new value of fields.
func read(block string) (*fields, error) {
	v := new(fields)
	return v, readFields(caddyfile.NewTestDispenser("test_fields {\n"+block+"\n}"), reflect.ValueOf(v).Elem())
}

func TestFieldsOfACaddyfile(t *testing.T) {
	got, err := read(`
		text "a b"
		Plain x
		Inner y
		flag
		flags true false
		small -128
		count 5
		ratio 0.5
		wait 1d
		pause 5ms
		net 192.0.2.0/24
		nets 192.0.2.0/24 2001:db8::/32
		words a b
		words "c d"
	`)
	v4, v6 := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")
	want := &fields{
		more: more{Inner: "y"}, Text: "a b", Plain: "x", Flag: true, Flags: []bool{true, false}, Small: -128, Count: 5, Ratio: 0.5,
		Wait: caddy.Duration(24 * time.Hour), Pause: 5 * time.Millisecond, Net: v4, Nets: []netip.Prefix{v4, v6},
		Words: []string{"a", "b", "c d"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestFieldsThatAreWrong(t *testing.T) {
	for line, want := range map[string]string{
		"txet a":      `test_fields: unrecognized field "txet"; did you mean text?`,
		"Hidden a":    `test_fields: unrecognized field "Hidden"`,
		"Default a":   `test_fields: unrecognized field "Default"`,
		"text":        "test_fields: text: takes one value",
		"text a b":    "test_fields: text: takes one value",
		"text {":      "test_fields: text: takes one value",
		"text a {":    "test_fields: a field takes values, not a block",
		"words":       "test_fields: words: takes values",
		"flag maybe":  `test_fields: flag: takes true or false, not "maybe"`,
		"flag on off": "test_fields: flag: takes one value",
		"small 128":   "test_fields: small: 128 is out of range",
		"small x":     `test_fields: small: takes a whole number, not "x"`,
		"count -1":    `test_fields: count: takes a whole number, 0 or more, not "-1"`,
		"ratio x":     `test_fields: ratio: takes a number, not "x"`,
		"wait 5":      `test_fields: wait: takes a duration, such as 30s or 5m, not "5"`,
		"net x":       "test_fields: net: netip.ParsePrefix",
		"nets 1 2":    "test_fields: nets: netip.ParsePrefix",
		"map a 1":     "test_fields: map: takes one value",
		"map a":       "test_fields: map: has a type that a Caddyfile can't set",
	} {
		if _, err := read(line); err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), ", at Testfile:2") {
			t.Errorf("%s:\n got %v\nwant %s", line, err, want)
		}
	}
}

func TestNamesAreRegisteredOnce(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a second test_counter was taken")
		}
	}()
	Register[counter]("test_counter")
}
