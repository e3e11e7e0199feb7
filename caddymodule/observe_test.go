package caddymodule

import (
	"reflect"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-esmtp/esmtp"
)

// settle waits for the last session, of the active config and of those before it.
func settle(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		open := 0
		if app, err := caddy.ActiveContext().AppIfConfigured("esmtp"); err == nil {
			for _, srv := range app.(*App).Servers {
				open += srv.engine.SessionCount()
			}
		}
		draining.Lock()
		open += len(draining.set)
		draining.Unlock()
		if open == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d sessions or generations don't end", open)
		}
	}
}

// Whatever an observer can be told, one of several is told too.
func TestNothingIsLostWhenObserversAreCombined(t *testing.T) {
	var o esmtp.Observer
	for fields, i := reflect.ValueOf(&o).Elem(), 0; i < fields.NumField(); i++ {
		fields.Field(i).Set(reflect.MakeFunc(fields.Field(i).Type(), func([]reflect.Value) []reflect.Value { return nil }))
	}
	for all, i := reflect.ValueOf(combine(esmtp.Observer{}, o)), 0; i < all.NumField(); i++ {
		if all.Field(i).IsNil() {
			t.Errorf("%s is lost", all.Type().Field(i).Name)
		}
	}
}

// Observers are told one after the other, and who is told by nobody costs nothing.
func TestObserversAreCombined(t *testing.T) {
	heard := ""
	one := func(name string) esmtp.Observer {
		return esmtp.Observer{Connected: func(*esmtp.Session) { heard += name }}
	}
	if o := combine(); o.Connected != nil || o.Replied != nil || o.Ended != nil {
		t.Error("an observer is told though there is none")
	}
	o := combine(one("a"), esmtp.Observer{Ended: func(*esmtp.Session, error) { heard += "end" }}, one("b"), one("c"))
	o.Connected(nil)
	o.Ended(nil, nil)
	if heard != "abcend" || o.Replied != nil || o.Message != nil {
		t.Errorf("got %s", heard)
	}
}
