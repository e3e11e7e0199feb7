package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/spool"
)

// queueAdmin is a Caddy with a queue whose spool a test can fill by itself.
type queueAdmin struct {
	*admin
	rig *queueRig
}

// loadQueueAdmin runs a queue that delivers nothing by itself, unless settings say where to.
func loadQueueAdmin(t *testing.T, hop string) *queueAdmin {
	rig := newQueueRig(t)
	if hop == "" {
		hop = rig.hop()
	}
	return &queueAdmin{loadAdmin(t, rig.block(hop, "retry 1h")), rig}
}

func (a *queueAdmin) spool() spool.Spool {
	a.Helper()
	q, err := findQueue("default")
	if err != nil {
		a.Fatal(err)
	}
	return q.live.shared
}

// put puts a message into the spool, due in an hour unless it says when.
func (a *queueAdmin) put(body string, items ...*spool.Item) []spool.ID {
	a.Helper()
	for _, it := range items {
		if it.State == spool.Queued && it.Due.IsZero() {
			it.Due = time.Now().Add(time.Hour)
		}
	}
	d := a.spool().Create()
	if _, err := io.WriteString(d, body); err != nil {
		a.Fatal(err)
	}
	ids, err := d.Commit(context.Background(), items...)
	if err != nil {
		a.Fatal(err)
	}
	return ids
}

// letter is an item from one to others, for the domain of the first.
func letter(from string, to ...string) *spool.Item {
	it := &spool.Item{Sender: spool.Path{Address: from}}
	for _, address := range to {
		it.Recipients = append(it.Recipients, spool.Recipient{Path: spool.Path{Address: address}})
	}
	_, it.Route, _ = strings.Cut(to[0], "@")
	return it
}

func in(state spool.State, it *spool.Item) *spool.Item {
	it.State = state
	if state != spool.Queued {
		it.Reason = "because"
	}
	return it
}

const items = "/esmtp/queues/default/items"

func (a *queueAdmin) page(query string) (page itemsView) {
	a.Helper()
	a.get("GET", items+query, &page)
	return page
}

// state is that of an item, "gone" if there is none.
func (a *queueAdmin) state(id spool.ID) string {
	a.Helper()
	var it itemView
	resp, text := a.send("GET", items+"/"+id.String(), "")
	if resp.StatusCode == http.StatusNotFound {
		return "gone"
	}
	if err := json.Unmarshal([]byte(text), &it); err != nil {
		a.Fatalf("%v: %s", err, text)
	}
	return it.State.String()
}

func (a *queueAdmin) move(path, body string) (view movedView) {
	a.Helper()
	resp, text := a.send("POST", items+path, body)
	if resp.StatusCode != http.StatusOK {
		a.Fatalf("%s: %s %s", path, resp.Status, text)
	}
	if err := json.Unmarshal([]byte(text), &view); err != nil {
		a.Fatalf("%v: %s", err, text)
	}
	return view
}

func TestAdminShowsQueues(t *testing.T) {
	a := loadQueueAdmin(t, "")
	a.put("1", letter("ann@one.example", "bob@two.example"), letter("ann@one.example", "cid@three.example"))
	a.put("2", letter("ann@one.example", "dan@two.example"))
	a.put("3", in(spool.Quarantined, letter("ann@one.example", "dan@two.example")))
	var got struct{ Queues []queueView }
	a.get("GET", "/esmtp/queues?routes=1", &got)
	if len(got.Queues) != 1 {
		t.Fatalf("got %+v", got)
	}
	q := got.Queues[0]
	if q.Name != "default" || q.Kind != "sqlite" || q.Spool != a.rig.spool || q.Draining || q.Full || q.Active != 0 || q.Concurrency != 100 ||
		q.Count[spool.Queued] != 3 || q.Count[spool.Quarantined] != 1 || time.Since(q.Oldest[spool.Queued]) > time.Minute ||
		len(q.Routes) != 1 || q.Routes[0].Route != "two.example" || q.Routes[0].Queued != 2 {
		t.Errorf("got %+v", q)
	}
	var one queueView
	if a.get("GET", "/esmtp/queues/default", &one); one.Name != "default" || len(one.Routes) != 2 {
		t.Errorf("got %+v", one)
	}
}

