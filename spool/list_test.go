//go:build unix

package spool

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
)

// hostile addresses are valid, or almost: they must be data wherever they go.
var hostile = []string{
	`"'; DROP TABLE spool_item; --"@example.org`, `"a%b_c"@example.org`, `"back\\slash"@example.org`, `"quo\"te"@example.org`,
	`o'brien@example.org`, `%s%n@example.org`, `$1@example.org`, `"{\"a\":1}"@example.org`, `"a b"@example.org`, `jörg@example.org`,
}

func TestHostileAddressesAreData(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		for _, address := range hostile {
			p, err := esmtp.NewPath(address, "")
			if err != nil {
				t.Fatalf("%s: %v", address, err)
			}
			it := newItem(address, 0)
			it.Sender, it.Recipients = PathOf(p), []Recipient{{Path: PathOf(p)}}
			id := put(t, s, "x", it)[0]
			for _, f := range []Filter{{Sender: p.String()}, {Recipient: strings.ToUpper(p.String())}, {Route: address}, {Sender: "*"}, {Message: id}} {
				items, next, err := s.List(t.Context(), f)
				if err != nil || len(items) != 1 || items[0].ID != id || next != 0 || items[0].Sender.Address != p.String() || items[0].Route != address {
					t.Errorf("%s: %+v: got %v, %v", address, f, items, err)
				}
			}
			for _, it := range lease(t, s, LeaseOptions{}) {
				it.State = Delivered
				if err := s.Settle(t.Context(), it); err != nil {
					t.Error(err)
				}
			}
			eventually(t, "gone", func() bool { _, err := s.Get(t.Context(), id); return errors.Is(err, ErrNotFound) })
		}
	})
}

func TestWhatWouldBeAnotherLineIsRefused(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		for name, spoil := range map[string]func(*Item){
			"no recipient":     func(it *Item) { it.Recipients = nil },
			"null recipient":   func(it *Item) { it.Recipients[0].Address = "" },
			"LF in sender":     func(it *Item) { it.Sender.Address = "a\n@example.org" },
			"CR in recipient":  func(it *Item) { it.Recipients[0].Address = "a@example.org\r" },
			"NUL in recipient": func(it *Item) { it.Recipients[0].Address = "a\x00@example.org" },
			"LF in params":     func(it *Item) { it.Sender.Params = "SIZE=1\nRSET" },
			"C1 in route":      func(it *Item) { it.Route = "\u0085" },
			"no UTF-8":         func(it *Item) { it.Origin.Helo = "\xff" },
			"LF in hop":        func(it *Item) { it.NextHops = []string{"a\nb"} },
			"priority":         func(it *Item) { it.Priority = 10 },
			"state":            func(it *Item) { it.State = Delivered },
			"two addresses":    func(it *Item) { it.Recipients[0].Address = "a@example.org> <b@example.org" },
		} {
			it := newItem("example.net", 1)
			spoil(it)
			d := s.Create()
			d.Write([]byte("x"))
			if ids, err := d.Commit(t.Context(), newItem("good.example", 1), it); !errors.Is(err, ErrItem) || ids != nil {
				t.Errorf("%s: got %v, %v", name, ids, err)
			}
		}
		if st, err := s.Stats(t.Context(), 0); err != nil || len(st.Count) > 0 {
			t.Errorf("%+v, %v", st, err)
		}
	})
}

func TestListGoesOnPageByPage(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		s := openTest(t, url, nil)
		for i := range 600 {
			it := newItem("a.example", 1)
			if i%2 == 0 {
				it.State = Frozen
			}
			put(t, s, "x", it)
		}
		seen := map[ID]bool{}
		for after, pages := ID(0), 0; ; pages++ {
			items, next, err := s.List(t.Context(), Filter{States: []State{Frozen}, After: after, Limit: 70})
			if err != nil || len(items) > 70 || pages > 10 {
				t.Fatal(len(items), pages, err)
			}
			for _, it := range items {
				seen[it.ID] = true
			}
			if after = next; next == 0 {
				break
			}
		}
		if len(seen) != 300 {
			t.Errorf("%d listed", len(seen))
		}
		st, err := s.Stats(t.Context(), 5)
		if err != nil || st.Count[Queued] != 300 || st.Count[Frozen] != 300 || len(st.Routes) != 1 || st.Routes[0].Queued != 300 {
			t.Errorf("%+v, %v", st, err)
		}
		if items, _, err := s.List(t.Context(), Filter{Older: time.Hour}); err != nil || len(items) > 0 {
			t.Errorf("%v, %v", items, err)
		}
		if items, _, err := s.List(t.Context(), Filter{Younger: time.Hour, Limit: 5}); err != nil || len(items) != 5 {
			t.Errorf("%v, %v", items, err)
		}
	})
}

