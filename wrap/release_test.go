package wrap

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/spool"
)

func openSpool(t *testing.T) spool.Spool {
	t.Helper()
	s, err := spool.Open(t.Context(), t.TempDir(), &spool.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// held puts a message into quarantine.
func held(t *testing.T, s spool.Spool, body io.Reader, change func(*spool.Item)) spool.ID {
	t.Helper()
	it := &spool.Item{
		State: spool.Quarantined, Reason: "looks like a bill", Sender: spool.Path{Address: "eve@evil.example", Params: "SIZE=69 body=8BITMIME ENVID=x ret=full"},
		Recipients: []spool.Recipient{{Path: spool.Path{Address: "bob@example.org", Params: "NOTIFY=NEVER"}}},
		Route:      "example.org", NextHops: []string{"hop.example.org"}, Priority: 3, Retry: []time.Duration{time.Minute},
	}
	if change != nil {
		change(it)
	}
	d := s.Create()
	if _, err := io.Copy(d, body); err != nil {
		t.Fatal(err)
	}
	ids, err := d.Commit(t.Context(), it)
	if err != nil {
		t.Fatal(err)
	}
	return ids[0]
}

// sent leases what was released, if anything was.
func sent(t *testing.T, s spool.Spool) *spool.Item {
	t.Helper()
	items, err := s.Lease(t.Context(), spool.LeaseOptions{})
	if err != nil || len(items) > 1 {
		t.Fatalf("%d items, %v", len(items), err)
	}
	if len(items) == 0 {
		return nil
	}
	return items[0]
}

var options = Options{Hostname: "mx.example.org"}

func TestReleaseSendsItWrapped(t *testing.T) {
	s := openSpool(t)
	const original = "Subject: your bill\r\n\r\nü\r\n"
	id := held(t, s, strings.NewReader(original), nil)
	if err := Release(t.Context(), s, id, options, nil); err != nil {
		t.Fatal(err)
	}
	it := sent(t, s)
	if it == nil || it.Parent != id || it.Sender != (spool.Path{Address: "eve@evil.example", Params: "RET=HDRS ENVID=x"}) || it.Reason != "" ||
		it.Recipients[0].Path != (spool.Path{Address: "bob@example.org", Params: "NOTIFY=NEVER"}) || it.Needs != spool.Needs8Bit ||
		it.Route != "example.org" || !slices.Equal(it.NextHops, []string{"hop.example.org"}) || it.Priority != 3 || len(it.Retry) != 1 {
		t.Errorf("%+v", it)
	}
	body, err := s.OpenBody(t.Context(), it)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	o := open(t, &Message{original: body}) // nothing around it: it is read as it is
	if string(o.original) != original || !strings.Contains(o.text, "looks like a bill") {
		t.Errorf("%+v", o)
	}
	if before, err := s.Get(t.Context(), id); err != nil || before.State != spool.Removed {
		t.Errorf("%+v, %v", before, err)
	}
	var one *spool.ItemError
	if err := Release(t.Context(), s, id, options, nil); !errors.As(err, &one) || !errors.Is(err, spool.ErrMove) {
		t.Errorf("got %v", err)
	}
}

// As one that is released as it is: not before its sender wants that, and with time to be delivered in.
func TestReleaseKeepsTheTimesThatAreToCome(t *testing.T) {
	s := openSpool(t)
	over, later := time.Now().Add(-time.Hour).Truncate(time.Second), time.Now().Add(time.Hour).Truncate(time.Second)
	for _, expires := range []time.Time{over, later} {
		id := held(t, s, strings.NewReader("A: b\r\n\r\n"), func(it *spool.Item) { it.NotBefore, it.Expires = later, expires })
		if err := Release(t.Context(), s, id, options, nil); err != nil {
			t.Fatal(err)
		}
		items, _, err := s.List(t.Context(), spool.Filter{States: []spool.State{spool.Queued}, Younger: time.Hour})
		if err != nil || len(items) == 0 {
			t.Fatalf("%v, %v", items, err)
		}
		if it := items[len(items)-1]; !it.Due.Equal(later) || it.Expires.Equal(later) != (expires == later) || it.Expires.Equal(over) {
			t.Errorf("%+v", it)
		}
	}
}

func TestReleaseWithAnotherEnvelopeAndReason(t *testing.T) {
	s := openSpool(t)
	id := held(t, s, strings.NewReader("A: b\r\n\r\n"), nil)
	err := Release(t.Context(), s, id, Options{Hostname: "mx.example.org", Reason: "ask the help desk"}, func(it *spool.Item) {
		it.Sender.Address = ""
		it.Recipients[0].Address = "postmaster@example.org"
	})
	if err != nil {
		t.Fatal(err)
	}
	it := sent(t, s)
	body, err := s.OpenBody(t.Context(), it)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	o := open(t, &Message{original: body})
	if it.Sender.Address != "" || o.header.Get("To") != "<postmaster@example.org>" || strings.Contains(o.text, "bill") ||
		!strings.Contains(o.text, "ask the help desk") || !strings.Contains(o.text, "<bob@example.org>") || !strings.Contains(o.text, "<eve@evil.example>") {
		t.Errorf("%+v\n%+v", it, o)
	}
	if before, err := s.Get(t.Context(), id); err != nil || before.Recipients[0].Address != "bob@example.org" {
		t.Errorf("the edit is of the original: %+v, %v", before, err)
	}
}

// What the next hop must be able to do is what the message is now.
func TestReleaseNeeds(t *testing.T) {
	for name, c := range map[string]struct {
		original   string
		params     string
		need, want spool.Needs
	}{
		"said to be 8bit":   {"A: b\r\n\r\nx", "", spool.Needs8Bit | spool.NeedsRequireTLS, spool.NeedsRequireTLS},
		"said to be binary": {"A: b\r\n\r\nx", "BODY=BINARYMIME", spool.NeedsBinary, 0},
		"binary":            {"A: b\r\n\r\nx\x00\xff", "BODY=BINARYMIME", spool.NeedsBinary, spool.NeedsBinary | spool.Needs8Bit},
		"binary by MAIL":    {"A: b\r\n\r\nx\x00", "BODY=BINARYMIME", 0, spool.NeedsBinary},
		"came by DATA":      {"A: b\n\nx", "", 0, 0},
		"UTF-8 header":      {"A: ü\r\n\r\nx", "SMTPUTF8", spool.NeedsUTF8 | spool.Needs8Bit, spool.NeedsUTF8 | spool.Needs8Bit},
		"UTF-8 envelope":    {"A: u\r\n\r\nx", "SMTPUTF8", spool.NeedsUTF8, spool.NeedsUTF8},
	} {
		s := openSpool(t)
		id := held(t, s, strings.NewReader(c.original), func(it *spool.Item) { it.Sender.Params, it.Needs = c.params, c.need })
		if err := Release(t.Context(), s, id, options, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if it := sent(t, s); it.Needs != c.want {
			t.Errorf("%s: %b, want %b", name, it.Needs, c.want)
		}
	}
}

// What goes wrong leaves the item in quarantine, and nothing else.
func TestAReleaseThatFailsChangesNothing(t *testing.T) {
	s := openSpool(t)
	id := held(t, s, strings.NewReader("A: b\r\n\r\n"), nil)
	err := Release(t.Context(), s, id, options, func(it *spool.Item) { it.Recipients[0].Address = "b@example.net\r\nRCPT TO:<c@example.net>" })
	if !errors.Is(err, spool.ErrItem) {
		t.Errorf("got %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Release(gone, s, id, options, nil); err == nil {
		t.Error("released for nobody")
	}
	if err := Release(t.Context(), s, 12345, options, nil); !errors.Is(err, spool.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if it, err := s.Get(t.Context(), id); err != nil || it.State != spool.Quarantined || sent(t, s) != nil {
		t.Errorf("%+v, %v", it, err)
	}
}

// TestALargeMessageCostsNoMemory releases 150 MB.
func TestALargeMessageCostsNoMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("150 MB")
	}
	s := openSpool(t)
	const size = 150 << 20
	line := strings.Repeat("x", 70) + "\r\n"
	id := held(t, s, io.LimitReader(&endless{text: line}, size), nil)
	w := &watcher{Spool: s}
	runtime.GC()
	w.look()
	base := w.peak.Load()
	if err := Release(t.Context(), w, id, options, nil); err != nil {
		t.Fatal(err)
	}
	if it := sent(t, s); it.Size < size || it.Size > size+2000 {
		t.Errorf("%d octets", it.Size)
	}
	if used := w.peak.Load() - base; used > 8<<20 {
		t.Errorf("%d MiB of memory were used", used>>20)
	}
}

// endless is a text again and again.
type endless struct {
	text string
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.text[e.at:])
	e.at = (e.at + n) % len(e.text)
	return n, nil
}

// watcher is a spool that looks at the memory while a body is read.
type watcher struct {
	spool.Spool
	peak  atomic.Uint64
	reads int
}

func (w *watcher) look() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.peak.Store(max(w.peak.Load(), m.HeapInuse))
}

func (w *watcher) OpenBody(ctx context.Context, it *spool.Item) (io.ReadSeekCloser, error) {
	body, err := w.Spool.OpenBody(ctx, it)
	return &watched{body, w}, err
}

type watched struct {
	io.ReadSeekCloser
	w *watcher
}

func (r *watched) Read(p []byte) (int, error) {
	if r.w.reads++; r.w.reads%100 == 0 {
		r.w.look()
	}
	return r.ReadSeekCloser.Read(p)
}