// A spool is one queue, whatever names it has and however many configs have it open; that of an old config alone is shown as long as a session holds it.
func TestAdminShowsASpoolOnce(t *testing.T) {
	a := loadQueueAdmin(t, "")
	session := dial(t, a.rig.in)
	session.Expect("220 *")
	other := filepath.Join(tempDir(t), "spool")
	a.load("queue zwei {\nspool " + a.rig.spool + "\n}\nqueue other {\nspool " + other + "\n}\n")
	var got struct{ Queues []queueView }
	a.get("GET", "/esmtp/queues", &got)
	if q := got.Queues; len(q) != 2 || q[0].Name != "other" || q[1].Name != "zwei" || fmt.Sprint(q[1].Also) != "[default]" || q[1].Draining {
		t.Errorf("got %+v", q)
	}
	a.load("queue other {\nspool " + other + "\n}\n")
	eventually(t, func() string { // the config in between, which no session holds, goes by itself
		a.get("GET", "/esmtp/queues", &got)
		if q := got.Queues; len(q) != 2 || q[0].Name != "default" || !q[0].Draining || q[1].Draining {
			return fmt.Sprintf("got %+v", q)
		}
		return ""
	})
	if resp, text := a.send("POST", "/esmtp/queues/default/concurrency", `{"concurrency": 3}`); resp.StatusCode != http.StatusConflict {
		t.Errorf("got %s %s", resp.Status, text)
	}
	session.Cmd("QUIT", "221 *")
}

func TestAdminListsItems(t *testing.T) {
	a := loadQueueAdmin(t, "")
	var ids []spool.ID
	ids = append(ids, a.put("one", letter("ann@one.example", "bob@two.example", "cid@two.example"), letter("ann@one.example", "dan@three.example"))...)
	ids = append(ids, a.put("two", in(spool.Frozen, letter("", "ann@one.example")))...)
	quarantined := in(spool.Quarantined, letter("eve@evil.example", "bob@two.example"))
	quarantined.NextHops = []string{"ann@smart.example:587"}
	quarantined.Retry = []time.Duration{time.Minute, -1}
	quarantined.Needs = spool.Needs8Bit | spool.NeedsUTF8
	quarantined.Origin = spool.Origin{User: "eve", Client: "192.0.2.1"}
	quarantined.Recipients[0].Params = "NOTIFY=NEVER"
	ids = append(ids, a.put("three", quarantined)...)
	for query, want := range map[string]string{
		"":                                  "0123",
		"?state=queued":                     "01",
		"?state=frozen,quarantined":         "23",
		"?state=removed":                    "",
		"?sender=ANN@":                      "01",
		"?sender=<>":                        "2",
		"?sender=*@evil.example":            "3",
		"?recipient=bob":                    "03",
		"?recipient=bob&state=queued":       "0",
		"?route=three":                      "1",
		"?route=smart":                      "3",
		"?message=" + ids[1].String():       "",
		"?message=" + ids[0].String():       "01",
		"?older=1h":                         "",
		"?younger=1h":                       "0123",
		"?limit=2":                          "01",
		"?limit=3&after=" + ids[1].String(): "23",
	} {
		var got strings.Builder
		for _, it := range a.page(strings.ReplaceAll(query, "<>", "%3C%3E")).Items {
			fmt.Fprint(&got, slices.Index(ids, it.ID))
		}
		if got.String() != want {
			t.Errorf("%s: got items %s, want %s", query, got.String(), want)
		}
	}
	if page := a.page("?limit=2"); page.Next != ids[1].String() {
		t.Errorf("got %+v", page)
	}
	if page := a.page("?after=" + ids[3].String()); page.Next != "" || page.Items == nil {
		t.Errorf("got %+v", page)
	}
	var it itemView
	a.get("GET", items+"/"+strings.ToUpper(ids[3].String()), &it)
	if it.ID != ids[3] || it.State != spool.Quarantined || it.Reason != "because" || it.Sender.Address != "eve@evil.example" || it.RecipientCount != 1 ||
		it.Recipients[0].Address != "bob@two.example" || it.Recipients[0].State != spool.Remaining || fmt.Sprint(it.Retry) != "[60 -1]" ||
		fmt.Sprint(it.Needs) != "[8bit utf8]" || it.Size != 5 || it.Origin.Client != "192.0.2.1" || time.Since(it.Created) > time.Minute {
		t.Errorf("got %+v", it)
	}
	_, hidden := a.send("GET", items+"/"+ids[3].String()+"?redact=1", "")
	for _, secret := range []string{"eve", "bob", "because", "NOTIFY", "ann@"} {
		if strings.Contains(strings.ReplaceAll(hidden, "@evil.example", ""), secret) {
			t.Errorf("%s is shown: %s", secret, hidden)
		}
	}
	if !strings.Contains(hidden, `"***@two.example"`) || !strings.Contains(hidden, `"***@smart.example:587"`) {
		t.Errorf("got %s", hidden)
	}
	// States are said, also those that are zero.
	if _, text := a.send("GET", items+"/"+ids[0].String(), ""); !strings.Contains(text, `"state":"queued"`) || !strings.Contains(text, `"state":"remaining"`) {
		t.Errorf("got %s", text)
	}
}

