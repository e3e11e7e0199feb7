package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp/spool"
)

// make puts an item into the spool, and brings it into a state.
func (a *queueAdmin) make(state spool.State) spool.ID {
	a.Helper()
	begin := state
	if state == spool.Removed {
		begin = spool.Frozen
	}
	id := a.put("x", in(begin, letter("ann@one.example", "bob@two.example")))[0]
	if state == spool.Removed {
		if err := a.spool().Remove(context.Background(), id); err != nil {
			a.Fatal(err)
		}
	}
	return id
}

// Each move leads where it says from the states that it can come from, and does nothing elsewhere: one item at a time, and many.
func TestAdminMovesItems(t *testing.T) {
	a := loadQueueAdmin(t, closedPort(t))
	states := []spool.State{spool.Queued, spool.Frozen, spool.Quarantined, spool.Removed}
	for move, want := range map[string]map[spool.State]spool.State{
		"freeze":  {spool.Queued: spool.Frozen},
		"thaw":    {spool.Frozen: spool.Queued},
		"send":    {spool.Queued: spool.Queued, spool.Frozen: spool.Queued},
		"remove":  {spool.Queued: spool.Removed, spool.Frozen: spool.Removed, spool.Quarantined: spool.Removed},
		"recover": {spool.Removed: spool.Frozen},
		"release": {spool.Quarantined: spool.Queued},
	} {
		var ids []spool.ID
		for _, from := range states {
			id := a.make(from)
			ids = append(ids, a.make(from))
			to, ok := want[from]
			resp, text := a.send("POST", items+"/"+id.String()+"/"+move, "")
			switch {
			case ok && (resp.StatusCode != 200 || text != `{"done":["`+id.String()+`"],"failed":[]}`+"\n"):
				t.Errorf("%s from %s: got %s %s", move, from, resp.Status, text)
			case !ok && (resp.StatusCode != 409 || !strings.Contains(text, "it is "+from.String())):
				t.Errorf("%s from %s: got %s %s", move, from, resp.Status, text)
			case !ok:
				to = from
			}
			if got := a.settled(id); got != to.String() {
				t.Errorf("%s from %s: it is %s, want %s", move, from, got, to)
			}
		}
		missing := "0000000000001"
		view := a.move("/"+move+"?id="+missing+","+join(ids), "")
		if len(view.Done) != len(want) || len(view.Failed) != len(states)+1-len(want) || view.Next != "" {
			t.Errorf("%s: got %+v", move, view)
		}
		for _, item := range view.Failed {
			if item.ID.String() == missing && !strings.Contains(item.Error, "no such item") ||
				item.ID.String() != missing && !strings.Contains(item.Error, "not in this state: can't") {
				t.Errorf("%s: got %+v", move, item)
			}
		}
		for i, from := range states {
			to, ok := want[from]
			if !ok {
				to = from
			}
			if got := a.settled(ids[i]); got != to.String() || ok != slices.Contains(view.Done, ids[i]) {
				t.Errorf("%s of many from %s: it is %s, want %s", move, from, got, to)
			}
		}
		if _, text := a.send("POST", items+"/remove?all=1", ""); text == "" { // so that nothing is tried in vain
			t.Error(text)
		}
	}
}

func join(ids []spool.ID) string {
	var texts []string
	for _, id := range ids {
		texts = append(texts, id.String())
	}
	return strings.Join(texts, ",")
}

// settled is the state of an item once nobody tries to send it.
func (a *queueAdmin) settled(id spool.ID) (state string) {
	a.Helper()
	eventually(a.T, func() string {
		if state = a.state(id); state == "sending" {
			return "it is still being sent"
		}
		return ""
	})
	return state
}