func TestMatchText(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"example", "bob@EXAMPLE.org", true}, {"*@example.org", "bob@example.org", true}, {"*@example.org", "bob@example.org.evil", false},
		{"b?b@*", "bob@x", true}, {"b?b@*", "bb@x", false}, {"*", "", true}, {"a*b*c", "aXbYbZc", true}, {"[a-z]", "a", false},
		{"%", "a", false}, {"_", "a", false}, {"*.*.*", "a.b", false},
	} {
		if got := matchText(c.pattern, c.text); got != c.want {
			t.Errorf("%q, %q: got %v", c.pattern, c.text, got)
		}
	}
	evil := strings.Repeat("*a", 2000)
	start := time.Now()
	matchText(evil+"b", strings.Repeat("a", 4000))
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("a hostile pattern took %v", d)
	}
}

// FuzzItem: what validate lets through comes back from the row as it was.
func FuzzItem(f *testing.F) {
	f.Add("a@example.org", "SIZE=1", `"q\"@x"@example.org`, "NOTIFY=NEVER", "route", "451 \x01", int8(3), int64(1))
	f.Add("", "", "jörg@example.org", "", "', \\", "\xff", int8(-9), int64(1<<60))
	f.Fuzz(func(t *testing.T, sender, params, rcpt, rparams, route, reply string, priority int8, ms int64) {
		it := &Item{Sender: Path{sender, params}, Recipients: []Recipient{{Path: Path{rcpt, rparams}, Reply: reply}}, Route: route,
			Priority: int(priority), LastError: reply, Retry: []time.Duration{time.Duration(ms)}, Size: 1, Chunks: 1}
		if it.validate() != nil {
			return
		}
		it.clean()
		for _, s := range []string{sender, params, rcpt, rparams, route, it.LastError} {
			if strings.ContainsAny(s, "\r\n\x00") {
				t.Fatalf("%q was let through", s)
			}
		}
		data, err := encode(it)
		if err != nil {
			t.Fatal(err)
		}
		r := row{item: Item{Route: it.Route, Priority: it.Priority}, data: data}
		got, err := r.decode()
		if err != nil || !reflect.DeepEqual(got, it) {
			t.Fatalf("got %+v of %+v, %v", got, it, err)
		}
	})
}

// FuzzRow: no row, however damaged, does more than be damaged.
func FuzzRow(f *testing.F) {
	f.Add(`{"sender":{"address":""},"recipients":[{"address":"a"}],"size":1}`)
	f.Add(`{"recipients":[{"state":"x"}]}`)
	f.Fuzz(func(t *testing.T, data string) {
		r := row{item: Item{ID: 7, Message: 7, State: Queued, Route: "r"}, data: data}
		it, err := r.decode()
		if it.ID != 7 || it.Message != 7 || it.Route != "r" || err != nil && it.State != Damaged || err == nil && it.State != Queued {
			t.Fatalf("%+v, %v", it, err)
		}
	})
}

func TestItemsAreReadableJSON(t *testing.T) {
	it := newItem("example.net", 1)
	it.ID, it.State = 1<<60, Frozen
	b, err := json.Marshal(it)
	var back Item
	if err = errors.Join(err, json.Unmarshal(b, &back)); err != nil || !reflect.DeepEqual(&back, it) {
		t.Errorf("%s, %v", b, err)
	}
	for _, want := range []string{`"state":"frozen"`, `"id":"1000000000000"`, `"address":"bob0@example.net"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("038e2ptqw0002")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseID(s); err == nil && (id.String() != s || id < 0) {
			t.Fatalf("%q is %d is %s", s, id, id)
		}
	})
}