// Of many recipients a list shows the first ones, an item all.
func TestAdminBoundsTheRecipientsOfAList(t *testing.T) {
	a := loadQueueAdmin(t, "")
	it := letter("ann@one.example", "bob@two.example")
	for i := range 99 {
		it.Recipients = append(it.Recipients, spool.Recipient{Path: spool.Path{Address: fmt.Sprintf("bob%d@two.example", i)}})
	}
	id := a.put("x", it)[0]
	if it := a.page("").Items[0]; len(it.Recipients) != maxRecipients || it.RecipientCount != 100 {
		t.Errorf("got %d of %d", len(it.Recipients), it.RecipientCount)
	}
	var one itemView
	if a.get("GET", items+"/"+id.String(), &one); len(one.Recipients) != 100 {
		t.Errorf("got %d", len(one.Recipients))
	}
}

// A message comes out as it went in; large ones are files, small ones rows.
func TestAdminGivesMessagesOutAsTheyAre(t *testing.T) {
	a := loadQueueAdmin(t, "")
	for _, body := range []string{"Subject: x\r\n\r\n\x00\xff.\r\n..\r\nno end", "", "\r\n", strings.Repeat("0123456789abcde\n", 200_000)} {
		id := a.put(body, letter("ann@one.example", "bob@two.example"))[0].String()
		resp, got := a.send("GET", items+"/"+id+"/message", "")
		if resp.StatusCode != 200 || got != body || resp.Header.Get("Content-Type") != "message/rfc822" ||
			resp.Header.Get("Content-Disposition") != `attachment; filename="`+id+`.eml"` || resp.ContentLength != int64(len(body)) {
			t.Errorf("got %s, %d octets of %d, %v", resp.Status, len(got), len(body), resp.Header)
		}
	}
}

// Who gets a message that isn't what it was doesn't take it for whole.
func TestAdminBreaksOffADamagedMessage(t *testing.T) {
	a := loadQueueAdmin(t, "")
	id := a.put(strings.Repeat("0123456789abcde\n", 100_000), letter("ann@one.example", "bob@two.example"))[0]
	files, _ := filepath.Glob(filepath.Join(a.rig.spool, "bodies", "*", "*"))
	more, _ := filepath.Glob(filepath.Join(a.rig.spool, "bodies", "*"))
	damaged := false
	for _, name := range append(files, more...) {
		if body, err := os.ReadFile(name); err == nil && len(body) > 0 {
			body[len(body)/2] ^= 1
			damaged = os.WriteFile(name, body, 0o600) == nil
		}
	}
	if !damaged {
		t.Fatal("there is no file")
	}
	req, _ := http.NewRequest("GET", "http://127.0.0.1"+items+"/"+id.String()+"/message", nil)
	resp, err := a.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("got %d octets and no error", n)
	}
	eventually(t, func() string {
		if got := a.state(id); got != "damaged" {
			return "it is " + got
		}
		return ""
	})
	var checked checkView
	if a.get("POST", "/esmtp/queues/default/check", &checked); len(checked.Damaged) != 1 || checked.Damaged[0] != id || checked.Items != 1 {
		t.Errorf("got %+v", checked)
	}
	for args, want := range map[string]string{"check": id.String() + "\n", "check --json": `{"items":1,"damaged":["` + id.String() + `"],"orphans":0}` + "\n"} {
		if out, err := a.queue(strings.Fields(args)...); !errors.Is(err, spool.ErrDamaged) || out != want {
			t.Errorf("%s: got %q, %v, want %q and an error", args, out, err, want)
		}
	}
}

