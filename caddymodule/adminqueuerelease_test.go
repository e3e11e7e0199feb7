package caddymodule

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp/relay/route"
	"github.com/caddy-esmtp/esmtp/spool"
)

func TestAdminReleasesWithOtherRecipients(t *testing.T) {
	a := loadQueueAdmin(t, "")
	body := "Subject: a trap\r\n\r\nfor bob\r\n"
	it := in(spool.Quarantined, letter("eve@evil.example", "bob@example.net", "dan@example.net"))
	it.Recipients[1].Params = "NOTIFY=NEVER"
	id := a.put(body, it)[0]
	a.move("/"+id.String()+"/release", `{"sender":"","recipients":["cid@example.net","<dan@example.net>"]}`)
	a.rig.delivered(t, "cid", "a trap")
	a.rig.delivered(t, "dan", "a trap")
	eventually(t, func() string {
		if got := a.state(id); got != "gone" {
			return "it is " + got
		}
		return ""
	})
	// As it was, it goes to whom it was for.
	a.move("/release?id="+a.put(body, in(spool.Quarantined, letter("eve@evil.example", "bob@example.net")))[0].String(), "")
	a.rig.delivered(t, "bob", "a trap")
}

// A message that is released wrapped comes as an attachment, with the reason; what it was stays for a while.
func TestAdminReleasesWrapped(t *testing.T) {
	a := loadQueueAdmin(t, "")
	body := "Subject: a trap\r\n\r\nfor bob\r\n"
	id := a.put(body, in(spool.Quarantined, letter("eve@evil.example", "bob@example.net")))[0]
	if resp, text := a.send("POST", items+"/"+id.String()+"/release", `{"reason":"x"}`); resp.StatusCode != 400 || !strings.Contains(text, "say wrap too") {
		t.Errorf("got %s %s", resp.Status, text)
	}
	a.move("/"+id.String()+"/release", `{"wrap":true}`)
	a.rig.delivered(t, "bob", "    because\r\n")
	a.rig.delivered(t, "bob", "\r\n\r\nSubject: a trap\r\n\r\nfor bob\r\n\r\n--")
	a.rig.delivered(t, "bob", "From: Quarantine <postmaster@relay.example.org>\r\nTo: <bob@example.net>\r\nSubject: Released from quarantine: a trap\r\n")
	if got := a.state(id); got != "removed" {
		t.Errorf("it is %s", got)
	}
	if resp, text := a.send("POST", items+"/"+id.String()+"/release", `{"wrap":true}`); resp.StatusCode != 409 || !strings.Contains(text, "can't release item "+id.String()+", it is removed") {
		t.Errorf("got %s %s", resp.Status, text)
	}
	// Many, with another reason, to somebody else.
	a.make(spool.Quarantined)
	a.make(spool.Quarantined)
	if view := a.move("/release?all=1", `{"wrap":true,"reason":"look at this","recipients":["cid@example.net"]}`); len(view.Done) != 2 || len(view.Failed) != 0 {
		t.Errorf("got %+v", view)
	}
	a.rig.delivered(t, "cid", "    look at this\r\n")
	a.rig.delivered(t, "cid", "Recipient: <bob@two.example>\r\n")
}

// Where a released item goes is up to its next hops, and then to its recipients; what it needs of them too.
func TestReleaseOrder(t *testing.T) {
	sender := "ann@b\u00fccher.example"
	before := func() *spool.Item {
		it := letter("eve@evil.example", "bob@two.example", "dan@two.example")
		it.Sender.Params, it.Recipients[1].Params, it.NextHops, it.Route = "RET=HDRS", "NOTIFY=NEVER", []string{"old.example"}, "old.example"
		return it
	}
	for name, test := range map[string]struct {
		order releaseOrder
		want  string
	}{
		"nothing":            {releaseOrder{}, "eve@evil.example RET=HDRS [bob@two.example  dan@two.example NOTIFY=NEVER] [old.example] old.example 0"},
		"recipients":         {releaseOrder{Recipients: []string{"dan@two.example", "cid@two.example"}}, "eve@evil.example RET=HDRS [dan@two.example NOTIFY=NEVER cid@two.example ] [old.example] old.example 0"},
		"no next hops":       {releaseOrder{NextHops: []string{}}, "eve@evil.example RET=HDRS [bob@two.example  dan@two.example NOTIFY=NEVER] [] two.example 0"},
		"hops, two domains":  {releaseOrder{NextHops: []string{"new.example", "old.example"}, Recipients: []string{"a@one.example", "b@two.example"}}, "eve@evil.example RET=HDRS [a@one.example  b@two.example ] [new.example old.example] new.example 0"},
		"local part in UTF8": {releaseOrder{NextHops: []string{}, Recipients: []string{"b\u00fc@three.example"}}, "eve@evil.example RET=HDRS [b\u00fc@three.example ] [] three.example 4"},
		"another sender":     {releaseOrder{Sender: &sender}, "ann@xn--bcher-kva.example RET=HDRS [bob@two.example  dan@two.example NOTIFY=NEVER] [old.example] old.example 0"},
	} {
		edit, err := test.order.edit()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		it := before()
		edit(it)
		var rcpts []string
		for _, r := range it.Recipients {
			rcpts = append(rcpts, r.Address+" "+r.Params)
		}
		if got := fmt.Sprint(it.Sender.Address, " ", it.Sender.Params, " ", rcpts, " ", it.NextHops, " ", it.Route, " ", it.Needs); got != test.want {
			t.Errorf("%s: got\n%s, want\n%s", name, got, test.want)
		}
	}
}

// Whatever a release says, what comes out can be sent: each address can be parsed again, and the route is that of the first hop or recipient.
func FuzzRelease(f *testing.F) {
	for _, body := range []string{`{}`, `{"sender":""}`, `{"recipients":["a@b"],"next_hops":["mx://c"]}`, `{"recipients":["\"a b\"@c", "x@[192.0.2.1]"]}`,
		`{"sender":"\u00fc@x\r\n"}`, `{"next_hops":["unix//run/s"]}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var order releaseOrder
		if json.Unmarshal(body, &order) != nil {
			return
		}
		edit, err := order.edit()
		if err != nil {
			return
		}
		it := letter("ann@one.example", "bob@two.example")
		edit(it)
		if _, err := it.Sender.Path(); err != nil {
			t.Errorf("sender %q: %v", it.Sender.Address, err)
		}
		for _, rcpt := range it.Recipients {
			path, err := rcpt.Path.Path()
			if err != nil || path.Domain() == "" || len(it.NextHops) == 0 && path.Domain() != it.Route {
				t.Errorf("recipient %q, route %q: %v", rcpt.Address, it.Route, err)
			}
		}
		for _, hop := range it.NextHops {
			if _, err := route.ParseHop(hop); err != nil {
				t.Errorf("hop %q: %v", hop, err)
			}
		}
	})
}