// A filter chooses those that the move is for; an item that can't be moved just now is told of.
func TestAdminMovesWhatAFilterNames(t *testing.T) {
	a := loadQueueAdmin(t, closedPort(t))
	var two []spool.ID
	for range 600 { // more than the spool moves at a time
		two = append(two, a.put("x", letter("ann@one.example", "bob@two.example"))...)
	}
	three := a.put("x", letter("ann@one.example", "bob@three.example"))[0]
	kept := a.make(spool.Quarantined)
	if view := a.move("/freeze?route=two.example", `{"reason":"they are broken"}`); len(view.Done) != 600 || len(view.Failed) != 0 {
		t.Errorf("got %d done, %v", len(view.Done), view.Failed)
	}
	var it itemView
	a.get("GET", items+"/"+two[599].String(), &it)
	if it.State != spool.Frozen || it.Reason != "they are broken" || a.state(three) != "queued" || a.state(kept) != "quarantined" {
		t.Errorf("got %+v", it)
	}
	if view := a.move("/freeze?route=two.example&state=frozen", ""); len(view.Done) != 0 || len(view.Failed) != 600 {
		t.Errorf("got %d done, %d failed", len(view.Done), len(view.Failed))
	}
	if view := a.move("/thaw?sender=nobody", ""); len(view.Done) != 0 || len(view.Failed) != 0 {
		t.Errorf("got %+v", view)
	}
	if view := a.move("/remove?all=1&after="+two[499].String(), ""); len(view.Done) != 102 {
		t.Errorf("got %d done", len(view.Done))
	}
	if view := a.move("/recover?all=1", ""); len(view.Done) != 102 {
		t.Errorf("got %d done", len(view.Done))
	}
}

// What is being sent can't be removed; what was removed while it was queued comes back frozen.
func TestAdminRemovesOnlyWhatNobodySends(t *testing.T) {
	a := loadQueueAdmin(t, closedPort(t))
	r := a.spool()
	id := a.put("x", letter("ann@one.example", "bob@two.example"))[0]
	a.move("/"+id.String()+"/freeze", "")
	q, err := findQueue("default")
	if err != nil {
		t.Fatal(err)
	}
	q.live.stop() // the relay would take what is due
	<-q.live.done
	if err := r.Thaw(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	leased, err := r.Lease(context.Background(), spool.LeaseOptions{})
	if err != nil || len(leased) != 1 {
		t.Fatalf("got %v, %v", leased, err)
	}
	for _, move := range []string{"remove", "freeze", "send"} {
		resp, text := a.send("POST", items+"/"+id.String()+"/"+move, "")
		if resp.StatusCode != http.StatusConflict || !strings.Contains(text, "it is sending") {
			t.Errorf("%s: got %s %s", move, resp.Status, text)
		}
	}
	if view := a.move("/remove?all=1", ""); len(view.Done) != 0 || len(view.Failed) != 1 {
		t.Errorf("got %+v", view)
	}
	if err := r.Return(context.Background(), leased...); err != nil {
		t.Fatal(err)
	}
	a.move("/"+id.String()+"/remove", "")
	a.move("/"+id.String()+"/recover", "")
	var it itemView
	if a.get("GET", items+"/"+id.String(), &it); it.State != spool.Frozen || it.Reason != "removed by the administrator" {
		t.Errorf("got %+v", it)
	}
}

// Extra tries come first, and give the message time for them; recipients that have failed are tried again when that is asked for.
func TestAdminSendsNowWithExtraTries(t *testing.T) {
	a := loadQueueAdmin(t, closedPort(t))
	it := in(spool.Frozen, letter("ann@one.example", "bob@two.example", "cid@two.example"))
	it.Recipients[1].State = spool.FailedTold
	it.Expires = time.Now().Add(-time.Hour)
	id := a.put("x", it)[0]
	a.move("/"+id.String()+"/send", `{"retry":["2h","1d"],"failed":true}`)
	var got itemView
	eventually(t, func() string {
		a.get("GET", items+"/"+id.String(), &got)
		if got.Attempts != 1 || got.State != spool.Queued {
			return fmt.Sprintf("got %+v", got)
		}
		return ""
	})
	if wait := time.Until(got.Due); wait < 100*time.Minute || wait > 140*time.Minute || fmt.Sprint(got.Retry) != "[86400]" ||
		got.Recipients[1].State != spool.Remaining || time.Since(got.Since) > time.Minute || !got.Expires.IsZero() {
		t.Errorf("got %+v, due in %v", got, wait)
	}
}

// Whatever the query of a list or a move is, there is an error or a filter with bounds.
func FuzzItemQuery(f *testing.F) {
	for _, query := range []string{"", "all=1", "state=frozen,x", "sender=<>&older=1d", "id=0000000000001,x", "limit=0", "after=7zzzzzzzzzzzz"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, text string) {
		query, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		ids, filter, err := chooseItems(query, []spool.State{spool.Queued})
		switch {
		case err != nil:
		case ids != nil && (len(ids) > mostMovedByID || !slices.IsSorted(ids)):
			t.Errorf("got %v", ids)
		case ids == nil && (filter.Limit < 1 || filter.Limit > mostPerPage || len(filter.States) == 0 || filter.Older < 0 || filter.Younger < 0):
			t.Errorf("got %+v", filter)
		}
	})
}