func TestAdminChecksASpool(t *testing.T) {
	a := loadQueueAdmin(t, "")
	a.put("x", letter("ann@one.example", "bob@two.example"))
	if resp, text := a.send("POST", "/esmtp/queues/default/check", ""); text != `{"items":1,"damaged":[],"orphans":0}`+"\n" {
		t.Errorf("got %s %s", resp.Status, text)
	}
	checking.Lock()
	defer checking.Unlock()
	if resp, text := a.send("POST", "/esmtp/queues/default/check", ""); resp.StatusCode != http.StatusConflict {
		t.Errorf("got %s %s", resp.Status, text)
	}
}

func TestAdminChangesTheConcurrency(t *testing.T) {
	a := loadQueueAdmin(t, "")
	if resp, text := a.send("POST", "/esmtp/queues/default/concurrency", `{"concurrency": 7}`); text != `{"active":0,"concurrency":7}`+"\n" {
		t.Errorf("got %s %s", resp.Status, text)
	}
	var q queueView
	if a.get("GET", "/esmtp/queues/default", &q); q.Concurrency != 7 {
		t.Errorf("got %+v", q)
	}
}

func TestAdminSaysWhatIsWrongWithAQueue(t *testing.T) {
	a := loadQueueAdmin(t, "")
	id := a.put("x", letter("ann@one.example", "bob@two.example"))[0].String()
	kept := a.put("x", in(spool.Quarantined, letter("ann@one.example", "bob@two.example")))[0].String()
	const none = "0000000000000"
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "s/", "", 404, "name is missing"},
		{"GET", "s/defalt", "", 404, "did you mean default?"},
		{"DELETE", "s/default", "", 405, "takes GET"},
		{"GET", "s?routes=x", "", 400, "routes is a number"},
		{"GET", "s/default/item", "", 404, "a queue has /items"},
		{"POST", "s/default/hops", "", 405, "takes GET"},
		{"GET", "s/default/hops?redact=x", "", 400, "redact is 1 or 0"},
		{"GET", "s/default/hops?limit=1", "", 400, "no query parameter"},
		{"GET", "s/default/hops/x", "", 404, "a queue has"},
		{"GET", "s/default/check", "", 405, "takes POST"},
		{"POST", "s/default/check", "{", 400, "not the JSON"},
		{"POST", "s/default/check/x", "", 404, "a queue has"},
		{"POST", "s/default/concurrency", "", 400, "from 1 to 10000"},
		{"POST", "s/default/concurrency", `{"concurrency": 10001}`, 400, "from 1 to 10000"},
		{"POST", "s/default/concurrency", `{"concurency": 1}`, 400, "unknown field"},
		{"GET", "s/default/items?state=froozen", "", 400, "did you mean frozen?"},
		{"GET", "s/default/items?state=delivered", "", 400, "there is no state"},
		{"GET", "s/default/items?sender=", "", 400, "the null sender is"},
		{"GET", "s/default/items?older=soon", "", 400, "older is a duration"},
		{"GET", "s/default/items?younger=-1h", "", 400, "younger is a duration"},
		{"GET", "s/default/items?message=x", "", 400, "no id of an item"},
		{"GET", "s/default/items?after=x", "", 400, "no id of an item"},
		{"GET", "s/default/items?limit=1001", "", 400, "limit is a number"},
		{"GET", "s/default/items?id=" + id, "", 400, "no query parameter"},
		{"GET", "s/default/items/x", "", 400, "no id of an item"},
		{"GET", "s/default/items/" + none, "", 404, "no such item"},
		{"GET", "s/default/items/" + none + "/message", "", 404, "no such item"},
		{"GET", "s/default/items/" + id + "/freeze", "", 405, "takes POST"},
		{"POST", "s/default/items/" + id + "/frezze", "", 404, "and freeze, recover, release, remove, send, thaw to be posted to"},
		{"POST", "s/default/items/" + id + "/message/x", "", 404, "nothing below"},
		{"POST", "s/default/items/" + none + "/freeze", "", 404, "no such item"},
		{"POST", "s/default/items/" + id + "/thaw", "", 409, "can't thaw item " + id + ", it is queued"},
		{"POST", "s/default/items/" + id + "/recover", "", 409, "it is queued"},
		{"POST", "s/default/items/" + id + "/release", "", 409, "it is queued"},
		{"POST", "s/default/items/" + kept + "/freeze", "", 409, "it is quarantined"},
		{"POST", "s/default/items/" + kept + "/send", "", 409, "it is quarantined"},
		{"POST", "s/default/items/" + id + "/freeze", `{"raison": "x"}`, 400, "unknown field"},
		{"POST", "s/default/items/" + id + "/freeze", `{} {}`, 400, "something after it"},
		{"POST", "s/default/items/" + id + "/freeze", `{"reason":"` + strings.Repeat("x", maxOrder) + `"}`, 413, "1048576 octets at most"},
		{"POST", "s/default/items/" + id + "/send", `{"retry":["-1m"]}`, 400, "above zero"},
		{"POST", "s/default/items/" + id + "/send", `{"retry":["soon"]}`, 400, "not the JSON"},
		{"POST", "s/default/items/" + kept + "/release", `{"recipients":[]}`, 400, "recipients is empty"},
		{"POST", "s/default/items/" + kept + "/release", `{"recipients":["a b"]}`, 400, "bad address"},
		{"POST", "s/default/items/" + kept + "/release", `{"recipients":["postmaster"]}`, 400, "has no domain"},
		{"POST", "s/default/items/" + kept + "/release", `{"recipients":["a@one.example", "a@two.example"]}`, 400, "that needs next_hops"},
		{"POST", "s/default/items/" + kept + "/release", `{"sender":"a@b\r\n"}`, 400, "bad address"},
		{"POST", "s/default/items/" + kept + "/release", `{"next_hops":["http://x"]}`, 400, "scheme"},
		{"POST", "s/default/items/" + kept + "/release", `{"next_hops":["ann@x"]}`, 400, "next hop smtp://ann@x:25 has a user and no password: want login"},
		{"POST", "s/default/items/freeze", "", 400, "say all=1"},
		{"POST", "s/default/items/freeze?all=0", "", 400, "say all=1"},
		{"POST", "s/default/items/freeze?id=" + id + "&route=x", "", 400, "nothing else to choose them by"},
		{"POST", "s/default/items/freeze?id=x", "", 400, "no id of an item"},
		{"POST", "s/default/items/freeze?id=" + strings.Repeat(id+",", mostMovedByID) + id, "", 400, "1000 items at most"},
		{"GET", "s/default/events?type=frozn", "", 400, "did you mean frozen?"},
		{"GET", "s/default/events?message=x", "", 400, "no id of an item"},
	} {
		resp, text := a.send(test.method, "/esmtp/queue"+test.path, test.body)
		if resp.StatusCode != test.status || !strings.Contains(text, test.want) || !strings.HasPrefix(text, `{"error":"esmtp: `) {
			t.Errorf("%s %s: got %s %s, want %d %q", test.method, test.path, resp.Status, text, test.status, test.want)
		}
	}
	if page := a.page(""); len(page.Items) != 2 || page.Items[0].State != spool.Queued || page.Items[1].State != spool.Quarantined {
		t.Errorf("something was moved: %+v", page)
	}
}

// What reads a message to its end finds all of it, or less and an error: never all of what it wasn't.
func TestCopyWholeHoldsTheLastOctetBack(t *testing.T) {
	for _, body := range []string{"", "x", "0123456789"} {
		var out bytes.Buffer
		if err := copyWhole(&out, strings.NewReader(body), int64(len(body))); err != nil || out.String() != body {
			t.Errorf("got %q, %v, want %q", out.String(), err, body)
		}
		out.Reset()
		err := copyWhole(&out, io.MultiReader(strings.NewReader(body), broken{}), int64(len(body)))
		if err == nil || out.Len() >= max(len(body), 1) {
			t.Errorf("got %q, %v", out.String(), err)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, spool.ErrDamaged }

func TestAdminShowsNoPasswordOfADatabase(t *testing.T) {
	view, err := newQueueView(t.Context(), new(askedSpool), "postgres://ann:geheim@db.example:5432/mail?password=geheim", 0)
	if err != nil || view.Kind != "postgres" || view.Spool != "postgres://db.example:5432/mail" {
		t.Errorf("got %+v, %v", view, err)
	}
}
